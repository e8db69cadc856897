//! Leadership goes to the member that reaches most.
//!
//! A link between the leader and one follower may fail while both reach the third member. The leader keeps its majority, so Raft
//! sees nothing amiss, and that follower can neither have anything decided nor learn of decisions until the link is mended. So a
//! leader that misses a voter asks the other followers whom they reach, and hands leadership to one that reaches more.
//!
//! Strictly more: while the links stay as they are, each move ends with more members reached, so moves come to an end. What the
//! two sides count is the same thing: round trips that end when the member's log could take an entry.

use super::network::node_id;
use super::wire::{Reply, Request};
use super::{Metrics, Shared, Timing};
use mainstay_protocol::NodeId;
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Longest election timeouts for which a leader leads before it judges whom it reaches: at first it has heard nobody yet. Also
/// the least time between two moves, whoever makes them.
pub const SETTLED_ELECTIONS: u32 = 3;
/// Longest election timeouts between two moves by one member. Should counting ever differ between two members, leadership goes
/// to and fro no faster than that.
pub const PAUSE_ELECTIONS: u32 = 10;

/// Looks, until coordination stops, whether this node leads and somebody else had better.
pub async fn watch(shared: Weak<Shared>, timing: Timing) {
    let election = Duration::from_millis(timing.election_ms_max);
    let mut pace = Pace::new(election);
    loop {
        tokio::time::sleep(Duration::from_millis(timing.election_ms_min)).await;
        let Some(shared) = shared.upgrade() else { return };
        let metrics = shared.metrics();
        if metrics.running_state.is_err() {
            return;
        }
        if pace.allows(&metrics, Instant::now()) && shared.move_leadership(&metrics).await {
            pace.moved(Instant::now());
        }
    }
}

/// How often leadership may move.
pub struct Pace {
    election: Duration,
    /// The term in which this node leads, and when that was seen first.
    led: Option<(u64, Instant)>,
    moved: Option<Instant>,
}

impl Pace {
    pub fn new(election: Duration) -> Pace {
        Pace { election, led: None, moved: None }
    }

    pub fn moved(&mut self, now: Instant) {
        self.moved = Some(now);
    }

    pub fn allows(&mut self, metrics: &Metrics, now: Instant) -> bool {
        if !metrics.state.is_leader() {
            self.led = None;
            return false;
        }
        let term = metrics.current_term;
        let led = self.led.filter(|(led, _)| *led == term).unwrap_or((term, now));
        self.led = Some(led);
        let rested = self.moved.is_none_or(|at| now - at >= self.election * PAUSE_ELECTIONS);
        rested && now - led.1 >= self.election * SETTLED_ELECTIONS
    }
}

impl Shared {
    pub(super) fn metrics(&self) -> Metrics {
        self.core.metrics().borrow_watched().clone()
    }

    /// For a leader: the voters that acknowledged something within `election_ms_max`, and itself. Nobody for others.
    pub(super) fn alive(&self, metrics: &Metrics) -> BTreeSet<u64> {
        let Some(heartbeat) = &metrics.heartbeat else { return BTreeSet::new() };
        let recent = Duration::from_millis(self.timing.election_ms_max);
        let acked = |id: &u64| heartbeat.get(id).copied().flatten().is_some_and(|at| at.elapsed() < recent);
        let own = u64::from(self.node.0);
        metrics.membership_config.voter_ids().filter(|id| *id == own || acked(id)).collect()
    }

    /// Hands leadership on when that makes more voters reached. A transfer that fails ends in an ordinary election: openraft's
    /// leader sends no heartbeats any more from when it has begun one.
    async fn move_leadership(&self, before: &Metrics) -> bool {
        let voters = before.membership_config.voter_ids().count();
        let alive = self.alive(before);
        // Without a majority the others elect by themselves.
        if alive.len() == voters || alive.len() <= voters / 2 {
            return false;
        }
        let Some((best, reached)) = self.best_of(&alive).await else { return false };
        // Asking took time.
        let after = self.metrics();
        let still = after.state.is_leader() && after.current_term == before.current_term;
        still && reached > self.alive(&after).len() && self.core.trigger().transfer_leader(best).await.is_ok()
    }

    /// Who of these followers reaches most voters, and how many.
    async fn best_of(&self, alive: &BTreeSet<u64>) -> Option<(u64, usize)> {
        let others = alive.iter().map(|id| node_id(*id)).filter(|node| *node != self.node);
        // The asked one waits as long for its own answers.
        let limit = Duration::from_millis(self.timing.election_ms_max);
        let answers = self.ask_all(others, Request::Survey, limit).await;
        let voters = self.voters();
        let count = |(node, reply): (NodeId, Reply)| match reply {
            Reply::Survey(reached) => Some((u64::from(node.0), reached.intersection(&voters).count())),
            _ => None,
        };
        answers.into_iter().filter_map(count).max_by_key(|(_, reached)| *reached)
    }

    /// Which voters answer this one, and itself.
    pub(super) async fn survey(&self) -> BTreeSet<NodeId> {
        let others = self.voters().into_iter().filter(|node| *node != self.node);
        let limit = Duration::from_millis(self.timing.election_ms_min);
        let answers = self.ask_all(others, Request::Present, limit).await;
        let present = answers.into_iter().filter(|(_, reply)| matches!(reply, Reply::Present));
        present.map(|(node, _)| node).chain([self.node]).collect()
    }

    /// The answer comes by way of the core and of the disk, as that to an append does: a member whose disk hangs is heard by
    /// nobody, or leadership would be moved for its sake in vain, for ever.
    pub(super) async fn present(&self) -> Reply {
        let round = async {
            self.core.is_initialized().await.map_err(|error| error.to_string())?;
            self.disk.write_and_wait(Vec::new()).await.map_err(|error| error.to_string())
        };
        // Who asked has given up by then, and questions must not pile up behind a disk that hangs.
        match tokio::time::timeout(Duration::from_millis(self.timing.election_ms_min), round).await {
            Ok(Ok(())) => Reply::Present,
            Ok(Err(why)) => Reply::Failed(why),
            Err(_) => Reply::Failed("nothing is written at present".into()),
        }
    }

    fn voters(&self) -> BTreeSet<NodeId> {
        self.metrics().membership_config.voter_ids().map(node_id).collect()
    }

    /// One question to several at once; who does not answer is not in what comes back.
    async fn ask_all(&self, nodes: impl Iterator<Item = NodeId>, request: Request, limit: Duration) -> Vec<(NodeId, Reply)> {
        let request = std::sync::Arc::new(request);
        let mut calls = JoinSet::new();
        for node in nodes {
            let (caller, request) = (self.caller.clone(), request.clone());
            calls.spawn(async move { caller.call(node, &request, limit).await.ok().map(|reply| (node, reply)) });
        }
        calls.join_all().await.into_iter().flatten().collect()
    }
}
