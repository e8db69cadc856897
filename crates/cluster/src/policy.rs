//! What people set about promotions: the policy of a volume, holds, bounds of the breaker; and the wishes for something laxer, which
//! a second person decides (R7).

use crate::checks::Plan;
use crate::command::Actor;
use crate::digest::Digest;
use crate::input;
use crate::refusal::{RefusalKind, instant};
use crate::state::{ClusterState, Policy, VolumeState, WithoutPrimary};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{ProposalId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Role changes that are allowed within [`ROLE_CHANGES_WINDOW_MS`] before the breaker opens, unless the volume says otherwise.
pub const ROLE_CHANGES_MAX: u32 = 2;
pub const ROLE_CHANGES_WINDOW_MS: u64 = 30 * 60 * 1000;
/// How long nodes do not repeat a plan that a person has denied, milliseconds.
pub const DENIED_MS: i64 = 3600 * 1000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Something laxer that somebody asked for, unique in the cluster's life.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChangeId(pub u64);

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}
impl fmt::Debug for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a primary does whose in-sync set has fallen to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Alone {
    /// Serves on: one copy is enough.
    #[default]
    Serve,
    /// Acknowledges no change before a second copy is in sync; reads go on.
    ReadOnly,
}

/// Everything of a volume that `volume set` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSettings {
    pub policy: Policy,
    pub without_primary: WithoutPrimary,
    pub alone: Alone,
    /// More role changes than this within the window open the breaker (R8).
    pub role_changes_max: u32,
    pub role_changes_window_ms: u64,
    /// `guarded` acts only while a drill of the present configuration has passed within so many days; 0: needs none.
    pub drill_days: u32,
}

impl Default for VolumeSettings {
    fn default() -> VolumeSettings {
        VolumeSettings {
            policy: Policy::Manual,
            without_primary: WithoutPrimary::ServeReads,
            alone: Alone::Serve,
            role_changes_max: ROLE_CHANGES_MAX,
            role_changes_window_ms: ROLE_CHANGES_WINDOW_MS,
            drill_days: 0,
        }
    }
}

/// What somebody wants to be set; what is not named stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeWish {
    pub policy: Option<Policy>,
    pub without_primary: Option<WithoutPrimary>,
    pub alone: Option<Alone>,
    pub role_changes_max: Option<u32>,
    pub role_changes_window_ms: Option<u64>,
    pub drill_days: Option<u32>,
}

impl VolumeWish {
    pub fn applied_to(&self, now: VolumeSettings) -> VolumeSettings {
        VolumeSettings {
            policy: self.policy.unwrap_or(now.policy),
            without_primary: self.without_primary.unwrap_or(now.without_primary),
            alone: self.alone.unwrap_or(now.alone),
            role_changes_max: self.role_changes_max.unwrap_or(now.role_changes_max),
            role_changes_window_ms: self.role_changes_window_ms.unwrap_or(now.role_changes_window_ms),
            drill_days: self.drill_days.unwrap_or(now.drill_days),
        }
    }
}

/// How much a policy lets happen; each allows what the one before it does.
fn laxness(policy: Policy) -> u8 {
    match policy {
        Policy::Hold => 0,
        Policy::Manual => 1,
        Policy::Guarded => 2,
    }
}

impl VolumeSettings {
    /// Whether a promotion could come about that could not before: what a second person must approve (R7). Degraded serving is not
    /// among it: it promotes nobody, and at night one person must be able to let clients write again.
    pub fn laxer_than(&self, old: &VolumeSettings) -> bool {
        // 0 days: no drill at all, which is the laxest.
        let drill = |days: u32| if days == 0 { u32::MAX } else { days };
        laxness(self.policy) > laxness(old.policy)
            || self.role_changes_max > old.role_changes_max
            || self.role_changes_window_ms < old.role_changes_window_ms
            || drill(self.drill_days) > drill(old.drill_days)
    }

    /// `policy manual → guarded, drill-days 0 → 30`
    pub fn difference(&self, to: &VolumeSettings) -> String {
        let pair = |name: &str, a: String, b: String| (a != b).then(|| format!("{name} {a} → {b}"));
        let minutes = |ms: u64| format!("{} min", ms / 60_000);
        let parts = [
            pair("policy", self.policy.to_string(), to.policy.to_string()),
            pair("without-primary", self.without_primary.to_string(), to.without_primary.to_string()),
            pair("alone", self.alone.to_string(), to.alone.to_string()),
            pair("role-changes-max", self.role_changes_max.to_string(), to.role_changes_max.to_string()),
            pair("role-changes-window", minutes(self.role_changes_window_ms), minutes(to.role_changes_window_ms)),
            pair("drill-days", self.drill_days.to_string(), to.drill_days.to_string()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Manual => "manual",
            Policy::Guarded => "guarded",
            Policy::Hold => "hold",
        })
    }
}
impl fmt::Display for WithoutPrimary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WithoutPrimary::ServeReads => "serve-reads",
            WithoutPrimary::Close => "close",
        })
    }
}
impl fmt::Display for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Alone::Serve => "serve",
            Alone::ReadOnly => "read-only",
        })
    }
}

/// Who set the present policy, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySet {
    pub by: Actor,
    pub reason: String,
    pub at: Timestamp,
    /// The change by which it was approved, and who approved it, where it needed that.
    pub approved: Option<(ChangeId, Actor)>,
}

/// A plan that a person said no to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedPlan {
    /// The plan and the configuration.
    pub plan: Digest,
    pub proposal: ProposalId,
    pub by: Actor,
    pub reason: String,
    pub at: Timestamp,
}

/// A rehearsal that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedDrill {
    /// Digest of the configuration that was rehearsed ([`ClusterState::drill_digest`]).
    pub config: Digest,
    pub scenario: String,
    pub by: Actor,
    pub at: Timestamp,
}

/// What a volume's promotions are bound by, beside [`Policy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRules {
    pub alone: Alone,
    pub role_changes_max: u32,
    pub role_changes_window_ms: u64,
    pub drill_days: u32,
    /// None: the policy that it was made with.
    pub policy_set: Option<PolicySet>,
    /// When grants were made since the breaker was reset, newest last; at most [`crate::limits::ROLE_CHANGES_KEPT_MAX`].
    pub role_changes: Vec<Timestamp>,
    pub denied: Vec<DeniedPlan>,
    pub drill: Option<PassedDrill>,
}

impl Default for VolumeRules {
    fn default() -> VolumeRules {
        let set = VolumeSettings::default();
        VolumeRules {
            alone: set.alone,
            role_changes_max: set.role_changes_max,
            role_changes_window_ms: set.role_changes_window_ms,
            drill_days: set.drill_days,
            policy_set: None,
            role_changes: vec![],
            denied: vec![],
            drill: None,
        }
    }
}

/// The breaker opened because roles changed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooMany {
    pub changes: u32,
    pub window_ms: u64,
    pub at: Timestamp,
}

/// Nothing is promoted in the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub by: Actor,
    pub reason: String,
    pub at: Timestamp,
}

/// What a change would do, and what it was asked for from: when that is another, it means nothing any more (R14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    Volume {
        volume: VolumeId,
        from: VolumeSettings,
        to: VolumeSettings,
    },
    /// Ends the hold that began then.
    LiftHold {
        since: Timestamp,
    },
    /// Takes a replica away although fewer than two copies stay in sync: those that would.
    RemoveReplica {
        volume: VolumeId,
        node: mainstay_protocol::NodeId,
        left: std::collections::BTreeSet<mainstay_protocol::NodeId>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeState {
    /// Waits for a second person.
    Pending,
    Done {
        by: Actor,
        at: Timestamp,
    },
    Denied {
        by: Actor,
        reason: String,
    },
    Expired,
    /// What it was asked for from is another.
    Void,
}

impl fmt::Display for ChangeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeState::Pending => f.write_str("waiting for another person"),
            ChangeState::Done { by, .. } => write!(f, "done, approved by {by}"),
            ChangeState::Denied { by, reason } => write!(f, "denied by {by} ({reason})"),
            ChangeState::Expired => f.write_str("expired"),
            ChangeState::Void => f.write_str("void: what it rests on is not as it was"),
        }
    }
}

/// One person's wish for something laxer; another person decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub wish: Wish,
    pub asked_by: Actor,
    pub reason: String,
    pub at: Timestamp,
    pub expires_at: Timestamp,
    /// Of everything above: what an approval must name (R14).
    pub digest: Digest,
    pub state: ChangeState,
}

/// Holds and changes of the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub hold: Option<Hold>,
    /// Open ones, and the newest closed ones.
    pub changes: std::collections::BTreeMap<ChangeId, Change>,
    pub last_change: ChangeId,
    /// People whose word counts no more, by name.
    #[serde(default)]
    pub revoked: std::collections::BTreeMap<String, Revoked>,
}

/// That somebody's word counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    pub by: Actor,
    pub at: Timestamp,
    pub reason: String,
}

impl VolumeState {
    pub fn settings(&self) -> VolumeSettings {
        let VolumeRules { alone, role_changes_max, role_changes_window_ms, drill_days, .. } = self.rules;
        let (policy, without_primary) = (self.policy, self.without_primary);
        VolumeSettings { policy, without_primary, alone, role_changes_max, role_changes_window_ms, drill_days }
    }

    /// Whether its primary, if it is the only copy in sync, must not acknowledge changes.
    pub fn waits_for_second_copy(&self) -> bool {
        self.rules.alone == Alone::ReadOnly && self.in_sync.len() < 2
    }

    /// What says that a promotion by policy was allowed, for the approval and its event.
    pub(crate) fn allowed_by(&self) -> String {
        let Some(set) = &self.rules.policy_set else { return "policy guarded".into() };
        let approved = set.approved.as_ref().map_or(String::new(), |(change, by)| format!(" as {change}, approved by {by}"));
        input::clip(&format!("policy guarded, set by {}{approved}: {}", set.by, set.reason))
    }

    /// Role changes that count at `at`. A time ahead of it, from a clock that was wrong, counts too: it can only stop promotions.
    pub fn role_changes_counted(&self, at: Timestamp) -> usize {
        let window_ms = i64::try_from(self.rules.role_changes_window_ms).unwrap_or(i64::MAX);
        let since = input::millis(at).saturating_sub(window_ms);
        self.rules.role_changes.iter().filter(|then| input::millis(**then) > since).count()
    }
}

impl ClusterState {
    /// R7: what holds the volume's promotions, if anything does.
    pub fn held(&self, volume: &VolumeState) -> Option<RefusalKind> {
        if let Some(hold) = &self.control.hold {
            return Some(RefusalKind::OnHold { what: "the cluster".into(), by: hold.by.clone(), reason: hold.reason.clone() });
        }
        let what = format!("volume {}", volume.name);
        match (volume.policy, &volume.rules.policy_set) {
            (Policy::Hold, Some(set)) => Some(RefusalKind::OnHold { what, by: set.by.clone(), reason: set.reason.clone() }),
            (Policy::Hold, None) => Some(RefusalKind::OnHold { what, by: Actor::Cluster, reason: "the policy is hold".into() }),
            _ => None,
        }
    }

    /// R8: a plan that a person denied is not proposed again by nodes for a while.
    pub fn denied_before(&self, id: VolumeId, candidate: mainstay_protocol::NodeId, at: Timestamp) -> Option<RefusalKind> {
        let plan = self.question_digest(id, candidate);
        let denied = self.volumes.get(&id)?.rules.denied.iter().find(|denied| denied.plan == plan)?;
        let until = Timestamp::from_millis(input::millis(denied.at).saturating_add(DENIED_MS));
        let (proposal, by, reason) = (denied.proposal, denied.by.clone(), denied.reason.clone());
        (at < until).then_some(RefusalKind::DeniedBefore { proposal, by, reason, until })
    }

    /// What a drill rehearses: membership, settings, and the volume's own, but not who decides.
    pub fn drill_digest(&self, volume: &VolumeState) -> Digest {
        let nodes: Vec<_> = self.nodes.iter().map(|(id, n)| (id, &n.name, n.kind)).collect();
        let own = (&volume.name, &volume.replicas, volume.without_primary, volume.rules.alone);
        Digest::of_value("mainstay drill 1", &(self.id, &self.settings, nodes, own))
    }

    /// For people: what a change would do.
    pub fn wish_text(&self, wish: &Wish) -> String {
        match wish {
            Wish::Volume { volume, from, to } => format!("{}: {}", self.volume_label(*volume), from.difference(to)),
            Wish::LiftHold { since } => format!("lift the hold of the cluster that began {}", instant(*since)),
            Wish::RemoveReplica { volume, node, left } => {
                let (node, volume, left) = (self.node_name(*node), self.volume_label(*volume), self.names(left.iter()));
                format!("remove the replica of {volume} on {node}; then in sync: {left} alone")
            }
        }
    }
}

/// When a drill that passed is too old.
pub(crate) fn drill_until(drill: &PassedDrill, days: u32) -> Timestamp {
    Timestamp::from_millis(input::millis(drill.at).saturating_add(i64::from(days).saturating_mul(DAY_MS)))
}

/// R7: nothing is promoted while something holds it, approved or not.
pub(crate) fn not_held(plan: &Plan) -> Result<String, RefusalKind> {
    if planted(Bug::HoldKeepsApproved) && plan.own.is_some() {
        return Ok("not looked at".into());
    }
    plan.state.held(plan.volume).map_or_else(|| Ok("nothing is on hold".into()), Err)
}
