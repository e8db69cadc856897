//! What is on the disk and in the page cache in front of it.
//!
//! Every file is held once, as it is seen. What is not synced yet is a list of undo entries: a loss of power takes them all
//! back, then puts each one back, tears it or leaves it out.

use crate::rng::Rng;
use std::collections::BTreeMap;
use std::io;

/// Linux `ENOSPC`, which `io::ErrorKind` cannot be made from with its number.
const ENOSPC: i32 = 28;
/// Linux `EIO`.
const EIO: i32 = 5;
/// What a disk writes in one piece: old ones and new ones.
const SECTORS: [usize; 2] = [512, 4096];

/// How the life of a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// SIGKILL: the page cache lives on.
    Process,
    /// Power: only what was synced is sure.
    Power,
}

/// Chances per operation, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    pub read_error_ppm: u32,
    pub write_error_ppm: u32,
    /// After a failed sync, some of what was written will never be durable although it is still seen.
    pub sync_error_ppm: u32,
    /// A sync says that it is done and nothing is durable.
    pub lie_ppm: u32,
    /// A write lands somewhere else in its file, and is missing where it belongs.
    pub misdirect_ppm: u32,
}

/// One change that is seen but not durable.
struct Undo {
    offset: u64,
    /// What the range held, as far as the file reached.
    old: Vec<u8>,
    len_before: u64,
    /// Bytes written; `None`: the length was set.
    written: Option<usize>,
    /// A sync failed over it: no later one makes it durable.
    doomed: bool,
}

#[derive(Default)]
struct Image {
    live: Vec<u8>,
    undo: Vec<Undo>,
}

enum NameChange {
    Link(String, u64),
    Unlink(String),
    /// One change: both halves of it survive, or neither.
    Rename(String, String),
}

/// How a loss of power treats what was not synced.
#[derive(Clone, Copy)]
enum Mood {
    Lost,
    Kept,
    /// In order, up to some point; the last one torn.
    Prefix(usize),
    /// Each for itself.
    Mixed,
}

/// One volume's directory on one node's disk. Lives through boots.
pub struct Platter {
    session: u64,
    files: BTreeMap<u64, Image>,
    names: BTreeMap<String, u64>,
    names_durable: BTreeMap<String, u64>,
    names_pending: Vec<NameChange>,
    file_last: u64,
    pub capacity_bytes: u64,
    pub faults: DiskFaults,
    /// Operations until the process dies in the middle of what it does.
    budget: Option<u64>,
    rng: Rng,
    pub writes: u64,
    /// Of log and fragments, in pieces of [`crate::sizing::BULK_BYTES_MIN`] and more. The view is metadata.
    pub bulk_written: u64,
    pub syncs: u64,
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

fn dead() -> io::Error {
    io::Error::other("simulated: the process died in this operation")
}

/// Places looked at for a byte that is in use.
const ROT_TRIES: u32 = 16;

impl Platter {
    pub fn new(rng: Rng, capacity_bytes: u64) -> Platter {
        Platter {
            session: 1,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            names_durable: BTreeMap::new(),
            names_pending: Vec::new(),
            file_last: 0,
            capacity_bytes,
            faults: DiskFaults::default(),
            budget: None,
            rng,
            writes: 0,
            bulk_written: 0,
            syncs: 0,
        }
    }

    pub fn session(&self) -> u64 {
        self.session
    }

    /// From now on only `operations` more writes, syncs or directory changes happen in this session: the process is dying in
    /// the middle of an effect.
    pub fn die_after(&mut self, operations: u64) {
        self.budget = Some(operations);
    }

    /// Another disk, empty.
    pub fn wipe(&mut self) {
        self.crash(Crash::Process);
        self.files.clear();
        self.names.clear();
        self.names_durable.clear();
        self.names_pending.clear();
    }

    /// Ends the session.
    pub fn crash(&mut self, crash: Crash) {
        self.session += 1;
        self.budget = None;
        if crash == Crash::Power {
            self.settle_names();
            let mood = self.mood();
            let Platter { files, rng, .. } = self;
            files.values_mut().for_each(|image| image.settle(mood, rng));
        }
        self.drop_unnamed();
    }

    fn mood(&mut self) -> Mood {
        match self.rng.below(5) {
            0 => Mood::Lost,
            1 => Mood::Kept,
            2 => Mood::Prefix(self.rng.below(64) as usize),
            _ => Mood::Mixed,
        }
    }

    /// Journalled file systems keep directory changes in order; which of the unsynced ones made it is open.
    fn settle_names(&mut self) {
        let pending = std::mem::take(&mut self.names_pending);
        let kept = self.rng.below(pending.len() as u64 + 1) as usize;
        self.names = self.names_durable.clone();
        for change in pending.into_iter().take(kept) {
            match change {
                NameChange::Link(name, id) => _ = self.names.insert(name, id),
                NameChange::Unlink(name) => _ = self.names.remove(&name),
                NameChange::Rename(from, to) => {
                    let moved = self.names.remove(&from).map(|id| self.names.insert(to, id));
                    assert!(moved.is_some(), "directory changes are kept in order");
                }
            }
        }
        self.names_durable = self.names.clone();
    }

    fn drop_unnamed(&mut self) {
        let (names, durable) = (&self.names, &self.names_durable);
        self.files.retain(|id, _| names.values().chain(durable.values()).any(|named| named == id));
    }

    /// One operation of the dying process; false when it is the one that does not happen.
    fn spend(&mut self) -> bool {
        match &mut self.budget {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn image(&mut self, id: u64) -> io::Result<&mut Image> {
        self.files.get_mut(&id).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(|image| image.live.len() as u64).sum()
    }

    pub fn space(&self) -> (u64, u64) {
        (self.capacity_bytes, self.capacity_bytes.saturating_sub(self.used_bytes()))
    }

    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub fn open(&mut self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name.to_string()))
    }

    fn link(&mut self, name: &str, id: u64) {
        self.names.insert(name.into(), id);
        self.names_pending.push(NameChange::Link(name.into(), id));
    }

    fn sync_names(&mut self) -> io::Result<()> {
        if !self.spend() {
            return Err(dead());
        }
        self.names_durable = self.names.clone();
        self.names_pending.clear();
        Ok(())
    }

    /// As `FileDisk` does it: filled and synced under no name, then named, then the directory synced.
    pub fn create(&mut self, name: &str, bytes: u64) -> io::Result<u64> {
        if self.names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, name.to_string()));
        }
        if bytes > self.space().1 {
            return Err(error(ENOSPC));
        }
        if !self.spend() {
            return Err(dead());
        }
        if self.rng.ppm(self.faults.write_error_ppm) {
            return Err(error(EIO));
        }
        self.file_last += 1;
        let id = self.file_last;
        self.files.insert(id, Image { live: vec![0; bytes as usize], undo: vec![] });
        self.link(name, id);
        self.sync_names()?;
        Ok(id)
    }

    pub fn store(&mut self, name: &str) -> io::Result<u64> {
        match self.open(name) {
            Ok(id) => Ok(id),
            Err(_) => self.create(name, 0),
        }
    }

    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if self.names.contains_key(to) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, to.to_string()));
        }
        if !self.spend() {
            return Err(dead());
        }
        let id = self.open(from)?;
        self.names.remove(from);
        self.names.insert(to.into(), id);
        self.names_pending.push(NameChange::Rename(from.into(), to.into()));
        self.sync_names()
    }

    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        if !self.spend() {
            return Err(dead());
        }
        self.names.remove(name).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name.to_string()))?;
        self.names_pending.push(NameChange::Unlink(name.into()));
        self.sync_names()
    }

    pub fn file_len(&mut self, id: u64) -> io::Result<u64> {
        Ok(self.image(id)?.live.len() as u64)
    }

    pub fn read(&mut self, id: u64, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.rng.ppm(self.faults.read_error_ppm) {
            return Err(error(EIO));
        }
        let live = &self.image(id)?.live;
        let start = offset as usize;
        let piece = live.get(start..start + buf.len()).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        buf.copy_from_slice(piece);
        Ok(())
    }

    pub fn write(&mut self, id: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writes += 1;
        if !self.spend() {
            // The part of it that reached the page cache.
            let part = self.rng.below(data.len() as u64 + 1) as usize;
            self.image(id)?.write(offset, &data[..part]);
            return Err(dead());
        }
        if self.rng.ppm(self.faults.write_error_ppm) {
            return Err(error(EIO));
        }
        let end = offset + data.len() as u64;
        let len = self.file_len(id)?;
        if end > len && end - len > self.space().1 {
            return Err(error(ENOSPC));
        }
        let offset = if self.rng.ppm(self.faults.misdirect_ppm) { self.elsewhere(offset, data.len(), len) } else { offset };
        self.image(id)?.write(offset, data);
        Ok(())
    }

    /// Another place in a file of `len` bytes, a whole number of sectors away, where so much fits.
    fn elsewhere(&mut self, offset: u64, bytes: usize, len: u64) -> u64 {
        let sector = SECTORS[0] as u64;
        let places = len.saturating_sub(bytes as u64) / sector;
        if places == 0 { offset } else { self.rng.below(places) * sector + offset % sector }
    }

    pub fn set_len(&mut self, id: u64, len: u64) -> io::Result<()> {
        if !self.spend() {
            return Err(dead());
        }
        let before = self.file_len(id)?;
        if len > before && len - before > self.space().1 {
            return Err(error(ENOSPC));
        }
        self.image(id)?.set_len(len);
        Ok(())
    }

    pub fn sync(&mut self, id: u64) -> io::Result<()> {
        self.syncs += 1;
        if !self.spend() {
            return Err(dead());
        }
        if self.faults_sync(id)? {
            return Err(error(EIO));
        }
        if !self.rng.ppm(self.faults.lie_ppm) {
            self.image(id)?.synced();
        }
        Ok(())
    }

    /// Whether this sync fails; some of what it should have written is doomed then.
    fn faults_sync(&mut self, id: u64) -> io::Result<bool> {
        let fails = self.rng.ppm(self.faults.sync_error_ppm);
        if fails {
            let Platter { files, rng, .. } = self;
            let image = files.get_mut(&id).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            image.undo.iter_mut().for_each(|undo| undo.doomed |= rng.percent(50));
        }
        Ok(fails)
    }

    /// The page cache is written back and dropped: what a failed sync left in it is not seen any more.
    pub fn reread(&mut self) -> io::Result<()> {
        let ids: Vec<u64> = self.names.values().copied().collect();
        for id in ids {
            // As `FileDisk` does: a failure dooms more of it, which is then gone too.
            if !self.faults_sync(id)? {
                self.image(id)?.synced();
            }
            self.image(id)?.forget_doomed();
        }
        self.sync_names()
    }

    /// Flips one bit of a file whose name `wanted` accepts, where something is written rather than in the zeros that are kept ready.
    /// Returns where, if there is such a file.
    pub fn rot(&mut self, wanted: impl Fn(&str) -> bool) -> Option<(String, u64)> {
        let named = |(name, id): (&String, &u64)| Some((name.clone(), *id)).filter(|(name, _)| wanted(name));
        let candidates: Vec<_> = self.names.iter().filter_map(named).collect();
        if candidates.is_empty() {
            return None;
        }
        let (name, id) = self.rng.pick(&candidates).clone();
        let live = &mut self.files.get_mut(&id)?.live;
        if live.is_empty() {
            return None;
        }
        let mut at = self.rng.below(live.len() as u64);
        for _ in 0..ROT_TRIES {
            if live[at as usize] != 0 {
                break;
            }
            at = self.rng.below(live.len() as u64);
        }
        live[at as usize] ^= 1 << self.rng.below(8);
        Some((name, at))
    }

    /// The bytes of a file as they are seen, for tests and checkers.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        Some(&self.files.get(self.names.get(name)?)?.live)
    }
}

impl Image {
    fn write(&mut self, offset: u64, data: &[u8]) {
        let (start, len_before) = (offset as usize, self.live.len());
        let end = start + data.len();
        let old = self.live[start.min(len_before)..end.min(len_before)].to_vec();
        self.undo.push(Undo { offset, old, len_before: len_before as u64, written: Some(data.len()), doomed: false });
        if end > len_before {
            self.live.resize(end, 0);
        }
        self.live[start..end].copy_from_slice(data);
    }

    fn set_len(&mut self, len: u64) {
        let len_before = self.live.len();
        let old = self.live[(len as usize).min(len_before)..].to_vec();
        self.undo.push(Undo { offset: len, old, len_before: len_before as u64, written: None, doomed: false });
        self.live.resize(len as usize, 0);
    }

    /// Everything but what is doomed becomes durable. Doomed entries learn what is now below them.
    fn synced(&mut self) {
        if self.undo.iter().any(|undo| undo.doomed) {
            let durable: Vec<(u64, usize)> =
                self.undo.iter().filter(|undo| !undo.doomed).filter_map(|undo| Some((undo.offset, undo.written?))).collect();
            let live = &self.live;
            let doomed = self.undo.iter_mut().filter(|undo| undo.doomed && undo.written.is_some());
            doomed.for_each(|undo| durable.iter().for_each(|(offset, len)| undo.learn(live, *offset as usize, *len)));
        }
        self.undo.retain(|undo| undo.doomed && undo.written.is_some());
    }

    /// Takes back what will never be durable; the rest stays as it is seen.
    fn forget_doomed(&mut self) {
        let mut again = Vec::with_capacity(self.undo.len());
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            again.push(self.take_back(undo));
        }
        for change in again.into_iter().rev() {
            match change {
                Redo::Write { doomed: true, .. } => {}
                Redo::Write { start, data, .. } => self.write(start as u64, &data),
                Redo::Length(len) => self.set_len(len as u64),
            }
        }
    }

    /// What a loss of power leaves.
    fn settle(&mut self, mood: Mood, rng: &mut Rng) {
        let mut again = Vec::with_capacity(self.undo.len());
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            again.push(self.take_back(undo));
        }
        for (index, change) in again.into_iter().rev().enumerate() {
            self.put_back(change, index, mood, rng);
        }
        self.undo.clear();
    }

    fn take_back(&mut self, undo: Undo) -> Redo {
        let start = undo.offset as usize;
        let redo = match undo.written {
            Some(len) => Redo::Write { start, data: self.live[start..start + len].to_vec(), doomed: undo.doomed },
            None => Redo::Length(self.live.len()),
        };
        self.live.resize(undo.len_before as usize, 0);
        let start = start.min(self.live.len());
        self.live[start..start + undo.old.len()].copy_from_slice(&undo.old);
        redo
    }

    fn put_back(&mut self, change: Redo, index: usize, mood: Mood, rng: &mut Rng) {
        let fate = match mood {
            Mood::Lost => 0,
            Mood::Kept => 2,
            Mood::Prefix(end) => 1 + (end as i64 - index as i64).signum(),
            Mood::Mixed => rng.below(3) as i64,
        };
        match (change, fate) {
            (Redo::Write { doomed: true, .. }, _) | (_, 0) => {}
            (Redo::Length(len), _) => self.live.resize(len, 0),
            (Redo::Write { start, data, .. }, 2) => self.place(start, &data),
            (Redo::Write { start, data, .. }, _) => self.tear(start, &data, rng),
        }
    }

    fn place(&mut self, start: usize, data: &[u8]) {
        let end = start + data.len();
        if end > self.live.len() {
            self.live.resize(end, 0);
        }
        self.live[start..end].copy_from_slice(data);
    }

    /// Some sectors of the write and not others: a head, or any of them.
    fn tear(&mut self, start: usize, data: &[u8], rng: &mut Rng) {
        let sector = *rng.pick(&SECTORS);
        let head_only = rng.percent(50);
        let cut = rng.below(data.len() as u64 + 1) as usize;
        let mut at = 0;
        while at < data.len() {
            let end = data.len().min((start + at) / sector * sector + sector - start);
            if if head_only { at < cut } else { rng.percent(50) } {
                self.place(start + at, &data[at..end]);
            }
            at = end;
        }
    }
}

impl Undo {
    /// Bytes `offset..offset + len` of the file are durable now: losing this entry gives those back, not what was there before.
    fn learn(&mut self, live: &[u8], offset: usize, len: usize) {
        let own = self.offset as usize;
        let (start, end) = (offset.max(own), (offset + len).min(own + self.old.len()));
        if start < end {
            self.old[start - own..end - own].copy_from_slice(&live[start..end]);
        }
    }
}

enum Redo {
    Write { start: usize, data: Vec<u8>, doomed: bool },
    Length(usize),
}
