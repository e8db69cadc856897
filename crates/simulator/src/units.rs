//! Times and counts for people.

use crate::queue::{MILLISECOND, SECOND, Time};

/// A moment of a run: `41.756 s`.
pub fn instant(at: Time) -> String {
    format!("{}.{:03} s", at / SECOND, at % SECOND / MILLISECOND)
}

/// How long something took: `1.250 s`, or minutes when it is long.
pub fn length(time: Time) -> String {
    match time / SECOND {
        0..120 => instant(time),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// How often something was sent.
pub fn times(tries: u32) -> String {
    match tries {
        0 | 1 => "sent once".into(),
        2 => "sent twice".into(),
        more => format!("sent {more} times"),
    }
}
