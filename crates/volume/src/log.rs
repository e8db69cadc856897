//! The log: segments that are written, kept, read and given back.

pub mod write;
