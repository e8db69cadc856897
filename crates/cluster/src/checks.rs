//! The checks of a promotion, one list for `apply` and for `explain`.

use crate::refusal::Rule;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Holds,
    Fails,
    /// Not known, which refuses as well (R6).
    Unknown,
}

/// One rule, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub rule: Rule,
    /// What must hold.
    pub claim: String,
    pub verdict: Verdict,
    /// What was seen.
    pub value: String,
    /// What would make it hold; empty when it does.
    pub clears: String,
}
