//! The simulator's coordination.
