//! Looks at every node by itself, all the time, and judges who says that it serves (P1).

use super::network::At;
use mainstay_node::admin::api::LocalVolume;
use mainstay_node::admin::client::AdminClient;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One look at one node.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub node: At,
    pub asked: Instant,
    pub answered: Instant,
    pub epoch: u64,
    /// It serves as the primary.
    pub writes: bool,
}

#[derive(Default)]
pub struct Judge {
    /// Who served in an epoch, and when that was first known.
    reigns: BTreeMap<u64, (At, Instant)>,
    pub problems: Vec<String>,
}

impl Judge {
    pub fn look(&mut self, look: Look) {
        if !look.writes {
            return;
        }
        let (owner, _) = *self.reigns.entry(look.epoch).or_insert((look.node, look.answered));
        if owner != look.node {
            self.problems.push(format!("P1: {:?} and {owner:?} both served in epoch {}", look.node, look.epoch));
        }
        // It said so after a later reign was seen serving: it was fenced, and answers all the same.
        let later = self.reigns.range(look.epoch + 1..).find(|(_, (_, seen))| *seen < look.asked);
        if let Some((epoch, (by, _))) = later {
            self.problems.push(format!("P1: {:?} serves in epoch {} although {by:?} serves in {epoch}", look.node, look.epoch));
        }
    }
}

pub struct Watch {
    stop: Arc<AtomicBool>,
    judge: Arc<Mutex<Judge>>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    pub fn start(admin: &AdminClient, nodes: &[At]) -> Watch {
        let (stop, judge) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Judge::default())));
        let threads = nodes.iter().map(|node| spawn(admin.at(vec![node.admin()]), *node, stop.clone(), judge.clone())).collect();
        Watch { stop, judge, threads }
    }

    pub fn finish(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
        let judge = super::clients::lock(&self.judge);
        match judge.reigns.is_empty() {
            true => vec!["nobody was ever seen serving: the watch is blind".into()],
            false => judge.problems.clone(),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn spawn(admin: AdminClient, node: At, stop: Arc<AtomicBool>, judge: Arc<Mutex<Judge>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        while !stop.load(Ordering::Relaxed) {
            let asked = Instant::now();
            if let Ok(local) = runtime.block_on(admin.local()) {
                let answered = Instant::now();
                for LocalVolume { epoch, serve, lease_ms, .. } in local.volumes.into_values() {
                    let writes = serve == "read-write" && lease_ms > 0;
                    super::clients::lock(&judge).look(Look { node, asked, answered, epoch, writes });
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
    })
}
