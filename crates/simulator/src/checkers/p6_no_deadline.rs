//! Part of P6: nothing that is granted is given back because of time (R11). A node gives up an epoch when its copy has failed, and
//! for no other reason.

use super::{Finding, Nodes};
use mainstay_cluster::{Command, Rule};
use mainstay_protocol::NodeId;

pub fn asked(from: NodeId, command: &Command, nodes: &Nodes) -> Option<Finding> {
    let Command::GrantFailed { epoch, reason, .. } = command else { return None };
    let node = nodes.get(&from)?;
    let failed = node.process.as_ref().is_some_and(|process| process.replica.failed());
    (!failed).then(|| {
        let text = format!("{epoch} was given back by its new primary, whose disk and copy are sound: {reason}");
        (Rule::R11, text)
    })
}
