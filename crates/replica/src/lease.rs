//! The lease (R13), both sides. No wall clock and no synchronised clock is trusted: the primary counts a promise from the
//! moment it *sent* the request, the one who promised from the moment it *received* it, each on its own clock.

use crate::event::StoredPromise;
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Epoch, Mono, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// The primary's side: who promised what, and until when that lets it serve.
#[derive(Debug, Default)]
pub struct Lease {
    /// When the newest request that each node promised to was sent.
    promised: BTreeMap<NodeId, Mono>,
    last_sent: Option<Mono>,
}

impl Lease {
    pub fn sent(&mut self, now: Mono) {
        self.last_sent = Some(now);
    }

    pub fn last_sent(&self) -> Option<Mono> {
        self.last_sent
    }

    pub fn promise(&mut self, node: NodeId, sent: Mono, now: Mono) {
        // A time that was never sent would stretch the lease: a peer's error must not.
        if self.last_sent.is_some_and(|last| sent <= last) && sent <= now {
            let newest = self.promised.entry(node).or_default();
            *newest = (*newest).max(sent);
        }
    }

    /// The lease ends here: a majority of `voters` and every one of `in_sync` promised for at least until then. `me` promises
    /// to itself with every request that it sends.
    pub fn until(&self, me: NodeId, voters: &BTreeSet<NodeId>, in_sync: &BTreeSet<NodeId>, usable_ms: u64) -> Option<Mono> {
        let of = |node: &NodeId| if *node == me { self.last_sent } else { self.promised.get(node).copied() };
        let mut sent: Vec<Option<Mono>> = voters.iter().map(of).collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        let majority = (*sent.get(voters.len() / 2)?)?;
        let everyone = in_sync.iter().map(of).try_fold(majority, |least, sent| sent.map(|sent| least.min(sent)))?;
        Some(everyone.after_ms(usable_ms))
    }
}

/// The voter's side: what this node has promised, durably and for the lease's time.
#[derive(Debug)]
pub struct Promise {
    /// The newest that is known to be on disk.
    durable: StoredPromise,
    /// The newest that was asked to be stored; the same when nothing is on its way. Messages, leases and grants of an older epoch
    /// are rejected (R2).
    wanted: StoredPromise,
    /// While this runs, a primary that this node promised to may be serving.
    lease_until: Mono,
    /// A node that restarted does not know what it promised in its earlier life; one full lease after the boot it does.
    quiet_until: Mono,
}

impl Promise {
    pub fn new(durable: StoredPromise, now: Mono, lapse_ms: u64) -> Promise {
        let quiet_until = if planted(Bug::NoQuietTime) { now } else { now.after_ms(lapse_ms) };
        Promise { durable, wanted: durable, lease_until: Mono::ZERO, quiet_until }
    }

    pub fn durable(&self) -> Epoch {
        self.durable.epoch
    }

    /// What is on disk, and nothing on its way there that would change it: only that is a word to give.
    pub fn settled(&self) -> Option<Epoch> {
        (self.durable == self.wanted).then_some(self.durable.epoch)
    }

    /// Everything below this epoch is rejected.
    pub fn floor(&self) -> Epoch {
        self.wanted.epoch
    }

    /// Rejects older epochs from now on; returns the promise to store when it is not durable yet.
    pub fn raise(&mut self, epoch: Epoch, version: u64) -> Option<StoredPromise> {
        (epoch > self.floor()).then(|| {
            self.wanted = StoredPromise { epoch, version };
            self.wanted
        })
    }

    /// In the order in which they were asked to be stored: a promise that was released meanwhile is on disk only until the release is.
    pub fn stored(&mut self, promise: StoredPromise) {
        self.durable = promise;
    }

    /// The cluster state at `version` shows no grant of the promised epoch and nothing on its way to one: the promotion was
    /// called off, and the primary of `epoch` may go on. Returns the promise to store.
    pub fn release(&mut self, epoch: Epoch, version: u64) -> Option<StoredPromise> {
        (self.wanted.epoch > epoch && version > self.wanted.version).then(|| {
            self.wanted = StoredPromise { epoch, version };
            self.wanted
        })
    }

    /// Promises the lease of `epoch`, or says which newer epoch forbids it. A restarted node may do this at once: what it
    /// could have promised to a *newer* epoch is durable.
    pub fn lease(&mut self, epoch: Epoch, now: Mono, lapse_ms: u64) -> Result<(), Epoch> {
        if epoch < self.floor() {
            return Err(self.floor());
        }
        self.lease_until = self.lease_until.max(now.after_ms(lapse_ms));
        Ok(())
    }

    /// No lease that this node took part in can be alive any more.
    pub fn lapsed(&self, now: Mono) -> bool {
        now >= self.lapses_at()
    }

    pub fn lapses_at(&self) -> Mono {
        self.lease_until.max(self.quiet_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const W: NodeId = NodeId(3);

    fn nodes(ids: &[NodeId]) -> BTreeSet<NodeId> {
        ids.iter().copied().collect()
    }

    #[test]
    fn a_lease_needs_a_majority_and_every_in_sync_member() {
        let (voters, pair) = (nodes(&[A, B, W]), nodes(&[A, B]));
        let mut lease = Lease::default();
        assert_eq!(lease.until(A, &voters, &pair, 1_000), None);
        lease.sent(Mono(10));
        lease.promise(W, Mono(10), Mono(11));
        assert_eq!(lease.until(A, &voters, &pair, 1_000), None, "B is in sync and has not promised");
        assert_eq!(lease.until(A, &voters, &nodes(&[A]), 1_000), Some(Mono(10).after_ms(1_000)));
        lease.promise(B, Mono(10), Mono(12));
        lease.sent(Mono(500));
        lease.promise(W, Mono(500), Mono(501));
        assert_eq!(lease.until(A, &voters, &pair, 1_000), Some(Mono(10).after_ms(1_000)), "B's older promise bounds it");
        lease.promise(B, Mono(9_000), Mono(9_001));
        assert_eq!(lease.until(A, &voters, &pair, 1_000), Some(Mono(10).after_ms(1_000)), "never sent, never counted");
    }

    #[test]
    fn a_promise_to_a_newer_epoch_refuses_the_older_and_outlives_the_lease() {
        let stored = |epoch, version| StoredPromise { epoch: Epoch(epoch), version };
        let mut promise = Promise::new(stored(1, 5), Mono(0), 2_000);
        assert!(!promise.lapsed(Mono(0)), "fresh from boot it does not know what it promised");
        assert_eq!(promise.lease(Epoch(1), Mono(0).after_ms(1_500), 2_000), Ok(()));
        assert!(!promise.lapsed(Mono(0).after_ms(3_499)));
        assert!(promise.lapsed(Mono(0).after_ms(3_500)));
        assert_eq!(promise.raise(Epoch(2), 7), Some(stored(2, 7)));
        assert_eq!(promise.raise(Epoch(2), 8), None, "asked once");
        assert_eq!(promise.lease(Epoch(1), Mono(0).after_ms(3_600), 2_000), Err(Epoch(2)));
        assert_eq!(promise.settled(), None);
        promise.stored(stored(2, 7));
        assert_eq!(promise.settled(), Some(Epoch(2)));
        assert_eq!(promise.release(Epoch(1), 7), None, "an older view knows nothing of it");
        assert_eq!(promise.release(Epoch(1), 9), Some(stored(1, 9)));
        assert_eq!(promise.lease(Epoch(1), Mono(0).after_ms(3_700), 2_000), Ok(()));
    }

    /// Called off while it was being stored, and asked for again at once: the disk holds the older epoch in between, so until the last
    /// of the three is on it there is nothing to give one's word on.
    #[test]
    fn a_promise_that_is_given_again_before_its_release_is_stored_is_not_settled() {
        let stored = |epoch, version| StoredPromise { epoch: Epoch(epoch), version };
        let mut promise = Promise::new(stored(1, 5), Mono(0), 2_000);
        let asked = [promise.raise(Epoch(2), 12), promise.release(Epoch(1), 13), promise.raise(Epoch(2), 14)];
        assert_eq!(asked, [Some(stored(2, 12)), Some(stored(1, 13)), Some(stored(2, 14))]);
        for (promised, settled) in [(stored(2, 12), None), (stored(1, 13), None), (stored(2, 14), Some(Epoch(2)))] {
            promise.stored(promised);
            assert_eq!((promise.settled(), promise.floor()), (settled, Epoch(2)), "{promised:?} is stored");
        }
        // The release comes after the first is stored, and the next promise before the release is.
        let mut promise = Promise::new(stored(1, 5), Mono(0), 2_000);
        promise.raise(Epoch(2), 12);
        promise.release(Epoch(1), 13);
        promise.stored(stored(2, 12));
        assert_eq!(promise.raise(Epoch(2), 14), Some(stored(2, 14)), "what is on disk is released already");
    }
}
