//! The network between nodes, and between clients and nodes: every direction of every pair is a link of its own.

use crate::queue::{MICROSECOND, SECOND, Time};
use crate::rng::Rng;
use mainstay_protocol::NodeId;
use std::collections::BTreeMap;

/// Who can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    Node(NodeId),
    Client(u32),
}

/// What waits longer than this for a slow wire is dropped: clients and those who renew a lease have given it up by then.
const QUEUE_MAX: Time = 5 * SECOND;
/// Bulk data waits for as long as it takes, in a queue of so many bytes; more is dropped.
const BULK_QUEUE_BYTES_MAX: u64 = 64 << 20;

/// How long a connection hangs before its end gives it up and makes another, as the daemon's do.
const STALL_TIME: Time = 5 * SECOND;

/// Between nodes there are two connections each way, so that what is small and urgent never queues behind megabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Control,
    Bulk,
}

/// How one direction behaves. Chances are per message, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    pub delay: Time,
    pub jitter: Time,
    pub loss_ppm: u32,
    pub duplicate_ppm: u32,
    /// Such a message may be overtaken by later ones.
    pub reorder_ppm: u32,
    /// 0 = no limit.
    pub bytes_per_second: u64,
    /// Larger bulk messages vanish, and what follows on the connection with them until it is given up ([`STALL_TIME`]), as on a path
    /// that swallows large packets. 0 = no limit.
    pub mtu_bytes: u64,
}

impl Quality {
    pub const GOOD: Quality = Quality {
        delay: 100 * MICROSECOND,
        jitter: 50 * MICROSECOND,
        loss_ppm: 0,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        bytes_per_second: 0,
        mtu_bytes: 0,
    };
}

#[derive(Clone, Copy, Debug)]
struct Link {
    quality: Quality,
    cut: bool,
    control: Lane,
    bulk: Lane,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// When the wire is free again (a slow link sends one message after the other).
    free_at: Time,
    /// Arrival of the last message in order.
    last_at: Time,
    stalled_until: Time,
}

impl Lane {
    fn is_full(&self, now: Time, class: Class, bytes_per_second: u64) -> bool {
        let waits = self.free_at.saturating_sub(now);
        match class {
            Class::Control => waits > QUEUE_MAX,
            Class::Bulk => waits as u128 * bytes_per_second as u128 / SECOND as u128 > BULK_QUEUE_BYTES_MAX as u128,
        }
    }
}

/// Arrival times of one message: none when it is lost, two when it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Arrivals {
    pub first: Option<Time>,
    pub second: Option<Time>,
}

pub struct Network {
    links: BTreeMap<(End, End), Link>,
    default: Quality,
    rng: Rng,
    /// Bytes handed to the network, cut links included.
    pub bytes_sent: u64,
}

impl Network {
    pub fn new(rng: Rng) -> Network {
        Network { links: BTreeMap::new(), default: Quality::GOOD, rng, bytes_sent: 0 }
    }

    fn link(&mut self, from: End, to: End) -> &mut Link {
        let quality = self.default;
        self.links.entry((from, to)).or_insert(Link { quality, cut: false, control: Lane::default(), bulk: Lane::default() })
    }

    pub fn set_quality(&mut self, from: End, to: End, quality: Quality) {
        self.link(from, to).quality = quality;
    }

    /// Sets every link, also those not used yet.
    pub fn set_all(&mut self, quality: Quality) {
        self.default = quality;
        self.links.values_mut().for_each(|link| link.quality = quality);
    }

    /// One direction only; cut both for a partition.
    pub fn cut(&mut self, from: End, to: End, cut: bool) {
        self.link(from, to).cut = cut;
    }

    pub fn is_cut(&self, from: End, to: End) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.cut)
    }

    pub fn heal(&mut self) {
        self.links.values_mut().for_each(|link| link.cut = false);
        self.set_all(Quality::GOOD);
    }

    /// When a message of `bytes` sent now arrives.
    pub fn send(&mut self, now: Time, (from, to): (End, End), class: Class, bytes: usize) -> Arrivals {
        self.bytes_sent += bytes as u64;
        self.link(from, to);
        let link = self.links.get_mut(&(from, to)).expect("made by the line above");
        let quality = link.quality;
        let rng = &mut self.rng;
        let lane = match class {
            Class::Control => &mut link.control,
            Class::Bulk => &mut link.bulk,
        };
        if class == Class::Bulk && quality.mtu_bytes > 0 && now >= lane.stalled_until && bytes as u64 > quality.mtu_bytes {
            lane.stalled_until = now + STALL_TIME;
        }
        if link.cut || now < lane.stalled_until || rng.ppm(quality.loss_ppm) || lane.is_full(now, class, quality.bytes_per_second) {
            return Arrivals::default();
        }
        let wire = if quality.bytes_per_second == 0 {
            0
        } else {
            (bytes as u128 * 1_000_000_000 / quality.bytes_per_second as u128) as u64
        };
        lane.free_at = lane.free_at.max(now) + wire;
        let mut flight = || quality.delay + if quality.jitter > 0 { rng.below(quality.jitter) } else { 0 };
        let mut arrival = lane.free_at + flight();
        let second = lane.free_at + 2 * flight();
        if rng.ppm(quality.reorder_ppm) {
            arrival += rng.below(10 * (quality.delay + quality.jitter) + 1);
        } else {
            lane.last_at = lane.last_at.max(arrival);
            arrival = lane.last_at;
        }
        Arrivals { first: Some(arrival), second: rng.ppm(quality.duplicate_ppm).then_some(second) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: End = End::Node(NodeId(1));
    const B: End = End::Node(NodeId(2));

    #[test]
    fn a_cut_is_one_way_and_order_is_kept_unless_asked() {
        let mut network = Network::new(Rng::new(3));
        network.cut(A, B, true);
        assert_eq!(network.send(0, (A, B), Class::Control, 10), Arrivals::default());
        assert!(network.send(0, (B, A), Class::Control, 10).first.is_some());
        network.heal();
        let times: Vec<_> = (0..100).map(|at| network.send(at, (A, B), Class::Bulk, 10).first.unwrap()).collect();
        assert!(times.is_sorted());
        network.set_all(Quality { reorder_ppm: 300_000, loss_ppm: 100_000, duplicate_ppm: 100_000, ..Quality::GOOD });
        let sent: Vec<_> = (0..1000).map(|at| network.send(at, (A, B), Class::Bulk, 10)).collect();
        let times: Vec<_> = sent.iter().filter_map(|arrivals| arrivals.first).collect();
        assert!(!times.is_sorted() && (850..950).contains(&times.len()));
        assert!(sent.iter().filter(|arrivals| arrivals.second.is_some()).count() > 50);
    }

    #[test]
    fn a_large_message_takes_what_follows_with_it() {
        let mut network = Network::new(Rng::new(3));
        network.set_all(Quality { mtu_bytes: 1400, ..Quality::GOOD });
        let mut arrives = |at, class, bytes| network.send(at * SECOND, (A, B), class, bytes).first.is_some();
        assert!(arrives(1, Class::Bulk, 1400));
        assert!(!arrives(1, Class::Bulk, 1401) && !arrives(2, Class::Bulk, 10));
        assert!(arrives(2, Class::Control, 10), "on another connection");
        assert!(arrives(6, Class::Bulk, 10), "a new connection");
    }

    #[test]
    fn a_slow_link_carries_what_it_can() {
        let mut network = Network::new(Rng::new(3));
        network.set_all(Quality { bytes_per_second: 1000, ..Quality::GOOD });
        let mut last = |class| (0..10).filter_map(|_| network.send(0, (A, B), class, 1000).first).last().unwrap();
        assert!((6 * SECOND..7 * SECOND).contains(&last(Class::Control)), "what would wait longer is dropped");
        assert!((10 * SECOND..11 * SECOND).contains(&last(Class::Bulk)), "it takes as long as it takes");
    }
}
