//! The fencing hooks of this node: a command that switches a machine off, and one that says whether it is off. What they mean for a
//! promotion is decided elsewhere; here they are run, each order once.

use super::run::{Ended, Errand, Outcome, Stop, run};
use crate::config::{FenceConfig, Seconds};
use mainstay_protocol::{ProposalId, VolumeId};
use mainstay_replica::{FenceOrder, FenceResult};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pause between two looks at whether the machine is off: power goes within seconds, and the hook's time bounds it.
const VERIFY_PAUSE: Duration = Duration::from_millis(500);

/// Cheap to clone.
#[derive(Clone)]
pub struct Fences {
    hooks: Arc<[FenceConfig]>,
    running: Arc<Mutex<BTreeMap<(VolumeId, ProposalId), Stop>>>,
}

/// What the commands are told, as placeholders and in their environment.
#[derive(Clone, Debug)]
pub struct About {
    pub target: String,
    pub incarnation: u64,
    /// Zero when a person asks, outside of a promotion.
    pub epoch: u64,
    pub proposal: String,
}

impl About {
    fn of(order: &FenceOrder) -> About {
        About {
            target: order.target_name.clone(),
            incarnation: order.target_incarnation.0,
            epoch: order.epoch.0,
            proposal: order.proposal.0.to_string(),
        }
    }

    fn fill(&self, argument: &str) -> String {
        let pairs = [("{target}", &self.target), ("{proposal}", &self.proposal)];
        let filled = pairs.iter().fold(argument.to_string(), |text, (name, value)| text.replace(name, value));
        filled.replace("{epoch}", &self.epoch.to_string()).replace("{incarnation}", &self.incarnation.to_string())
    }

    fn errand(&self, command: &[String], deadline: Instant) -> Errand {
        let environment = vec![
            ("MAINSTAY_TARGET", self.target.clone()),
            ("MAINSTAY_TARGET_INCARNATION", self.incarnation.to_string()),
            ("MAINSTAY_EPOCH", self.epoch.to_string()),
            ("MAINSTAY_PROPOSAL", self.proposal.clone()),
        ];
        Errand { command: command.iter().map(|argument| self.fill(argument)).collect(), environment, deadline }
    }
}

impl Fences {
    pub fn new(hooks: &[FenceConfig]) -> Fences {
        Fences { hooks: hooks.into(), running: Arc::default() }
    }

    /// Whom this node can switch off.
    pub fn targets(&self) -> BTreeSet<String> {
        self.hooks.iter().map(|hook| hook.node.clone()).collect()
    }

    pub fn hook(&self, target: &str) -> Option<&FenceConfig> {
        self.hooks.iter().find(|hook| hook.node == target)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(VolumeId, ProposalId), Stop>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the hook on a thread of its own and tells `done` what came of it.
    pub fn begin(&self, volume: VolumeId, order: FenceOrder, done: impl FnOnce(FenceResult) + Send + 'static) {
        let key = (volume, order.proposal);
        let stop = Stop::default();
        self.lock().insert(key, stop.clone());
        let fences = self.clone();
        let work = move || {
            let target = order.target_name.clone();
            tracing::warn!(target, proposal = %order.proposal, epoch = %order.epoch, "switching a machine off, for an approved promotion");
            let result = fences.perform(&About::of(&order), &stop);
            match &result {
                FenceResult::Confirmed => tracing::warn!(target, "the machine is off: external fence confirmed"),
                FenceResult::Failed(why) => {
                    tracing::error!(target, why, "the fencing hook failed; the lease decides, as without it")
                }
            }
            fences.lock().remove(&key);
            done(result);
        };
        if let Err(error) = std::thread::Builder::new().name("fence".into()).spawn(work) {
            // `done` went with the thread that never was: nobody is promoted on that machine for a while, and the lease decides.
            tracing::error!(%error, "cannot start a thread for the fencing hook");
            self.lock().remove(&key);
        }
    }

    pub fn stop(&self, volume: VolumeId, proposal: ProposalId) {
        if let Some(stop) = self.lock().get(&(volume, proposal)) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    /// The command, then the verify command until it says yes. Blocks, no longer than the hook's time and a moment.
    pub fn perform(&self, about: &About, stop: &Stop) -> FenceResult {
        let Some(hook) = self.hook(&about.target) else {
            return FenceResult::Failed(format!("node.toml has no [[fence]] for {}", about.target));
        };
        let Seconds(time) = hook.timeout;
        let deadline = Instant::now() + time;
        let done = run(&about.errand(&hook.command, deadline), stop);
        match done.succeeded() {
            true => verified(hook, about, deadline, stop),
            false => FenceResult::Failed(format!("the command: {}", done.text())),
        }
    }

    /// Whether the machine is off now; for people who try their hooks out. Nothing is switched off.
    pub fn look(&self, about: &About) -> Option<Outcome> {
        let hook = self.hook(&about.target)?;
        Some(run(&about.errand(&hook.verify, Instant::now() + hook.timeout.0), &Stop::default()))
    }

    /// The commands as they would be run.
    pub fn shown(&self, about: &About) -> Option<(Vec<String>, Vec<String>)> {
        let hook = self.hook(&about.target)?;
        let fill = |command: &[String]| command.iter().map(|argument| about.fill(argument)).collect();
        Some((fill(&hook.command), fill(&hook.verify)))
    }
}

/// Only exit code 0, and nothing else that it may do, is a yes.
fn verified(hook: &FenceConfig, about: &About, deadline: Instant, stop: &Stop) -> FenceResult {
    loop {
        let looked = run(&about.errand(&hook.verify, deadline), stop);
        if looked.succeeded() {
            return FenceResult::Confirmed;
        }
        // "Not yet" is an exit code; everything else will not be better the next time.
        let again = matches!(looked.ended, Ended::Exit(_)) && Instant::now() + VERIFY_PAUSE < deadline;
        if !again || stop.load(Ordering::Relaxed) {
            return FenceResult::Failed(format!("the verify command does not say that it is off: {}", looked.text()));
        }
        std::thread::sleep(VERIFY_PAUSE);
    }
}
