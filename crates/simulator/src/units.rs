//! Times and counts for people.

use crate::queue::{MILLISECOND, SECOND, Time};

/// A moment of a run: `41.756 s`.
pub fn instant(at: Time) -> String {
    format!("{}.{:03} s", at / SECOND, at % SECOND / MILLISECOND)
}

/// How often something was sent.
pub fn times(tries: u32) -> String {
    match tries {
        0 | 1 => "sent once".into(),
        2 => "sent twice".into(),
        more => format!("sent {more} times"),
    }
}
