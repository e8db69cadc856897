//! P8: of a maintenance that runs over people are told, once for each end that it had (R10). That they are told at all is what
//! `expect overrun` demands of a scenario.

use super::Finding;
use mainstay_cluster::{ClusterState, MaintenanceId, Rule};
use mainstay_protocol::Timestamp;
use std::collections::BTreeSet;

#[derive(Default)]
pub struct Overdue {
    /// What people were told of, each with the end that had passed.
    told: BTreeSet<(MaintenanceId, Timestamp)>,
}

impl Overdue {
    /// Whether anything was told of at all.
    pub fn seen(&self) -> bool {
        !self.told.is_empty()
    }

    pub fn decided(&mut self, before: &ClusterState, after: &ClusterState) -> Option<Finding> {
        for (id, maintenance) in &after.maintenance {
            let was = before.maintenance.get(id).is_some_and(|old| old.overdue && old.ends_at == maintenance.ends_at);
            if !maintenance.overdue || was {
                continue;
            }
            if !self.told.insert((*id, maintenance.ends_at)) {
                return Some((Rule::R10, format!("people were told twice that maintenance {id} runs over")));
            }
        }
        None
    }
}
