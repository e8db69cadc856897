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

/// What waits longer than this for a slow wire is dropped: queues in front of a connection are bounded, and it is reset.
const QUEUE_MAX: Time = 5 * SECOND;

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
}

impl Quality {
    pub const GOOD: Quality = Quality {
        delay: 100 * MICROSECOND,
        jitter: 50 * MICROSECOND,
        loss_ppm: 0,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        bytes_per_second: 0,
    };
}

#[derive(Clone, Copy, Debug)]
struct Link {
    quality: Quality,
    cut: bool,
    /// When the wire is free again (a slow link sends one message after the other).
    free_at: Time,
    /// Arrival of the last message in order.
    last_at: Time,
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
        self.links.entry((from, to)).or_insert(Link { quality, cut: false, free_at: 0, last_at: 0 })
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
    pub fn send(&mut self, now: Time, from: End, to: End, bytes: usize) -> Arrivals {
        self.bytes_sent += bytes as u64;
        self.link(from, to);
        let link = self.links.get_mut(&(from, to)).expect("made by the line above");
        let quality = link.quality;
        let rng = &mut self.rng;
        if link.cut || rng.ppm(quality.loss_ppm) || link.free_at > now + QUEUE_MAX {
            return Arrivals::default();
        }
        let wire = if quality.bytes_per_second == 0 {
            0
        } else {
            (bytes as u128 * 1_000_000_000 / quality.bytes_per_second as u128) as u64
        };
        link.free_at = link.free_at.max(now) + wire;
        let mut flight = || quality.delay + if quality.jitter > 0 { rng.below(quality.jitter) } else { 0 };
        let mut arrival = link.free_at + flight();
        let second = link.free_at + 2 * flight();
        if rng.ppm(quality.reorder_ppm) {
            arrival += rng.below(10 * (quality.delay + quality.jitter) + 1);
        } else {
            link.last_at = link.last_at.max(arrival);
            arrival = link.last_at;
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
        assert_eq!(network.send(0, A, B, 10), Arrivals::default());
        assert!(network.send(0, B, A, 10).first.is_some());
        network.heal();
        let times: Vec<_> = (0..100).map(|at| network.send(at, A, B, 10).first.unwrap()).collect();
        assert!(times.is_sorted());
        network.set_all(Quality { reorder_ppm: 300_000, loss_ppm: 100_000, duplicate_ppm: 100_000, ..Quality::GOOD });
        let sent: Vec<_> = (0..1000).map(|at| network.send(at, A, B, 10)).collect();
        let times: Vec<_> = sent.iter().filter_map(|arrivals| arrivals.first).collect();
        assert!(!times.is_sorted() && (850..950).contains(&times.len()));
        assert!(sent.iter().filter(|arrivals| arrivals.second.is_some()).count() > 50);
    }

    #[test]
    fn a_slow_link_carries_what_it_can() {
        let mut network = Network::new(Rng::new(3));
        network.set_all(Quality { bytes_per_second: 1000, ..Quality::GOOD });
        let last = (0..10).filter_map(|_| network.send(0, A, B, 1000).first).last().unwrap();
        assert!((6 * SECOND..7 * SECOND).contains(&last), "what would wait longer is dropped");
    }
}
