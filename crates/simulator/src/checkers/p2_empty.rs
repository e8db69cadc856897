//! P2: a copy that holds nothing is shown to nobody while the volume has no primary. It would say of every file that it does not exist.

use mainstay_protocol::Position;
use mainstay_replica::ServeMode;

/// `last`: where the node's copy ends when it begins to serve.
pub fn shown(mode: ServeMode, last: Position) -> Option<String> {
    (mode == ServeMode::ReadOnly && last == Position(0)).then(|| "a copy that holds nothing is served to readers".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_copy_is_for_its_primary_only() {
        assert!(shown(ServeMode::ReadOnly, Position(0)).is_some());
        assert_eq!(shown(ServeMode::ReadOnly, Position(1)), None);
        assert_eq!(shown(ServeMode::ReadWrite, Position(0)), None, "a new volume");
    }
}
