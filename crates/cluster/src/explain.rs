//! `mainstay explain promote NODE VOLUME`: every check with its value.

use crate::checks::{Check, Verdict};
use mainstay_protocol::{NodeId, VolumeId};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub volume: VolumeId,
    pub candidate: NodeId,
    pub checks: Vec<Check>,
}

impl Explanation {
    /// Whether a proposal would be accepted now.
    pub fn promotable(&self) -> bool {
        self.checks.iter().all(|check| check.verdict == Verdict::Holds)
    }
}
