//! Checking an audit log that somebody kept, event by event, without the cluster: what is proven, from where on, and where it
//! first does not hold.

use super::AuditEvent;
use crate::digest::Digest;

/// Gaps that are named one by one; more are counted.
const GAPS_NAMED_MAX: usize = 32;

/// What is wrong with one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    #[error("event {0} was changed, or the one before it: its hash does not follow")]
    Hash(u64),
    #[error("event {found} comes after event {after}: events were reordered, or two logs were put together")]
    Order { after: u64, found: u64 },
}

/// Takes events in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainCheck {
    pub first: Option<u64>,
    /// Number and hash of the last event taken.
    pub last: Option<(u64, Digest)>,
    /// Events whose hash was found to follow from the event before.
    pub proven: u64,
    /// Event 1 was checked against the chain's beginning, so nothing rests on trust.
    pub from_beginning: bool,
    /// First and last number of what is missing.
    pub gaps: Vec<(u64, u64)>,
    pub gaps_count: u64,
    /// The first event that does not hold. What comes behind it proves nothing.
    pub fault: Option<ChainFault>,
}

impl ChainCheck {
    pub fn take(&mut self, event: &AuditEvent) {
        if self.fault.is_some() {
            return;
        }
        match self.last {
            None => self.begin(event),
            Some((last, _)) if event.number <= last => self.fault = Some(ChainFault::Order { after: last, found: event.number }),
            Some((last, _)) if event.number > last + 1 => self.gap(last + 1, event.number - 1),
            Some((_, previous)) => self.prove(event, previous),
        }
        self.last = Some((event.number, event.hash));
    }

    /// The first event of all follows from nothing. Another first event has nothing in the file that it could be checked against.
    fn begin(&mut self, event: &AuditEvent) {
        self.first = Some(event.number);
        if event.number == 1 {
            self.from_beginning = true;
            self.prove(event, Digest::default());
        }
    }

    fn prove(&mut self, event: &AuditEvent, previous: Digest) {
        match event.hash == event.link(previous) {
            true => self.proven += 1,
            false => self.fault = Some(ChainFault::Hash(event.number)),
        }
    }

    fn gap(&mut self, from: u64, to: u64) {
        self.gaps_count += 1;
        if self.gaps.len() < GAPS_NAMED_MAX {
            self.gaps.push((from, to));
        }
    }

    /// Every event follows from the one before it, from the first in the file on.
    pub fn holds(&self) -> bool {
        self.fault.is_none() && self.gaps_count == 0 && self.first.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Audit, Event};
    use crate::command::Actor;
    use mainstay_protocol::Timestamp;

    fn log(count: u64) -> Vec<AuditEvent> {
        let mut audit = Audit::default();
        let note = |n: u64| (Timestamp::new(n as i64, 0), Actor::Person("ann".into()), None, Event::Note, format!("note {n}"));
        (1..=count)
            .map(|n| {
                let (at, actor, volume, event, text) = note(n);
                (*audit.push(at, actor, volume, event, text)).clone()
            })
            .collect()
    }

    fn check(events: &[AuditEvent]) -> ChainCheck {
        let mut check = ChainCheck::default();
        events.iter().for_each(|event| check.take(event));
        check
    }

    #[test]
    fn a_whole_log_is_proven_from_its_beginning_and_a_part_from_its_second_event_on() {
        let log = log(9);
        let whole = check(&log);
        assert!(whole.holds() && whole.from_beginning);
        assert_eq!((whole.first, whole.proven, whole.last), (Some(1), 9, Some((9, log[8].hash))));
        let part = check(&log[4..]);
        assert!(part.holds() && !part.from_beginning);
        assert_eq!((part.first, part.proven), (Some(5), 4));
        assert!(!check(&[]).holds(), "nothing proves nothing");
    }

    #[test]
    fn the_first_bad_event_is_named_and_nothing_behind_it_counts() {
        let good = log(9);
        let mut changed = good.clone();
        changed[4].text = "note five".into();
        let found = check(&changed);
        assert_eq!((found.fault, found.proven), (Some(ChainFault::Hash(5)), 4));
        // Whoever changes an event and makes its hash anew breaks the next one.
        let mut forged = good.clone();
        forged[4].text = "note five".into();
        forged[4].hash = forged[4].link(forged[3].hash);
        assert_eq!(check(&forged).fault, Some(ChainFault::Hash(6)));
        let mut first = good.clone();
        first[0].text = "another beginning".into();
        assert_eq!(check(&first).fault, Some(ChainFault::Hash(1)));
        let mut swapped = good.clone();
        swapped.swap(4, 5);
        assert_eq!(check(&swapped).gaps, [(5, 5)]);
        assert_eq!(check(&swapped).fault, Some(ChainFault::Order { after: 6, found: 5 }));
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut log = log(9);
        log.drain(3..6);
        let found = check(&log);
        assert_eq!((found.gaps.clone(), found.fault, found.proven), (vec![(4, 6)], None, 5));
        assert!(!found.holds());
    }
}
