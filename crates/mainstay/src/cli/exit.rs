//! Exit codes, the same for every command.

pub const OK: u8 = 0;
pub const ERROR: u8 = 1;
/// Replicas differ, or a property does not hold.
pub const VIOLATED: u8 = 2;
/// A rule of the cluster said no.
pub const REFUSED: u8 = 3;
/// A person's approval is needed first.
pub const APPROVAL_PENDING: u8 = 4;
/// It may or may not have happened, or cannot be known now.
pub const INDETERMINATE: u8 = 5;
/// `EX_USAGE` of sysexits(3).
pub const USAGE: u8 = 64;
