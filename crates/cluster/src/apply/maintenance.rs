//! Maintenance (R10), the breaker's reset (R8), notes.

use super::Applied;
use crate::audit::Event;
use crate::command::{Actor, Command};
use crate::input;
use crate::limits::MAINTENANCE_MAX;
use crate::refusal::{RefusalKind, instant};
use crate::state::{Breaker, ClusterState, Maintenance, MaintenanceId, MaintenanceState};
use mainstay_protocol::{NodeId, Timestamp, VolumeId};

impl ClusterState {
    /// One at a time per node. The primary's own maintenance takes a volume's primary away sooner or later, so the operator must
    /// say that this is meant (S32).
    pub(super) fn begin_maintenance(&mut self, command: &Command) -> Applied {
        let Command::BeginMaintenance { node, owner, reason, ends_at, allow_primary, actor, at } = command else { return Ok(()) };
        input::person(actor)?;
        input::text("owner", owner)?;
        input::text("reason", reason)?;
        let name = self.known_node(*node)?.name.clone();
        if ends_at <= at {
            return Err(input::bad("end of the maintenance", &instant(*ends_at), "has passed"));
        }
        if let Some((maintenance, m)) = self.maintenance_of(*node) {
            let (owner, reason) = (m.owner.clone(), m.reason.clone());
            return Err(RefusalKind::InMaintenance { node: name, maintenance, owner, reason, ends_at: m.ends_at });
        }
        let reigned: Vec<&str> = self.volumes.values().filter(|v| v.primary() == Some(*node)).map(|v| v.name.as_str()).collect();
        if !reigned.is_empty() && !allow_primary {
            return Err(RefusalKind::MaintainsPrimary { node: name, volumes: reigned.join(", ") });
        }
        if self.maintenance.len() >= MAINTENANCE_MAX {
            return Err(RefusalKind::LimitReached { what: "open maintenance records".into(), max: MAINTENANCE_MAX });
        }
        self.last_maintenance = MaintenanceId(self.last_maintenance.0 + 1);
        let maintenance = self.last_maintenance;
        let begun = Maintenance {
            node: *node,
            owner: owner.clone(),
            reason: reason.clone(),
            began_at: *at,
            ends_at: *ends_at,
            state: MaintenanceState::Active,
        };
        self.maintenance.insert(maintenance, begun);
        let text = format!("maintenance {maintenance} of {name} began, for {owner} until {}: {reason}", instant(*ends_at));
        self.record(*at, actor, None, Event::MaintenanceBegun { maintenance, node: *node }, text);
        Ok(())
    }

    /// Only a person ends it, also when its time is over: nothing resumes silently (R10).
    pub(super) fn end_maintenance(&mut self, id: MaintenanceId, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        let known = self.maintenance.get_mut(&id).ok_or(RefusalKind::UnknownMaintenance(id))?;
        if known.state == MaintenanceState::Returning {
            return Ok(());
        }
        known.state = MaintenanceState::Returning;
        let node = known.node;
        let text = format!("{actor} ended maintenance {id} of {}; it closes when the node is in sync", self.node_name(node));
        self.record(at, actor, None, Event::MaintenanceEnding { maintenance: id, node }, text);
        Ok(())
    }

    /// R10: closed when the node is verified in sync, in its present boot, for every volume that it holds.
    pub(super) fn close_maintenance(&mut self, at: Timestamp) {
        let returned = |m: &Maintenance| m.state == MaintenanceState::Returning && self.verified(m.node);
        let closed: Vec<_> = self.maintenance.iter().filter(|(_, m)| returned(m)).map(|(id, m)| (*id, m.node)).collect();
        for (maintenance, node) in closed {
            self.maintenance.remove(&maintenance);
            let text = format!("maintenance {maintenance} of {} is over: the node is in sync", self.node_name(node));
            self.record(at, &Actor::Cluster, None, Event::MaintenanceClosed { maintenance, node }, text);
        }
    }

    fn verified(&self, node: NodeId) -> bool {
        let boot = self.nodes.get(&node).map(|known| known.incarnation);
        self.volumes.values().filter(|v| v.replicas.contains(&node)).all(|v| v.in_sync.get(&node).copied() == boot)
    }

    /// R8: a person says what was mended; the failed plans may then be tried again.
    pub(super) fn reset_breaker(&mut self, id: VolumeId, reason: &str, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        let volume = self.known_volume(id)?;
        input::text("reason", reason)?;
        if volume.breaker == Breaker::default() {
            return Err(RefusalKind::NothingToReset(volume.name.clone()));
        }
        let text = format!("{actor} reset the breaker of {}: {reason}", volume.name);
        self.close_breaker(id);
        self.record(at, actor, Some(id), Event::BreakerReset, text);
        Ok(())
    }

    /// What people want to have on record between the events.
    pub(super) fn note(&mut self, volume: Option<VolumeId>, text: &str, actor: &Actor, at: Timestamp) -> Applied {
        input::text("note", text)?;
        volume.map_or(Ok(()), |id| self.known_volume(id).map(|_| ()))?;
        self.record(at, actor, volume, Event::Note, text.to_string());
        Ok(())
    }
}
