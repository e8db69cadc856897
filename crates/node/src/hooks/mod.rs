//! Commands of operators that this node runs: fencing hooks, and what is to happen when a volume begins or ends to be served here.
//!
//! Architecture invariant: nothing that keeps or serves data waits for a hook.

pub mod fence;
pub mod roles;
pub mod run;

#[cfg(test)]
mod tests;
