//! The admin API's JSON, shared by server and client. Fields are only ever added; unknown ones are ignored.
//!
//! | method and path | who | what |
//! |---|---|---|
//! | GET /healthz, /metrics | anybody | liveness; Prometheus text |
//! | POST /v1/join | a token | [`JoinRequest`] → [`JoinReply`] |
//! | GET /v1/status | viewer | [`ClusterStatus`], gathered from all nodes |
//! | GET /v1/local | viewer | [`LocalStatus`], this node's own account |
//! | GET /v1/volumes, /v1/volumes/NAME | viewer | [`VolumeDetails`] |
//! | POST /v1/volumes | admin | [`NewVolume`] → [`VolumeDetails`] |
//! | POST /v1/volumes/NAME/reset-breaker | operator | [`Reason`] |
//! | POST /v1/volumes/NAME/verify | operator | → [`Verification`] |
//! | GET /v1/volumes/NAME/digest?position=P | viewer | [`DigestReply`] |
//! | GET /v1/proposals, /v1/proposals/ID | viewer | [`ProposalDetails`] |
//! | POST /v1/proposals/ID/approve | approver | [`Approve`] |
//! | POST /v1/proposals/ID/deny | approver | [`Reason`] |
//! | GET /v1/explain/promote?node=N&volume=V | viewer | [`Explained`] |
//! | GET /v1/explain/demote?node=N&volume=V | viewer | [`ExplainedOutlook`] |
//! | GET /v1/explain/resync?node=N&volume=V | viewer | [`ExplainedOutlook`], as the node that answers sees it |
//! | GET /v1/explain/maintenance?node=N | viewer | [`ExplainedOutlook`] |
//! | GET /v1/maintenance | viewer | [`MaintenanceStatus`] |
//! | POST /v1/maintenance | operator | [`NewMaintenance`] → [`MaintenanceStatus`] |
//! | POST /v1/maintenance/ID/extend | operator | [`Extension`] |
//! | POST /v1/maintenance/ID/end | operator | |
//! | GET /v1/events?after=N&wait_ms=T | viewer | [`Events`] |
//! | POST /v1/tokens | admin | [`NewToken`] → [`TokenReply`] |
//! | POST /v1/volumes/NAME/switchover | approver | [`NewSwitchover`] → [`ProposalStatus`] |
//! | GET /v1/quarantine | viewer | [`Quarantines`] of this node |
//! | GET /v1/quarantine/ID/records?from=BYTE | viewer | [`RecordsPage`] |
//! | GET /v1/quarantine/ID/record?at=BYTE | operator | one record as it is stored |
//! | POST /v1/quarantine/ID/drop | admin | [`Reason`] |
//! | POST /v1/volumes/NAME/paths | viewer | [`PathsWanted`] → [`Paths`], of this node's copy |
//! | POST /v1/volumes/NAME/look | operator | [`Look`] → [`Looked`], of this node's copy |
//! | POST /v1/volumes/NAME/settings | operator | [`SetVolume`] → [`Set`] |
//! | POST /v1/volumes/NAME/propose | operator; approver to give something up | [`NewProposal`] → [`ProposalStatus`] |
//! | GET /v1/volumes/NAME/held?after=POSITION | viewer | [`Held`], of this node's copy |
//! | POST /v1/volumes/NAME/set-aside | approver | [`Reason`], of this node's copy |
//! | POST /v1/volumes/NAME/drill | operator | [`PassedDrill`] |
//! | POST /v1/hold | operator | [`SetHold`] → [`Set`] |
//! | GET /v1/changes | viewer | [`ChangeStatus`] |
//! | POST /v1/changes/ID/approve | approver | [`ApproveChange`] → [`ChangeStatus`] |
//! | POST /v1/changes/ID/deny | approver | [`Reason`] → [`ChangeStatus`] |
//! | POST /v1/volumes/NAME/replicas | admin | [`NewReplica`] → [`VolumeDetails`] |
//! | POST /v1/volumes/NAME/replicas/NODE/remove | admin | [`RemoveReplica`] → [`Set`] |
//! | POST /v1/nodes/NAME/remove | admin | [`Reason`] |
//! | GET /v1/people/revoked | viewer | [`RevokedPerson`] |
//! | POST /v1/people/NAME/revoke | admin | [`Reason`] |

use mainstay_cluster::{
    AuditEvent, Digest, Explanation, ExportSettings, LostFile, Outlook, Policy, Proposal, Settings, Step, VolumeSettings,
    VolumeWish,
};
use mainstay_protocol::{FileId, FileKind, Timestamp};
use mainstay_volume::ViewDigest;
use mainstay_volume::quarantine::{Path, Summary, TailRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub error: ErrorKind,
    /// The rule that refused, such as `R14`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// A rule of the cluster says no.
    Refused,
    /// The request is wrong whatever the rules say.
    Input,
    /// The certificate lacks the role, or there is none.
    Forbidden,
    NotFound,
    /// Another node must be asked; the message says which.
    Elsewhere,
    /// Surely not done: no quorum, or a node that is needed does not answer.
    Unavailable,
    /// It may have been done.
    Unknown,
}

impl ApiError {
    pub fn new(error: ErrorKind, message: impl Into<String>) -> ApiError {
        ApiError { error, rule: None, message: message.into() }
    }

    pub fn input(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorKind::Input, message)
    }

    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorKind::NotFound, message)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub cluster: String,
    pub id: String,
    /// Version of the cluster state that this was made from.
    pub version: u64,
    /// The node that was asked.
    pub answered_by: String,
    /// Whether decisions can be made, as that node sees it.
    pub quorum: bool,
    pub nodes: Vec<NodeStatus>,
    pub volumes: Vec<VolumeStatus>,
    /// Open ones.
    pub proposals: Vec<ProposalStatus>,
    pub maintenance: Vec<MaintenanceStatus>,
    /// `None`: the node is older than this field.
    #[serde(default)]
    pub settings: Option<Settings>,
    /// Who put the whole cluster on hold, and why.
    #[serde(default)]
    pub hold: Option<String>,
    /// What waits for a second person.
    #[serde(default)]
    pub changes: Vec<ChangeStatus>,
}

impl ClusterStatus {
    /// File data in a volume, as far as any of its copies says; bytes.
    pub fn live_bytes(&self, volume: &str) -> Option<u64> {
        let copies = self.volumes.iter().filter(|known| known.name == volume).flat_map(|known| &known.replicas);
        copies.filter_map(|copy| copy.storage).map(|storage| storage.live_bytes).max()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    pub name: String,
    pub id: u16,
    /// `file-server` or `witness`
    pub kind: String,
    /// `up`, `starting` (it answers, the cluster has not recorded this boot yet), `unreachable` (it does not answer the node that
    /// was asked), `stopped` (it does not answer, and said before that it stops in order), `never-started`
    pub state: String,
    pub incarnation: u64,
    pub peer_address: String,
    pub admin_address: String,
    /// `leader`, `follower`, … in the consensus group; says nothing about volumes.
    pub coordination: Option<String>,
    /// Why and when it stopped in order, for people.
    #[serde(default)]
    pub left: Option<String>,
    /// What it cannot do that it should, by its own account.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Room on the disk under its directory, by its own account.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Version of the program of its present boot; empty before the first.
    #[serde(default)]
    pub software: String,
    /// When it was seen to lack decisions that it had confirmed to hold, if nobody has looked since.
    #[serde(default)]
    pub set_back: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeStatus {
    pub name: String,
    pub id: u32,
    pub epoch: u64,
    pub primary: Option<String>,
    /// `serving`, `catching-up`, `no-lease`, `read-only` (no primary; replicas serve reads), `closed`, `unknown`
    pub state: String,
    pub in_sync: Vec<String>,
    pub replicas: Vec<ReplicaStatus>,
    /// Positions; of the primary, or the highest known when there is none.
    pub commit: u64,
    pub commit_durable: u64,
    /// What remains of the primary's lease.
    pub lease_ms: u64,
    /// Where clients mount it: `address:port`.
    pub service_address: String,
    pub breaker_open: bool,
    /// `manual`; empty where the node is older than this field.
    #[serde(default)]
    pub policy: String,
    /// `serve-reads` or `close`; empty where the node is older than this field.
    #[serde(default)]
    pub without_primary: String,
    /// `serve` or `read-only`; empty where the node is older than this field.
    #[serde(default)]
    pub alone: String,
    /// Only one copy is in sync and the volume wants two: no change is acknowledged, reads go on.
    #[serde(default)]
    pub waits_for_second_copy: bool,
    /// Who put the volume on hold, and why.
    #[serde(default)]
    pub hold: Option<String>,
    /// Why the breaker is open.
    #[serde(default)]
    pub breaker_reason: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub node: String,
    /// `primary`, `in-sync`, `empty` (a member whose disk was lost), `catching-up`, `resyncing`, `rolling-back`, `recovering`,
    /// `failed`, `unreachable`
    pub state: String,
    pub position: u64,
    pub durable: u64,
    pub applied: u64,
    /// Log bytes that the primary still has to send, where it is known.
    pub lag_bytes: Option<u64>,
    pub resync: Option<ResyncProgress>,
    /// Replication traffic since the node started.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Its disk is full; it goes on when there is room.
    #[serde(default)]
    pub waits_for_space: bool,
    pub failure: Option<String>,
    /// `None`: it does not answer, or has not opened its copy.
    #[serde(default)]
    pub storage: Option<Storage>,
}

/// How large a copy is and how fast it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Size of the volume as clients see it.
    pub total_bytes: u64,
    /// File data that is part of a file now.
    pub live_bytes: u64,
    pub inodes: u64,
    /// Appended to the log since the node started; on the primary, what clients changed.
    pub appended_bytes: u64,
    /// Since the node started, by its own clock.
    pub running_ms: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ResyncProgress {
    pub since: u64,
    pub base: u64,
    pub inode: u64,
    pub inodes_total: u64,
    pub bytes_done: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProposalStatus {
    pub id: u64,
    pub volume: String,
    pub candidate: String,
    /// `pending`, `draining`, `fencing`, `catching-up`, `serving`, `failed`, `denied`, `expired`, `void`
    pub state: String,
    pub evidence_hash: String,
    /// Why it is in that state, where there is more to say.
    pub reason: Option<String>,
    /// What a person can do next.
    pub next: String,
}

/// A proposal with the whole evidence, for `proposals show`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProposalDetails {
    pub id: u64,
    pub volume: String,
    pub candidate: String,
    pub state: String,
    pub evidence_hash: String,
    pub reason: Option<String>,
    pub next: String,
    pub proposal: Proposal,
    /// The evidence for people, piece by piece.
    pub evidence: Vec<EvidenceLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MaintenanceStatus {
    pub id: u64,
    pub node: String,
    pub owner: String,
    pub reason: String,
    /// `active`, `returning`
    pub state: String,
    /// Unix time, seconds.
    pub began_at: i64,
    pub ends_at: i64,
    /// Its end has passed, and people were told.
    #[serde(default)]
    pub overdue: bool,
}

/// One node's own account; others put the whole together from these.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LocalStatus {
    pub node: u16,
    pub incarnation: u64,
    pub coordination: String,
    pub quorum: bool,
    pub volumes: BTreeMap<u32, LocalVolume>,
    /// Room on the disk under its directory. `None`: nobody can say.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// What this node cannot do that it should, for people.
    #[serde(default)]
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LocalVolume {
    /// As `mainstay_replica::Status::role`, or `recovering` while its thread does not answer.
    pub role: String,
    pub epoch: u64,
    pub promised: u64,
    pub serve: String,
    pub position: u64,
    pub durable: u64,
    pub applied: u64,
    pub commit: u64,
    pub commit_durable: u64,
    pub lease_ms: u64,
    pub clients_waiting: usize,
    /// What a primary knows of the others, by node id.
    pub peers: BTreeMap<u16, LocalPeer>,
    pub resync: Option<ResyncProgress>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    #[serde(default)]
    pub waits_for_space: bool,
    pub failure: Option<String>,
    #[serde(default)]
    pub storage: Option<Storage>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LocalPeer {
    pub state: String,
    pub in_sync: bool,
    pub lag_bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeDetails {
    pub name: String,
    pub id: u32,
    pub epoch: u64,
    pub loss_epoch: u64,
    pub primary: Option<String>,
    /// Granted and serving, as the cluster knows it.
    pub serving: bool,
    pub in_sync: Vec<String>,
    pub replicas: Vec<String>,
    pub policy: String,
    pub without_primary: String,
    pub export: ExportSettings,
    pub breaker_open: bool,
    /// `None`: the node is older than this field.
    #[serde(default)]
    pub settings: Option<VolumeSettings>,
    #[serde(default)]
    pub hold: Option<String>,
    #[serde(default)]
    pub breaker_reason: Option<String>,
    /// Role changes that count towards the breaker now.
    #[serde(default)]
    pub role_changes: usize,
    /// Of what a drill has to rehearse; a recorded drill names it.
    #[serde(default)]
    pub drill_digest: String,
    /// The last drill that was recorded, in a sentence.
    #[serde(default)]
    pub drill: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewVolume {
    pub name: String,
    /// Names of nodes; empty: every file server.
    #[serde(default)]
    pub replicas: Vec<String>,
    /// Empty: the first replica.
    #[serde(default)]
    pub primary: String,
    pub export: ExportSettings,
    /// Replicas serve reads while there is no primary (R15).
    #[serde(default = "yes")]
    pub serve_reads: bool,
    /// `Manual` or `Hold`; what is laxer takes two people, later.
    #[serde(default)]
    pub policy: Policy,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Approve {
    /// Whole or its first digits (at least eight); must be that of the evidence the person looked at.
    pub evidence_hash: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reason {
    pub reason: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewMaintenance {
    pub node: String,
    pub reason: String,
    /// Who answers for it; empty: who asks.
    #[serde(default)]
    pub owner: String,
    /// From now.
    pub seconds: u64,
    /// The operator knows that volumes lose their primary by it.
    #[serde(default)]
    pub allow_primary: bool,
    /// Only says whether it would be accepted, by what this node knows; nothing is recorded.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Extension {
    /// From now.
    pub seconds: u64,
}

/// Whether something other than a promotion would be allowed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainedOutlook {
    pub allowed: bool,
    pub outlook: Outlook,
    /// What has to be done, or waited for, until it is allowed.
    #[serde(default)]
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explained {
    pub node: String,
    pub volume: String,
    pub promotable: bool,
    pub explanation: Explanation,
    /// What has to be done, or waited for, until it can be proposed.
    #[serde(default)]
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<Arc<AuditEvent>>,
    /// Ask for what comes after this next.
    pub last: u64,
    /// Events between `after` and the last given that this node does not have.
    pub forgotten: u64,
    /// There are more behind the last.
    #[serde(default)]
    pub more: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verification {
    pub volume: String,
    pub position: u64,
    /// Every replica answered with the same digest.
    pub equal: bool,
    pub replicas: Vec<VerifiedReplica>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifiedReplica {
    pub node: String,
    /// `None`: it did not answer, or has not reached the position.
    pub digest: Option<ViewDigest>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DigestReply {
    pub digest: Option<ViewDigest>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewToken {
    pub minutes: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenReply {
    pub token: String,
    /// Unix time, seconds.
    pub expires_at: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Hexadecimal.
    pub secret: String,
    pub name: String,
    pub witness: bool,
    pub peer_address: String,
    pub admin_address: String,
    /// PEM; only the key is used.
    pub certificate_request: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinReply {
    pub cluster: String,
    pub cluster_name: String,
    pub node: u16,
    pub certificate: String,
    pub authority: String,
    /// The cluster's secret for file handles, hexadecimal.
    pub handle_key: String,
    /// The consensus group's id, hexadecimal, when it is not the cluster's own.
    #[serde(default)]
    pub group: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetVolume {
    pub wish: VolumeWish,
    pub reason: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetHold {
    pub on: bool,
    pub reason: String,
}

/// What became of a wish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Set {
    /// `None`: it is so now. Otherwise another person must approve this.
    pub waits: Option<ChangeStatus>,
}

/// Somebody whose word counts for nothing any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokedPerson {
    pub name: String,
    pub by: String,
    /// RFC 3339, UTC.
    pub at: String,
    pub reason: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeStatus {
    pub id: u64,
    /// What it would change.
    pub what: String,
    pub reason: String,
    pub asked_by: String,
    /// `pending`, `done`, `denied`, `expired`, `void`
    pub state: String,
    /// The same in a sentence.
    pub text: String,
    pub digest: String,
    /// Unix time, seconds.
    pub expires_at: i64,
    /// What a person can do next.
    pub next: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApproveChange {
    /// Whole or its first digits (at least eight); must be that of the change the person looked at.
    pub digest: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewProposal {
    pub candidate: String,
    /// Why acknowledged writes that the candidate lacks are given up; none: it may lack nothing (R5).
    #[serde(default)]
    pub give_up: Option<String>,
}

/// What a copy holds behind a position.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    pub last: u64,
    /// When its newest change was made.
    pub newest: Timestamp,
    /// Files that were changed behind the position.
    pub files: Vec<LostFile>,
    /// Changed files that are not listed, and those whose records were not all read.
    pub more: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PassedDrill {
    pub scenario: String,
    /// [`VolumeDetails::drill_digest`] as it was when the drill was made.
    pub config: String,
}

/// For requests whose answer holds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Asking is approving: the plan is named in full, and it can lose nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewSwitchover {
    /// Name of the node that is to be the primary.
    pub to: String,
}

/// What one node has set aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quarantines {
    pub node: String,
    pub listed: Vec<Quarantine>,
    /// Copies whose directory could not be read, and why.
    pub unread: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    pub node: String,
    pub volume: String,
    /// Unix time, seconds, of the file.
    pub set_aside_at: Option<i64>,
    #[serde(flatten)]
    pub summary: Summary,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordsPage {
    pub records: Vec<TailRecord>,
    /// Ask for this next; `None` at the end.
    pub next: Option<u64>,
    /// Why the rest cannot be read.
    pub problem: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PathsWanted {
    pub inodes: Vec<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Paths {
    pub found: Vec<(FileId, Path)>,
    /// The whole tree was searched, or everything was found.
    pub complete: bool,
}

/// What to look at: a file by its inode, or by its path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Look {
    pub inode: Option<u64>,
    pub path: Option<Path>,
    /// (offset, length)
    pub ranges: Vec<(u64, u32)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Looked {
    /// `None`: there is no such file now.
    pub file: Option<LookedFile>,
    /// Per range; `None` where the file is shorter, or could not be read just now.
    pub digests: Vec<Option<Digest>>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LookedFile {
    pub file: FileId,
    pub kind: FileKind,
    pub size: u64,
}

/// Another file server that is to hold a volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewReplica {
    pub node: String,
    pub reason: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoveReplica {
    pub reason: String,
    /// One copy in sync is to be enough: then another person must approve it.
    #[serde(default)]
    pub accept_single: bool,
}

/// A person's wish to have a machine switched off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceWish {
    /// Shows what would be run and asks the verify command; switches nothing off.
    pub dry_run: bool,
    /// Volumes may lose their primary by it.
    pub allow_primary: bool,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceTried {
    /// The node that has the hook.
    pub through: String,
    pub command: Vec<String>,
    pub verify: Vec<String>,
    /// Of a dry run: why the cluster would refuse.
    pub refused: Option<String>,
    /// Of a dry run: what the verify command says now.
    pub looked: Option<String>,
    /// None after a dry run, and while it still runs.
    pub outcome: Option<String>,
}
