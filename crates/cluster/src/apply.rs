//! The one function that changes the cluster state.

use crate::audit::AuditEvent;
use crate::command::Command;
use crate::evidence::{Evidence, Observed};
use crate::explain::Explanation;
use crate::refusal::{Refusal, RefusalKind, Rule};
use crate::state::ClusterState;
use mainstay_protocol::{NodeId, VolumeId};

impl ClusterState {
    /// Applies one decided command. A refused command changes nothing but `version` and the audit log.
    pub fn apply(&mut self, _command: &Command) -> Result<Vec<AuditEvent>, Refusal> {
        self.version += 1;
        let why = "under construction".to_string();
        Err(Refusal { rule: Rule::Input, message: why.clone(), kind: RefusalKind::Input(why) })
    }
    /// The evidence for promoting `candidate`, from the state and from what was seen.
    pub fn evidence(&self, _candidate: NodeId, _volume: VolumeId, _observed: &Observed) -> Option<Evidence> {
        None
    }
    /// Every check for promoting `node`, from the same code that `apply` uses.
    pub fn explain_promote(&self, candidate: NodeId, volume: VolumeId, _observed: &Observed) -> Explanation {
        Explanation { volume, candidate, checks: vec![] }
    }
    /// What must hold in every state; the first thing that does not.
    pub fn validate(&self) -> Result<(), String> {
        self.audit.verify().map_err(|broken| broken.to_string())
    }
}
