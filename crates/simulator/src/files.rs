//! An independent model of the file system. It shares no code with the volume: the volume plans changes to rows and extents,
//! this keeps plain trees of plain byte strings and says what a correct server may answer.
//!
//! One [`Tree`] belongs to one worker, which has one operation in flight at a time, so that every answer is known exactly.
//! What is not known: an operation that was given up (it may or may not have happened; the tree is then retired and both
//! outcomes are allowed at the end), and unstable writes before their commit ([`content`]).

pub mod content;
pub mod dump;
pub mod op;
pub mod tree;

pub use content::Content;
pub use dump::Dump;
pub use op::Op;
pub use tree::{Key, Tree};

/// What was answered and what should have been: the text of a P2 violation.
pub type Verdict = Result<(), String>;
