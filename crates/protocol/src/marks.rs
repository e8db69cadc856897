//! Coverage marks: branches that keep data safe are named where they are, and the simulator's tests prove that some seed comes
//! through each. A rule whose branch no drill reaches is not rehearsed, whatever the drills say.
//!
//! Without the feature `planted-bugs`, which nothing that is shipped switches on, a mark is nothing at all.

use std::borrow::Cow;
#[cfg(feature = "planted-bugs")]
use std::collections::BTreeSet;
use std::fmt::Debug;

#[cfg(feature = "planted-bugs")]
thread_local! {
    static REACHED: std::cell::RefCell<BTreeSet<Cow<'static, str>>> = const { std::cell::RefCell::new(BTreeSet::new()) };
}

/// Execution came through the place of this name.
#[inline]
pub fn mark(_place: &'static str) {
    #[cfg(feature = "planted-bugs")]
    REACHED.with_borrow_mut(|reached| _ = reached.insert(Cow::Borrowed(_place)));
}

/// As [`mark`], named by the variant that `value` is.
#[inline]
pub fn mark_variant(_value: &impl Debug) {
    #[cfg(feature = "planted-bugs")]
    {
        let text = format!("{_value:?}");
        let name = text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
        REACHED.with_borrow_mut(|reached| _ = reached.insert(Cow::Owned(name.into())));
    }
}

/// The places that this thread came through since it asked last. Always none in a build without marks.
pub fn take_marks() -> Vec<Cow<'static, str>> {
    #[cfg(feature = "planted-bugs")]
    return REACHED.take().into_iter().collect();
    #[cfg(not(feature = "planted-bugs"))]
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_sees_its_own_marks_once() {
        mark("there");
        mark("there");
        mark_variant(&Some(1));
        let expected: &[&str] = if crate::planted::AVAILABLE { &["Some", "there"] } else { &[] };
        assert_eq!(take_marks(), expected);
        assert!(take_marks().is_empty());
    }
}
