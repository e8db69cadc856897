//! Maintenance (R10), the breaker's reset (R8), notes.

use super::Applied;
use crate::audit::Event;
use crate::command::{Actor, Command};
use crate::input;
use crate::limits::{MAINTENANCE_LIFE_MS_MAX, MAINTENANCE_MAX};
use crate::refusal::{RefusalKind, instant};
use crate::state::{Breaker, ClusterState, Maintenance, MaintenanceId, MaintenanceState};
use mainstay_protocol::{NodeId, Timestamp, VolumeId};

/// In the future, and not so far that nobody would notice that it was forgotten.
fn check_end(ends_at: Timestamp, at: Timestamp) -> Applied {
    let lasts_ms = input::millis(ends_at).saturating_sub(input::millis(at));
    match lasts_ms {
        ..=0 => Err(input::bad("end of the maintenance", &instant(ends_at), "has passed")),
        1..=MAINTENANCE_LIFE_MS_MAX => Ok(()),
        _ => Err(input::bad("end of the maintenance", &instant(ends_at), "is more than 30 days away")),
    }
}

impl ClusterState {
    /// One at a time per node. The primary's own maintenance takes a volume's primary away sooner or later, so the operator must
    /// say that this is meant (S32).
    pub(super) fn begin_maintenance(&mut self, command: &Command) -> Applied {
        let Command::BeginMaintenance { node, owner, reason, ends_at, allow_primary, actor, at } = command else { return Ok(()) };
        input::person(actor)?;
        input::text("owner", owner)?;
        input::text("reason", reason)?;
        let (name, set_back) = self.known_node(*node).map(|known| (known.name.clone(), known.set_back))?;
        check_end(*ends_at, *at)?;
        self.not_maintained(*node)?;
        if !allow_primary {
            self.reigns_nowhere(*node)?;
            self.keeps_majority(*node)?;
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
            overdue: false,
            back: false,
            set_back,
            state: MaintenanceState::Active,
        };
        self.maintenance.insert(maintenance, begun);
        let text = format!("maintenance {maintenance} of {name} began, for {owner} until {}: {reason}", instant(*ends_at));
        self.record(*at, actor, None, Event::MaintenanceBegun { maintenance, node: *node }, text);
        Ok(())
    }

    /// Only a person ends it, also when its time is over: nothing resumes silently (R10).
    pub(super) fn end_maintenance(&mut self, id: MaintenanceId, answers: bool, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        let known = self.maintenance.get_mut(&id).ok_or(RefusalKind::UnknownMaintenance(id))?;
        known.back |= answers;
        if known.state == MaintenanceState::Returning {
            return Ok(());
        }
        known.state = MaintenanceState::Returning;
        let node = known.node;
        let name = self.node_name(node);
        let text = match answers {
            true => format!("{actor} ended maintenance {id} of {name}; it closes when the node is in sync"),
            false => format!(
                "{actor} ended maintenance {id} of {name}, which does not answer; it closes when the node is back and in sync"
            ),
        };
        self.record(at, actor, None, Event::MaintenanceEnding { maintenance: id, node }, text);
        Ok(())
    }

    /// Only an active one: what was ended is begun anew, with a reason.
    pub(super) fn extend_maintenance(&mut self, id: MaintenanceId, ends_at: Timestamp, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        check_end(ends_at, at)?;
        let known = self.maintenance.get_mut(&id).ok_or(RefusalKind::UnknownMaintenance(id))?;
        if known.state == MaintenanceState::Returning {
            return Err(RefusalKind::MaintenanceEnded(id));
        }
        let (node, was) = (known.node, known.ends_at);
        known.ends_at = ends_at;
        known.overdue = false;
        let (name, was, until) = (self.node_name(node), instant(was), instant(ends_at));
        let text = format!("{actor} moved the end of maintenance {id} of {name} from {was} to {until}");
        self.record(at, actor, None, Event::MaintenanceExtended { maintenance: id, ends_at }, text);
        Ok(())
    }

    /// Said by nodes, whichever clock gets there first; on record once for each end.
    pub(super) fn maintenance_overdue(&mut self, id: MaintenanceId, by: NodeId, at: Timestamp) -> Applied {
        self.known_node(by)?;
        let known = self.maintenance.get_mut(&id).ok_or(RefusalKind::UnknownMaintenance(id))?;
        if known.overdue || known.state == MaintenanceState::Returning {
            return Ok(());
        }
        if at < known.ends_at {
            return Err(RefusalKind::NotOverdue { maintenance: id, until: known.ends_at });
        }
        known.overdue = true;
        let (node, owner) = (known.node, known.owner.clone());
        let name = self.node_name(node);
        let text = format!(
            "maintenance {id} of {name} is over its time and still open: {owner} ends or extends it; nothing resumes by itself"
        );
        self.record(at, &Actor::Node(by), None, Event::MaintenanceOverdue { maintenance: id, node }, text);
        Ok(())
    }

    pub(crate) fn not_maintained(&self, node: NodeId) -> Result<String, RefusalKind> {
        match self.maintenance_of(node) {
            None => Ok("it is not".into()),
            Some((maintenance, m)) => Err(RefusalKind::InMaintenance {
                node: self.node_name(node),
                maintenance,
                owner: m.owner.clone(),
                reason: m.reason.clone(),
                ends_at: m.ends_at,
            }),
        }
    }

    pub(crate) fn reigns_nowhere(&self, node: NodeId) -> Result<String, RefusalKind> {
        let reigned = self.volumes.values().filter(|volume| volume.primary() == Some(node)).map(|volume| volume.name.as_str());
        match reigned.collect::<Vec<_>>().as_slice() {
            [] => Ok("it is the primary of none".into()),
            volumes => Err(RefusalKind::MaintainsPrimary { node: self.node_name(node), volumes: volumes.join(", ") }),
        }
    }

    /// What is maintained may go down at any moment: those that are not must be able to decide, and to hold a lease, alone.
    pub(crate) fn keeps_majority(&self, node: NodeId) -> Result<String, RefusalKind> {
        let away = |other: &&NodeId| **other == node || self.maintenance_of(**other).is_some();
        let away: Vec<NodeId> = self.voters().filter(|other| away(&other)).collect();
        let (all, needed) = (self.voters().count(), self.majority());
        let left = all - away.len();
        match left >= needed {
            true => Ok(format!("{left} of {all} nodes stay, {needed} are needed")),
            false => Err(RefusalKind::MaintainsMajority { away: self.names(away.iter()), left, needed }),
        }
    }

    /// R10: closed when the node is verified in sync, in its present boot, for every volume that it holds.
    pub(super) fn close_maintenance(&mut self, at: Timestamp) {
        let returned = |m: &Maintenance| m.state == MaintenanceState::Returning && m.back && self.verified(m.node);
        let closed = self.maintenance.iter().filter(|(_, m)| returned(m)).map(|(id, m)| (*id, m.node, m.set_back));
        for (maintenance, node, set_back) in closed.collect::<Vec<_>>() {
            self.maintenance.remove(&maintenance);
            if let Some(known) = self.nodes.get_mut(&node).filter(|known| known.set_back == set_back) {
                known.set_back = None;
            }
            let text = format!("maintenance {maintenance} of {} is over: the node is in sync", self.node_name(node));
            self.record(at, &Actor::Cluster, None, Event::MaintenanceClosed { maintenance, node }, text);
        }
    }

    fn verified(&self, node: NodeId) -> bool {
        // One that left in order is not back, whatever the sets say still.
        let boot = self.nodes.get(&node).filter(|known| known.left.is_none()).map(|known| known.incarnation);
        let holds = self.volumes.values().filter(|v| v.replicas.contains(&node));
        boot.is_some() && holds.into_iter().all(|v| v.in_sync.get(&node).copied() == boot)
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
