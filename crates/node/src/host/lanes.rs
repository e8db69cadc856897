//! The threads that run a volume's disk effects: one flusher, a few readers, one for the background.

use super::Input;
use crate::metrics::Histogram;
use mainstay_replica::Event;
use mainstay_volume::{Disk, DiskEffect, Lane, perform};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Reads of one volume at once: enough for the disk's queue to hold several, few enough to be cheap.
const READERS: usize = 2;

/// Ways to the threads. They end when this is dropped and what they were given is done.
pub struct Lanes {
    log: Sender<DiskEffect>,
    read: Sender<DiskEffect>,
    background: Sender<DiskEffect>,
}

impl Lanes {
    pub fn start(name: &str, disk: Arc<dyn Disk>, done: &Sender<Input>, syncs: Arc<Histogram>) -> std::io::Result<Lanes> {
        let (log, queue) = channel();
        spawn(format!("{name}-log"), {
            let (disk, done) = (disk.clone(), done.clone());
            move || flush(&queue, &*disk, &done, &syncs)
        })?;
        let (read, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..READERS {
            let (queue, disk, done) = (queue.clone(), disk.clone(), done.clone());
            spawn(format!("{name}-read{number}"), move || work(|| queue.lock().ok()?.recv().ok(), &*disk, &done))?;
        }
        let (background, queue) = channel::<DiskEffect>();
        let done = done.clone();
        spawn(format!("{name}-back"), move || work(|| queue.recv().ok(), &*disk, &done))?;
        Ok(Lanes { log, read, background })
    }

    pub fn run(&self, effect: DiskEffect) {
        let lane = match effect.lane() {
            Lane::Log => &self.log,
            Lane::Read => &self.read,
            Lane::Background => &self.background,
        };
        // The threads end after this only.
        let _ = lane.send(effect);
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name).spawn(work).map(drop)
}

fn work(next: impl Fn() -> Option<DiskEffect>, disk: &dyn Disk, done: &Sender<Input>) {
    while let Some(effect) = next() {
        let event = perform(effect, disk);
        if done.send(Input::Event(Event::Disk(event))).is_err() {
            return;
        }
    }
}

/// Everything that waits becomes one write and one sync: that is the group commit.
fn flush(queue: &Receiver<DiskEffect>, disk: &dyn Disk, done: &Sender<Input>, syncs: &Histogram) {
    while let Ok(mut effect) = queue.recv() {
        if let DiskEffect::Log(batch) = &mut effect {
            while let Ok(DiskEffect::Log(next)) = queue.try_recv() {
                batch.merge(next);
            }
        }
        let synced = matches!(&effect, DiskEffect::Log(batch) if batch.wants_sync());
        let begun = Instant::now();
        let event = perform(effect, disk);
        if synced {
            syncs.observe(begun.elapsed());
        }
        if done.send(Input::Event(Event::Disk(event))).is_err() {
            return;
        }
    }
}
