//! Decides roles: membership, epochs, in-sync sets, promotion rules, approvals, breaker, maintenance and audit.
//!
//! Everything happens in one pure function, [`ClusterState::apply`]: a [`Command`] goes in, and either events for the audit
//! log or a typed [`Refusal`] that names its rule come out. Every node applies the same commands in the same order, so every
//! node computes the same state; agreeing on that order is `coordination`'s work.
//!
//! Architecture invariant: there is one code path that makes a grant (`apply::promotion`), and it is reached only through an
//! approval (R7): by a person, or, where two people have set the policy `guarded`, by that policy while every guard holds. No timer, boot or error handler in any crate can make a primary.
//!
//! Architecture invariant: nothing here reads a clock. Times inside commands were read by the node that sent them; they bound
//! how long an approval is good, never how long a lease is alive (that is R13's work, on each node's own clock).

pub mod apply;
pub mod audit;
pub mod checks;
pub mod command;
pub mod digest;
mod drift;
pub mod encoding;
pub mod evidence;
pub mod explain;
mod guards;
mod input;
mod invariants;
pub mod limits;
mod outlook;
pub mod policy;
pub mod refusal;
pub mod state;

pub use apply::force::ForcedQuorum;
pub use audit::{Audit, AuditError, AuditEvent, ChainCheck, Event};
pub use checks::{Check, Step, Verdict, steps};
pub use command::{Actor, Command};
pub use digest::Digest;
pub use encoding::DecodeError;
pub use evidence::{
    Basis, Contact, CopyReport, CopyState, Evidence, EvidenceField, FencingProof, Known, Loss, LostFile, LostFiles, NamedLoss,
    Observed,
};
pub use explain::Explanation;
pub use outlook::Outlook;
pub use policy::{Alone, Change, ChangeId, ChangeState, Control, Hold, Revoked, VolumeRules, VolumeSettings, VolumeWish, Wish};
pub use refusal::{Refusal, RefusalKind, Rule, instant};
pub use state::{
    Access, Approval, Breaker, ClusterState, ExportClient, ExportSettings, FailedPlan, Fence, FenceOutcome, Forced, LapsedPromise,
    Left, LeftInSync, Maintenance, MaintenanceId, MaintenanceState, Membership, Node, NodeKind, Policy, Proposal, ProposalState,
    Reign, ReignState, Settings, Squash, StopCause, Token, VolumeMembers, VolumeState, WithoutPrimary,
};
