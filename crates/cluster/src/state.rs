//! The agreed state of the cluster: plain data, changed only by `apply`.

use crate::audit::Audit;
use crate::command::Actor;
use crate::digest::Digest;
use crate::evidence::{Evidence, EvidenceField, FencingProof};
use crate::policy::{Control, TooMany, VolumeRules};
use mainstay_protocol::{ClusterId, Epoch, Incarnation, LogPoint, NodeId, ProposalId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A maintenance record, unique in the cluster's life.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MaintenanceId(pub u64);

impl fmt::Display for MaintenanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}
impl fmt::Debug for MaintenanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Fixed at `init`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How long one promise to a primary holds (R13).
    pub lease_ms: u64,
    /// Added to every wait for a lease to lapse: clocks of two nodes may run at different rates.
    pub margin_ms: u64,
    /// How long a proposal waits for its approval, and an approval for its grant (R14).
    pub approval_ms: u64,
    /// A primary that a majority has not heard for this long is missing: a promotion may be proposed.
    pub contact_lost_ms: u64,
    /// Most file data that a resync by change moves per second, so that clients keep their latency (R11).
    pub resync_bytes_per_second: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            lease_ms: 2_000,
            margin_ms: 100,
            approval_ms: 900_000,
            contact_lost_ms: 2_000,
            resync_bytes_per_second: 200_000_000,
        }
    }
}

impl Settings {
    /// What a node waits, from its own last promise (or its boot), before its word to the old epoch has lapsed (R13).
    pub const fn lapse_ms(&self) -> u64 {
        self.lease_ms + self.margin_ms
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeKind {
    FileServer,
    /// Votes and observes; holds no data (R12).
    Witness,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub kind: NodeKind,
    /// `host:port` where other nodes reach it.
    pub peer_address: String,
    /// `host:port` of its admin API.
    pub admin_address: String,
    /// Its present boot, as it said itself (R3). Zero until the first boot.
    pub incarnation: Incarnation,
    pub joined_at: Timestamp,
    /// When the present boot was decided; zero before the first.
    pub booted_at: Timestamp,
    /// The present boot was asked to stop, and said so before it went: its silence is no failure. None while it runs, and after a
    /// crash.
    pub left: Option<Left>,
    /// A person has its machine switched off, and what came of it is not known yet. Whichever boot runs then may be hit.
    pub off_asked: Option<OffAsked>,
    /// Version of the program that its present boot runs; empty before the first.
    pub software: String,
    /// When it was last seen to lack decisions that it had confirmed to hold (R13). Until a maintenance of it is over that was begun
    /// after that: then somebody has looked.
    pub set_back: Option<Timestamp>,
}

/// A machine may be switched off at any moment, by a command that runs on `by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffAsked {
    pub by: NodeId,
    /// The boot of `by` that runs the command: it dies with it.
    pub incarnation: Incarnation,
    /// The boot that the person saw.
    pub target_incarnation: Incarnation,
    pub at: Timestamp,
}

/// Why a node stopped in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StopCause {
    /// Its service was stopped: by a person, a package upgrade, a service manager.
    Asked,
    /// The whole machine shuts down or restarts: a person's doing, or the provider's.
    HostShutdown,
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopCause::Asked => "its service was stopped",
            StopCause::HostShutdown => "its machine shut down",
        })
    }
}

/// A node that left in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub cause: StopCause,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReignState {
    /// Granted: writes the epoch's first record and gets its lease.
    CatchingUp,
    Serving,
}

/// Who may serve, in which boot (R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub state: ReignState,
}

/// Who decides promotions (R7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// A person approves every one.
    #[default]
    Manual,
    /// Automatic when every guard holds; a person otherwise.
    Guarded,
    /// Nobody: nothing is promoted, not even what was approved.
    Hold,
}

/// What replicas do while there is no primary (R15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WithoutPrimary {
    /// Serve reads from a complete prefix, marked as such.
    #[default]
    ServeReads,
    Close,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    ReadOnly,
    #[default]
    ReadWrite,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Squash {
    None,
    /// Root becomes the anonymous user.
    #[default]
    Root,
    All,
}

/// One network of clients, such as `10.0.0.0/8` or `fd00::/8`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportClient {
    pub network: String,
    pub access: Access,
    pub squash: Squash,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportSettings {
    /// IP address that follows the primary.
    pub service_address: String,
    /// TCP port of NFS and MOUNT on it.
    pub port: u16,
    /// First match wins; who matches none is refused.
    pub clients: Vec<ExportClient>,
    pub anonymous_uid: u32,
    pub anonymous_gid: u32,
}

impl Default for ExportSettings {
    fn default() -> ExportSettings {
        ExportSettings {
            service_address: "127.0.0.1".into(),
            port: 2049,
            clients: vec![],
            anonymous_uid: 65534,
            anonymous_gid: 65534,
        }
    }
}

/// A promotion that failed, so that it is not tried again unchanged (R8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedPlan {
    /// SHA-256 of what made the plan what it was.
    pub plan: Digest,
    pub proposal: ProposalId,
    pub reason: String,
    pub at: Timestamp,
}

/// Latches failures until a person acts (R8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Nothing is promoted while it is open.
    pub open: bool,
    pub failed: Vec<FailedPlan>,
    /// Roles changed too often; otherwise it opened because a promotion failed.
    #[serde(default)]
    pub too_many: Option<TooMany>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeState {
    pub name: String,
    /// Highest epoch ever granted (R1).
    pub epoch: Epoch,
    /// Highest epoch whose primary came to serve. Its first record was durable on every member then, so a member whose copy ends
    /// before it has lost its disk since (R5).
    pub served_epoch: Epoch,
    /// Rises when something acknowledged as unstable may be missing; the write verifier is made of it.
    pub loss_epoch: u64,
    /// None: the volume has no primary.
    pub reign: Option<Reign>,
    /// Who reigned last, also while `reign` is None.
    pub last_primary: Option<NodeId>,
    /// The last primary gave its own word (step down, failed grant, restart) that it serves nothing under `epoch`: nodes need
    /// not wait for their promises to lapse (R13).
    pub fenced: bool,
    /// Replicas that the primary waits for, each with the incarnation that is known to hold everything acknowledged. A member
    /// that rebooted since keeps its old incarnation here until the primary renews it.
    pub in_sync: BTreeMap<NodeId, Incarnation>,
    /// Rises with every change of `in_sync` (shrink, growth, renewed incarnation, grant): what `expected` is compared with.
    pub in_sync_version: u64,
    /// File servers that hold a copy, in sync or not (R12: never a witness).
    pub replicas: BTreeSet<NodeId>,
    /// Who decides promotions (R7).
    pub policy: Policy,
    /// What replicas do while there is none (R15).
    pub without_primary: WithoutPrimary,
    /// The one promotion that is under way (R8).
    pub open_proposal: Option<ProposalId>,
    /// Opens when a promotion fails by its candidate's own word or roles change too often, and stays open until a person resets
    /// it (R8).
    pub breaker: Breaker,
    /// What the NFS front needs; decides no role.
    pub export: ExportSettings,
    pub created_at: Timestamp,
    /// What else binds its promotions.
    #[serde(default)]
    pub rules: VolumeRules,
    /// Replicas that were members of the in-sync set, and are not any more. What was acknowledged before is on them.
    #[serde(default)]
    pub left_in_sync: BTreeMap<NodeId, LeftInSync>,
    /// Changes of who holds it and of who counts for its lease.
    #[serde(default)]
    pub members: VolumeMembers,
    /// `fenced` is so because the last primary's machine was seen to be off, in the course of this proposal.
    #[serde(default)]
    pub fenced_by: Option<ProposalId>,
    /// Two people went on without a majority since it was granted last. What the lost nodes decided and acknowledged by themselves
    /// is unknown.
    #[serde(default)]
    pub forced: Option<Forced>,
}

/// A quorum that two people made out of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    pub at: Timestamp,
    pub by: (Actor, Actor),
    pub reason: String,
    /// Names of the nodes that never come back.
    pub lost: Vec<String>,
    /// The primary on record, as far as the survivor knew; nobody else's word is had that it serves no more.
    pub primary: Option<String>,
}

impl fmt::Display for Forced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Forced { by: (first, second), lost, reason, .. } = self;
        write!(f, "{first} and {second} said that {} never come back ({reason})", lost.join(", "))
    }
}

/// Since when a replica is not waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftInSync {
    pub at: Timestamp,
    /// The primary that decided it; or whose grant it was left out of.
    pub by: NodeId,
    pub reason: String,
}

/// What a volume remembers of changes of members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMembers {
    /// The present reign counts its lease with these members or newer ones ([`Membership::number`]): by its primary's word, and from
    /// its grant on.
    pub known: u64,
    /// Rises with every change of `replicas`: what `expected` is compared with.
    pub version: u64,
    /// Nodes whose copy was removed, and the boot in which that was: such a boot begins no second copy, because what is still under
    /// way to and from the first could be taken for the second's (R9).
    pub removed: BTreeMap<NodeId, Incarnation>,
}

/// Who counts for majorities: every node that has ever booted. It changes by one node at a time, so that any majority that a lease
/// rests on meets any majority that a grant rests on (R13, docs/decisions/0012-membership.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Rises with every change.
    pub number: u64,
    /// The present members under the present number, and older ones that some primary may still count its lease with.
    pub counted: BTreeMap<u64, BTreeSet<NodeId>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProposalState {
    /// Waits for a person.
    Pending,
    /// Approved; waits for a majority's and the candidate's word that the old epoch is over.
    Fencing,
    /// Granted.
    CatchingUp,
    /// Done: the candidate served.
    Serving,
    Failed {
        reason: String,
    },
    Denied {
        by: Actor,
        reason: String,
    },
    Expired,
    /// Something that it was based on changed (R14).
    Void {
        field: EvidenceField,
        seen: String,
    },
    /// A switchover, approved by asking for it: the primary lets nothing new begin, and gives its word once the candidate holds
    /// everything.
    Draining,
}

impl ProposalState {
    /// Whether it still holds the volume's one place (R8).
    pub fn open(&self) -> bool {
        self.undecided() || *self == ProposalState::CatchingUp
    }
    /// Open, and nothing is granted yet: it can still be called off, and is void when its basis changes.
    pub fn undecided(&self) -> bool {
        matches!(self, ProposalState::Pending | ProposalState::Draining | ProposalState::Fencing)
    }
}

/// Single-use: it belongs to one proposal, and a proposal has at most one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub actor: Actor,
    /// Equals the proposal's; kept, so that a reader of the state sees what was approved.
    pub evidence_hash: Digest,
    pub at: Timestamp,
    /// By the clock of the node that was asked, for people to read: no grant is made from about here on, which nodes judge by the time
    /// that they have seen pass (decision 15).
    pub expires_at: Timestamp,
    /// The policy gave it, every guard holding; and what allows the policy to. None: a person gave it.
    #[serde(default)]
    pub allowed_by: Option<String>,
}

/// A node's word that the old epoch is over for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LapsedPromise {
    /// The boot that gave it. The promise is durable, so it outlives that boot; membership in the new in-sync set does not.
    pub incarnation: Incarnation,
    /// It rejects everything below this epoch.
    pub promised: Epoch,
    /// End of its copy; none on a witness, or when its copy is no complete prefix.
    pub last: Option<LogPoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    pub volume: VolumeId,
    /// Whom it would make the primary.
    pub candidate: NodeId,
    /// The epoch that the new one follows; a plan is valid for this parent only.
    pub parent_epoch: Epoch,
    /// Immutable from the proposal on.
    pub evidence: Evidence,
    /// What an approval must name (R14).
    pub evidence_hash: Digest,
    pub proposer: Actor,
    pub at: Timestamp,
    /// By the clock of its proposer, for people to read: from about here on it can no longer be approved.
    pub expires_at: Timestamp,
    pub state: ProposalState,
    pub approval: Option<Approval>,
    /// Words given for this proposal. They die with it: a later proposal asks everybody again (R2).
    pub lapsed: BTreeMap<NodeId, LapsedPromise>,
    /// The epoch that it was granted.
    pub granted: Option<Epoch>,
    /// The guard that did not hold, so that a person decides in spite of policy `guarded`.
    #[serde(default)]
    pub by_hand: Option<String>,
    /// Of a switchover: where the copy of the primary ended when it had stopped serving, by its own word. The candidate's must end
    /// there too.
    pub drained: Option<LogPoint>,
    /// The one attempt to have the old primary's machine switched off.
    #[serde(default)]
    pub fence: Option<Fence>,
}

/// An attempt to switch a machine off, by the candidate of a promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Who runs the command: the candidate, in this boot.
    pub by: NodeId,
    pub incarnation: Incarnation,
    /// Whom it is to hit, in this boot and no other.
    pub target: NodeId,
    pub target_incarnation: Incarnation,
    pub begun_at: Timestamp,
    /// None: it may still be under way.
    pub outcome: Option<FenceOutcome>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FenceOutcome {
    /// The verify command said that the machine is off.
    Confirmed,
    /// Anything else: the command or the verify command failed, took too long, could not be started, or it was called off. Proves
    /// nothing, not even that the machine is on.
    Failed(String),
}

impl fmt::Display for FenceOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FenceOutcome::Confirmed => f.write_str("confirmed: the machine is off"),
            FenceOutcome::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

impl Proposal {
    /// Of a switchover: who hands over, and in which boot.
    pub fn hand_over(&self) -> Option<(NodeId, Incarnation)> {
        match self.evidence.fencing {
            FencingProof::HandOver { from, incarnation } => Some((from, incarnation)),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaintenanceState {
    /// Blocks promotion of and because of its node.
    Active,
    /// Ended by its operator; closes when the node is in sync everywhere.
    Returning,
}

/// An open maintenance. A closed one is in the audit log only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    pub node: NodeId,
    /// Who answers for it, not necessarily who typed it.
    pub owner: String,
    pub reason: String,
    pub began_at: Timestamp,
    /// When a person is to be paged if it is still open. Nothing else happens then (R10).
    pub ends_at: Timestamp,
    /// A node said that `ends_at` has passed, and it is on record.
    pub overdue: bool,
    pub state: MaintenanceState,
    /// The node answered whoever ended it, or has booted since. Without, a set that nobody could shrink would pass for its return.
    pub back: bool,
    /// [`Node::set_back`] as it was when this began: who began it knew.
    pub set_back: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub minted_by: Actor,
    pub expires_at: Timestamp,
    /// Name of the node that it was spent for.
    pub used_for: Option<String>,
}

/// Everything that is agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Zero until `Init`.
    pub id: ClusterId,
    pub name: String,
    /// Commands applied, refused ones included.
    pub version: u64,
    pub settings: Settings,
    pub nodes: BTreeMap<NodeId, Node>,
    pub volumes: BTreeMap<VolumeId, VolumeState>,
    /// Open ones, and the newest closed ones.
    pub proposals: BTreeMap<ProposalId, Proposal>,
    pub maintenance: BTreeMap<MaintenanceId, Maintenance>,
    /// By the SHA-256 of the secret.
    pub tokens: BTreeMap<Digest, Token>,
    pub audit: Audit,
    /// Highest numbers given out, so that none is used twice.
    pub last_node: NodeId,
    pub last_volume: VolumeId,
    pub last_proposal: ProposalId,
    pub last_maintenance: MaintenanceId,
    /// Holds, and changes that wait for a second person.
    #[serde(default)]
    pub control: Control,
    #[serde(default)]
    pub membership: Membership,
}

impl VolumeState {
    /// The primary, when there is one that was granted (it may still be catching up).
    pub fn primary(&self) -> Option<NodeId> {
        self.reign.map(|reign| reign.node)
    }
    /// Whether `node` in this boot holds the grant of the current epoch (R3).
    pub fn reigns(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.reign.is_some_and(|reign| reign.node == node && reign.incarnation == incarnation)
    }
}

impl ClusterState {
    /// Before `Init` nothing but `Init` is accepted.
    pub fn initialised(&self) -> bool {
        !self.nodes.is_empty()
    }
    pub fn node_named(&self, name: &str) -> Option<(NodeId, &Node)> {
        self.nodes.iter().find(|(_, node)| node.name == name).map(|(id, node)| (*id, node))
    }
    pub fn volume_named(&self, name: &str) -> Option<(VolumeId, &VolumeState)> {
        self.volumes.iter().find(|(_, volume)| volume.name == name).map(|(id, volume)| (*id, volume))
    }
    /// A node's name, or its number when it is unknown.
    pub fn node_name(&self, node: NodeId) -> String {
        self.nodes.get(&node).map_or_else(|| node.to_string(), |known| known.name.clone())
    }
    /// Nodes that make a majority of the whole cluster, witness included (R12, R13).
    pub fn majority(&self) -> usize {
        self.voters().count() / 2 + 1
    }
    /// Who counts for majorities. A node that joined and never booted promises nothing and holds up nothing.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter(|(_, node)| node.incarnation.0 > 0).map(|(id, _)| *id)
    }
    pub fn open_proposal(&self, volume: VolumeId) -> Option<(ProposalId, &Proposal)> {
        let id = self.volumes.get(&volume)?.open_proposal?;
        Some((id, self.proposals.get(&id)?))
    }
    /// The active maintenance of a node, if there is one.
    pub fn maintenance_of(&self, node: NodeId) -> Option<(MaintenanceId, &Maintenance)> {
        let active = |m: &Maintenance| m.node == node && m.state == MaintenanceState::Active;
        self.maintenance.iter().find(|(_, m)| active(m)).map(|(id, m)| (*id, m))
    }
    /// The epoch that a node must hold to at least: below it, messages and lease requests are rejected (R2). While an approved
    /// proposal is fencing this is the epoch to come; when that proposal is closed without a grant the promise is off again,
    /// because a grant counts only what was promised for the proposal itself.
    pub fn promise_floor(&self, volume: VolumeId) -> Epoch {
        let Some(state) = self.volumes.get(&volume) else { return Epoch(0) };
        match self.open_proposal(volume) {
            Some((_, proposal)) if proposal.state == ProposalState::Fencing => state.epoch.next(),
            _ => state.epoch,
        }
    }
}
