//! `on_promoted` and `on_demoted`: run after a volume is served here, and after it is not any more. One at a time for each volume, in
//! order; of changes that come while one runs only the newest counts, so a slow hook never works through a backlog.

use super::run::{Errand, Stop, run};
use crate::config::HooksConfig;
use mainstay_protocol::{Epoch, VolumeId};
use mainstay_replica::ServeMode;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often is looked whether all is done, before the daemon ends.
const IDLE_LOOK: Duration = Duration::from_millis(20);

/// What a volume is on this node, as hooks see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub volume: String,
    /// Of the reign that began or ended.
    pub epoch: Epoch,
    pub promoted: bool,
}

#[derive(Default)]
struct Volume {
    wanted: Option<Standing>,
    /// What the last hook was run for; before the first, nothing was promoted.
    told: Option<Standing>,
    running: bool,
}

/// Called with a line for the audit log when a hook fails.
type Failed = Box<dyn Fn(VolumeId, String) + Send + Sync>;

/// Cheap to clone.
#[derive(Clone)]
pub struct RoleHooks(Arc<Inner>);

struct Inner {
    node: String,
    config: HooksConfig,
    volumes: Mutex<BTreeMap<VolumeId, Volume>>,
    failed: Failed,
}

impl RoleHooks {
    pub fn new(node: &str, config: HooksConfig, failed: impl Fn(VolumeId, String) + Send + Sync + 'static) -> RoleHooks {
        RoleHooks(Arc::new(Inner { node: node.into(), config, volumes: Mutex::default(), failed: Box::new(failed) }))
    }

    /// What the volume's thread said last. Reads without a primary are no reign.
    pub fn serves(&self, id: VolumeId, volume: &str, mode: ServeMode, epoch: Epoch) {
        let promoted = mode == ServeMode::ReadWrite;
        let mut volumes = self.0.lock();
        let entry = volumes.entry(id).or_default();
        let known = entry.wanted.as_ref();
        if !promoted && known.is_none_or(|known| !known.promoted) {
            return;
        }
        // The end of a reign belongs to the epoch that it had, whatever epoch there is by now.
        let epoch = if promoted { epoch } else { known.map_or(epoch, |known| known.epoch) };
        entry.wanted = Some(Standing { volume: volume.into(), epoch, promoted });
        if std::mem::replace(&mut entry.running, true) {
            return;
        }
        drop(volumes);
        let hooks = self.clone();
        if let Err(error) = std::thread::Builder::new().name("hooks".into()).spawn(move || hooks.work(id)) {
            tracing::error!(%error, "cannot start a thread for hooks");
            self.0.lock().entry(id).or_default().running = false;
        }
    }

    /// Waits until every hook has ended.
    pub async fn idle(&self) {
        while self.0.lock().values().any(|volume| volume.running) {
            tokio::time::sleep(IDLE_LOOK).await;
        }
    }

    /// Until the newest standing is told.
    fn work(&self, id: VolumeId) {
        while let Some(standing) = self.next(id) {
            self.tell(id, &standing);
        }
    }

    fn next(&self, id: VolumeId) -> Option<Standing> {
        let mut volumes = self.0.lock();
        let entry = volumes.entry(id).or_default();
        if entry.told == entry.wanted {
            entry.running = false;
            return None;
        }
        entry.told = entry.wanted.clone();
        entry.wanted.clone()
    }

    fn tell(&self, id: VolumeId, standing: &Standing) {
        let HooksConfig { on_promoted, on_demoted, timeout } = &self.0.config;
        let (name, command) = if standing.promoted { ("on_promoted", on_promoted) } else { ("on_demoted", on_demoted) };
        if command.is_empty() {
            return;
        }
        let environment = vec![
            ("MAINSTAY_HOOK", name.to_string()),
            ("MAINSTAY_VOLUME", standing.volume.clone()),
            ("MAINSTAY_EPOCH", standing.epoch.0.to_string()),
            ("MAINSTAY_NODE", self.0.node.clone()),
        ];
        let errand = Errand { command: command.clone(), environment, deadline: Instant::now() + timeout.0 };
        let outcome = run(&errand, &Stop::default());
        let volume = standing.volume.as_str();
        if outcome.succeeded() {
            return tracing::info!(volume, epoch = %standing.epoch, hook = name, "hook done");
        }
        let why = outcome.text();
        tracing::error!(volume, epoch = %standing.epoch, hook = name, why, "a hook failed; the volume is served as if there were none");
        let text = format!("hook {name} of {volume} failed on {} in epoch {}: {why}", self.0.node, standing.epoch);
        (self.0.failed)(id, text);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Volume>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
