//! P2, where the volume wants two copies (`alone read-only`): no change is acknowledged by a primary that knows that it is the only one in
//! sync, and none that was executed then and that no other copy has received.

use crate::world::{Node, VOLUME};
use mainstay_cluster::Alone as Setting;

#[derive(Default)]
pub struct Alone;

impl Alone {
    /// `acknowledges`: a change, or a COMMIT of some, with success.
    pub fn replied(&self, node: &Node, acknowledges: bool) -> Option<String> {
        // An answer that was given before the node heard of it, and goes out with the same turn, was given on two copies.
        node.process.as_ref().filter(|process| process.began_alone)?;
        let state = node.process.as_ref()?.replica.view().volumes.get(&VOLUME)?;
        let alone = state.rules.alone == Setting::ReadOnly && state.in_sync.len() < 2;
        (acknowledges && alone).then(|| {
            let members: Vec<String> = state.in_sync.keys().map(ToString::to_string).collect();
            format!("{} acknowledged a change, but only {} is in sync and the volume wants two copies", node.id, members.join(" "))
        })
    }
}
