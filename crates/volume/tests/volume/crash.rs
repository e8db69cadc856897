//! Power loss at every point of random work, thousands of times in a row on the same volume: what was durable is there, nothing
//! is there that was not written, and the history's chain is whole.

use crate::crash_disk::{CrashDisk, LOSSES};
use crate::rig::{Rig, Rng, options};
use bytes::Bytes;
use mainstay_protocol::file::{SetAttributes, SetTime};
use mainstay_protocol::{FileId, FileRequest, LogPoint, Position, Record, Stability, Timestamp};
use mainstay_volume::{AppendError, Disk, Options};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Recoveries per seed; seeds run as tests of their own, in parallel. Thousands take half a minute in a release build; one
/// without optimisation does as many as fit into the same time.
const RECOVERIES: usize = if cfg!(debug_assertions) { 400 } else { 1500 };
const FILES: u64 = 6;
const FILE_BYTES_MAX: u64 = 90_000;

/// What files hold: shared between positions.
type State = BTreeMap<String, (FileId, Arc<Vec<u8>>)>;

struct Model {
    /// State and point after every record since the last recovery.
    history: BTreeMap<u64, (LogPoint, State)>,
    /// Records behind the last recovery's end that were lost with it: a primary may send them again.
    lost: Vec<(Record, State)>,
    records: BTreeMap<u64, Record>,
    durable: Position,
}

impl Model {
    fn state(&self) -> State {
        self.history.last_key_value().map(|(_, (_, state))| state.clone()).unwrap_or_default()
    }

    fn note(&mut self, rig: &Rig, record: Record, state: State) {
        let last = rig.volume.last();
        assert_eq!(record.point(), last);
        self.history.insert(last.position.0, (last, state));
        self.records.insert(last.position.0, record);
    }

    /// Compares a recovered volume with what may be there, and forgets what is not.
    fn check(&mut self, rig: &mut Rig) {
        let last = rig.volume.last();
        assert!(last.position >= self.durable, "{last} was recovered, but {} was durable", self.durable);
        assert_eq!(rig.volume.durable(), last.position, "what was recovered is durable");
        if last.position > Position(0) {
            let (point, state) = self.history.get(&last.position.0).expect("nothing is recovered that was not written").clone();
            assert_eq!(point, last);
            for (name, (file, content)) in &state {
                let found = rig.read(*file).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(found == **content, "{name} differs at {last}: {} bytes, {} expected", found.len(), content.len());
            }
            assert_eq!(rig.volume.stats().inodes, state.len() as u64 + 1);
        }
        let behind = self.history.split_off(&(last.position.0 + 1));
        let mut records = self.records.split_off(&(last.position.0 + 1));
        self.lost = behind.into_iter().filter_map(|(at, (_, state))| Some((records.remove(&at)?, state))).collect();
        while self.history.len() > 1 && self.history.first_key_value().is_some_and(|(at, _)| *at < last.position.0) {
            self.history.pop_first();
        }
        self.records.clear();
        self.durable = last.position;
    }
}

struct Run {
    rng: Rng,
    disk: CrashDisk,
    model: Model,
    options: Options,
    cuts: usize,
}

impl Run {
    fn open(&mut self) -> Rig {
        let mut rig = Rig::open(Arc::new(self.disk.clone()), self.options.clone()).unwrap_or_else(|error| panic!("{error}"));
        self.model.check(&mut rig);
        // Kept for people, of whom there are none here.
        for name in self.disk.list().unwrap().iter().filter(|name| name.starts_with("quarantine")) {
            self.disk.remove(name).unwrap();
        }
        rig
    }

    /// One random change, or upkeep.
    fn step(&mut self, rig: &mut Rig) {
        match self.rng.below(20) {
            0..=10 => self.write(rig),
            11 => self.truncate(rig),
            12 => self.remove(rig),
            13 => rig.volume.want_sync(rig.volume.last().position),
            14 => rig.pump(),
            15 => rig.volume.set_committed(rig.volume.durable()),
            16 => self.epoch(rig),
            17 => self.roll_back(rig),
            _ => rig.tick(400),
        }
        if self.rng.below(4) == 0 {
            rig.volume.want_sync(rig.volume.last().position);
            rig.pump();
        }
        if self.rng.below(30) == 0
            && let Some((name, (file, content))) = self.model.state().first_key_value()
            && rig.volume.failure().is_none()
        {
            match rig.read(*file) {
                Ok(found) => assert!(found == **content, "{name} differs while work goes on"),
                Err(error) => assert!(rig.volume.failure().is_some(), "{name}: {error}"),
            }
        }
        // A roll-back that failed half-way may be found done or not done.
        if rig.volume.failure().is_none() {
            self.model.durable = self.model.durable.max(rig.volume.durable());
        }
    }

    fn execute(&mut self, rig: &mut Rig, request: FileRequest, state: State) {
        let request = rig.request(request);
        if let mainstay_volume::Outcome::Done { record: Some(record), .. } = rig.volume.execute(rig.now.wall, rig.epoch, &request) {
            self.model.note(rig, record, state);
        }
    }

    fn write(&mut self, rig: &mut Rig) {
        let (name, mut state) = (format!("f{}", self.rng.below(FILES)), self.model.state());
        if rig.volume.last().position == Position(0) {
            return self.epoch(rig);
        }
        let Some((file, content)) = state.get(&name).cloned() else {
            let position = rig.volume.last().position.next();
            let file = FileId { inode: position.0, generation: rig.epoch.0 };
            state.insert(name.clone(), (file, Arc::default()));
            let how = mainstay_protocol::file::CreateHow::Unchecked(SetAttributes::default());
            return self.execute(rig, FileRequest::Create { dir: FileId::ROOT, name: Bytes::from(name), how }, state);
        };
        let (offset, len) = (self.rng.below(FILE_BYTES_MAX / 2), 1 + self.rng.below(FILE_BYTES_MAX / 2));
        let data = self.rng.bytes(len as usize);
        let mut content = (*content).clone();
        content.resize(content.len().max((offset + len) as usize), 0);
        content[offset as usize..(offset + len) as usize].copy_from_slice(&data);
        state.insert(name, (file, Arc::new(content)));
        self.execute(rig, FileRequest::Write { file, offset, data, stability: Stability::Unstable }, state);
    }

    fn truncate(&mut self, rig: &mut Rig) {
        let mut state = self.model.state();
        let Some((file, content)) = state.values_mut().next() else { return };
        let size = self.rng.below(content.len() as u64 + 1);
        let mut cut = (**content).clone();
        cut.resize(size as usize, 0);
        let file = *file;
        *content = Arc::new(cut);
        let set = SetAttributes { size: Some(size), mtime: SetTime::Server, ..SetAttributes::default() };
        self.execute(rig, FileRequest::SetAttributes { file, set, guard_ctime: None }, state);
    }

    fn remove(&mut self, rig: &mut Rig) {
        let mut state = self.model.state();
        let Some(name) = state.keys().nth(self.rng.below(FILES) as usize).cloned() else { return };
        state.remove(&name);
        self.execute(rig, FileRequest::Remove { dir: FileId::ROOT, name: Bytes::from(name) }, state);
    }

    fn epoch(&mut self, rig: &mut Rig) {
        let next = rig.volume.last().epoch.max(rig.epoch).next();
        if let Ok(record) = rig.volume.start_epoch(rig.now.wall, next, 1) {
            rig.epoch = next;
            let state = self.model.state();
            self.model.note(rig, record, state);
        }
    }

    /// As after a failover: the newest records go to quarantine. What was durable here is not any more.
    fn roll_back(&mut self, rig: &mut Rig) {
        let last = rig.volume.last().position.0;
        let back = (1 + self.rng.below(5)).min(last);
        let Some(to) = rig.volume.point(Position(last - back)) else { return };
        if to.position == Position(0) || !self.model.history.contains_key(&to.position.0) {
            return;
        }
        // Until the cut is on disk the old durable point may come back; after it, the new one must.
        let durable = self.model.durable;
        self.model.durable = durable.min(to.position);
        if rig.volume.roll_back(to, "test").is_ok() {
            self.cuts += 1;
            self.model.history.split_off(&(to.position.0 + 1));
            self.model.records.split_off(&(to.position.0 + 1));
            assert_eq!(rig.volume.last(), to);
            self.model.durable = to.position;
        }
    }

    /// The primary sends again what was lost here: the very same bytes.
    fn send_again(&mut self, rig: &mut Rig) {
        for (record, state) in std::mem::take(&mut self.model.lost) {
            match rig.volume.append(record.clone()) {
                Ok(()) => self.model.note(rig, record, state),
                Err(AppendError::Busy | AppendError::Failed(_) | AppendError::Record(_)) => return,
                Err(error) => panic!("{error}"),
            }
            if self.rng.below(3) == 0 {
                rig.pump();
                self.model.durable = self.model.durable.max(rig.volume.durable());
            }
        }
        rig.epoch = rig.volume.last().epoch;
    }
}

fn run(seed: u64) {
    let mut rng = Rng(seed);
    let disk = CrashDisk::default();
    let options = Options { retain_bytes: 4 << 20, checkpoint_bytes: 1 << 20, reply_bytes_max: 50_000, ..options() };
    mainstay_volume::Volume::create(Arc::new(disk.clone()), crate::rig::CLUSTER, crate::rig::VOLUME, options.clone()).unwrap();
    let model = Model { history: BTreeMap::new(), lost: Vec::new(), records: BTreeMap::new(), durable: Position(0) };
    let mut run = Run { rng: rng.clone(), disk, model, options, cuts: 0 };
    for _ in 0..RECOVERIES {
        let mut rig = run.open();
        rig.now.wall = Timestamp::new(1_700_000_000 + run.rng.below(1000) as i64, 0);
        if rng.below(2) == 0 {
            run.send_again(&mut rig);
        } else {
            run.epoch(&mut rig);
        }
        let operations = [20, 60, 400][rng.below(3) as usize];
        run.disk.die_after(Some(rng.below(operations)));
        rig.lazy = (rng.below(2) == 0).then(|| rng.clone());
        for _ in 0..60 {
            if rig.volume.failure().is_some() {
                break;
            }
            run.step(&mut rig);
        }
        drop(rig);
        let loss = LOSSES[rng.below(LOSSES.len() as u64) as usize];
        run.disk = run.disk.after_crash(loss, &mut rng);
        // Sometimes the power fails again while the volume recovers.
        if rng.below(4) == 0 {
            run.disk.die_after(Some(rng.below(12)));
            drop(Rig::open(Arc::new(run.disk.clone()), run.options.clone()));
            run.disk = run.disk.after_crash(LOSSES[rng.below(LOSSES.len() as u64) as usize], &mut rng);
        }
    }
    run.open();
    assert!(run.cuts > RECOVERIES / 20, "roll-backs happened: {}", run.cuts);
    assert!(run.model.durable > Position(RECOVERIES as u64), "work was done: {}", run.model.durable);
}

#[test]
fn power_loss_one() {
    run(1);
}
#[test]
fn power_loss_two() {
    run(2);
}
#[test]
fn power_loss_three() {
    run(3);
}
#[test]
fn power_loss_four() {
    run(4);
}
#[test]
fn power_loss_five() {
    run(5);
}
