//! Linearizability of the shared registers (part of P2, and of P1: a fenced primary's stale answer shows here).
//!
//! Every written value is unique, so a history is linearizable exactly when its values' *zones* allow it (Gibbons and Korach,
//! "Testing Shared Memories", 1997): the time that must lie within a value's reign. No search, so long histories cost little.

use crate::queue::Time;
use crate::units::instant;
use std::collections::{BTreeMap, BTreeSet};

/// A value says who wrote it.
fn shown(value: u64) -> String {
    match value {
        0 => "nothing".into(),
        _ => format!("write {} of client {}", value as u32, value >> 32),
    }
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    invoked: Time,
    /// `Time::MAX`: never answered.
    answered: Time,
}

#[derive(Clone, Debug, Default)]
struct Value {
    write: Option<Interval>,
    reads: Vec<Interval>,
}

/// Everything that happened to one register. Value 0 is the empty register.
#[derive(Clone, Debug, Default)]
pub struct History {
    values: BTreeMap<u64, Value>,
    /// Values from before a loss that two people named: which of them it held then, nobody can say.
    before: BTreeSet<u64>,
}

/// The stretch between a value's first answer and its last invocation.
struct Zone {
    value: u64,
    first_answer: Time,
    last_invocation: Time,
}

impl Zone {
    /// A forward zone is time during which the register surely held the value.
    fn forward(&self) -> bool {
        self.first_answer < self.last_invocation
    }
    fn low(&self) -> Time {
        self.first_answer.min(self.last_invocation)
    }
    fn high(&self) -> Time {
        self.first_answer.max(self.last_invocation)
    }
}

impl History {
    pub fn write(&mut self, value: u64, invoked: Time, answered: Option<Time>) {
        let write = Interval { invoked, answered: answered.unwrap_or(Time::MAX) };
        let known = self.values.entry(value).or_default().write.replace(write);
        assert!(known.is_none(), "values are unique");
    }

    /// Acknowledged writes may be gone from here on: any older value may be the first. Those of `pending` may still come to be written.
    pub fn forget(&mut self, pending: &[(u64, Time)]) {
        let written = std::mem::take(&mut self.values).into_keys();
        self.before.extend(written);
        for (value, invoked) in pending {
            self.before.remove(value);
            self.write(*value, *invoked, None);
        }
    }

    pub fn read(&mut self, value: u64, invoked: Time, answered: Time) {
        let value = if self.before.contains(&value) { 0 } else { value };
        self.values.entry(value).or_default().reads.push(Interval { invoked, answered });
    }

    pub fn len(&self) -> usize {
        self.values.values().map(|value| value.reads.len() + value.write.is_some() as usize).sum()
    }
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// `losses`: when the loss epoch rose. A read waits for what it saw to be in memory everywhere, not on disk; so it may see a
    /// write that nobody has acknowledged yet, that the loss takes, and that its client's retry makes again. Such early reads
    /// of a write whose answer came only after the loss are not counted.
    pub fn check(&self, losses: &[Time]) -> Result<(), String> {
        let mut zones = Vec::new();
        for (value, ops) in &self.values {
            zones.extend(zone(*value, &without_early_reads(ops, losses))?);
        }
        check_zones(zones)
    }
}

fn without_early_reads(ops: &Value, losses: &[Time]) -> Value {
    let mut kept = ops.clone();
    let Some(write) = ops.write else { return kept };
    for loss in losses.iter().filter(|loss| write.invoked < **loss && **loss < write.answered) {
        kept.reads.retain(|read| read.invoked > *loss);
    }
    kept
}

fn zone(value: u64, ops: &Value) -> Result<Option<Zone>, String> {
    let write = match (ops.write, value) {
        (Some(write), _) => write,
        // The empty register was "written" before everything.
        (None, 0) => Interval { invoked: 0, answered: 0 },
        (None, _) => return Err(format!("{} was read but never written", shown(value))),
    };
    if ops.reads.is_empty() && write.answered == Time::MAX {
        // Unknown and unseen: it may never have happened.
        return Ok(None);
    }
    if let Some(early) = ops.reads.iter().find(|read| read.answered < write.invoked) {
        return Err(format!(
            "{} was read at {} before it was written at {}",
            shown(value),
            instant(early.answered),
            instant(write.invoked)
        ));
    }
    let all = || ops.reads.iter().chain([&write]);
    let first_answer = all().map(|op| op.answered).min().expect("the write is there");
    let last_invocation = all().map(|op| op.invoked).max().expect("the write is there");
    Ok(Some(Zone { value, first_answer, last_invocation }))
}

fn check_zones(mut zones: Vec<Zone>) -> Result<(), String> {
    zones.sort_by_key(|zone| (zone.low(), zone.high()));
    let forward: Vec<&Zone> = zones.iter().filter(|zone| zone.forward()).collect();
    for pair in forward.windows(2) {
        if pair[0].high() > pair[1].low() {
            let (a, b) = (pair[0], pair[1]);
            return Err(format!(
                "{} was what it held from {} to {}, and {} from {} to {}: both at once",
                shown(a.value),
                instant(a.low()),
                instant(a.high()),
                shown(b.value),
                instant(b.low()),
                instant(b.high())
            ));
        }
    }
    for zone in zones.iter().filter(|zone| !zone.forward()) {
        let before = forward.partition_point(|forward| forward.low() < zone.low());
        if let Some(around) = before.checked_sub(1).map(|index| forward[index]).filter(|around| zone.high() < around.high()) {
            return Err(format!(
                "{} was written and read between {} and {}, while it held {} from {} to {}",
                shown(zone.value),
                instant(zone.low()),
                instant(zone.high()),
                shown(around.value),
                instant(around.low()),
                instant(around.high())
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_history_passes() {
        let mut history = History::default();
        history.read(0, 1, 2);
        history.write(10, 3, Some(6));
        history.read(10, 4, 8);
        history.write(11, 7, Some(9));
        history.read(11, 10, 11);
        history.write(12, 12, None);
        history.read(11, 13, 14);
        history.read(12, 15, 16);
        assert_eq!(history.check(&[]), Ok(()));
        assert_eq!(history.len(), 8);

        let mut early = History::default();
        early.write(10, 1, Some(2));
        early.write(11, 3, Some(20));
        early.read(11, 4, 5);
        early.read(10, 12, 13);
        early.read(11, 21, 22);
        assert!(early.check(&[]).is_err());
        assert_eq!(early.check(&[10]), Ok(()));
    }

    #[test]
    fn after_a_named_loss_an_older_value_may_be_the_first_but_comes_back_no_more() {
        let mut history = History::default();
        history.write(10, 1, Some(2));
        history.write(11, 3, Some(4));
        assert_eq!(history.check(&[]), Ok(()));
        history.forget(&[(12, 5)]);
        history.read(10, 20, 21);
        history.read(12, 22, 23);
        assert_eq!(history.check(&[]), Ok(()));
        history.write(13, 24, Some(25));
        history.read(10, 26, 27);
        assert!(history.check(&[]).is_err());
    }

    #[test]
    fn stale_reads_lost_writes_and_inventions_are_found() {
        let mut stale = History::default();
        stale.write(10, 1, Some(2));
        stale.write(11, 3, Some(4));
        stale.read(10, 5, 6);
        assert!(stale.check(&[]).is_err());

        let mut flicker = History::default();
        flicker.write(10, 1, Some(2));
        flicker.write(11, 3, None);
        flicker.read(11, 5, 6);
        flicker.read(10, 7, 8);
        assert!(flicker.check(&[]).is_err());

        let mut lost = History::default();
        lost.write(10, 1, Some(2));
        lost.read(0, 3, 4);
        assert!(lost.check(&[]).is_err());

        let mut invented = History::default();
        invented.read(7, 3, 4);
        assert!(invented.check(&[]).is_err());

        let mut future = History::default();
        future.read(7, 1, 2);
        future.write(7, 3, Some(4));
        assert!(future.check(&[]).is_err());
    }
}
