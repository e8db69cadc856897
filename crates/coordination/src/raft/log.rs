//! openraft's log storage: the whole (short) log in memory for reading, every change of it through [`Disk`].

use super::disk::{Change, Contents, Disk, OpenError, encode, key};
use super::types::{Entry, LogId, Types, Vote};
use super::wire::APPEND_BYTES_MAX;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is in the file, or on its way there in the same order.
#[derive(Default)]
struct Mirror {
    entries: BTreeMap<u64, Kept>,
    /// The newest entry that is only in the snapshot.
    purged: Option<LogId>,
    committed: Option<LogId>,
    vote: Option<Vote>,
}

struct Kept {
    entry: Entry,
    /// Of the stored form; nearly that of the sent one.
    bytes: usize,
}

/// Log, vote and committed index of this node. Clones share one state, so a clone is the log reader.
#[derive(Clone)]
pub struct LogStore {
    mirror: Arc<Mutex<Mirror>>,
    disk: Disk,
}

impl LogStore {
    /// Takes the log, vote and committed index out of what the file held.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when an entry cannot be decoded, or lies elsewhere than its id says.
    pub fn new(disk: Disk, contents: &Contents) -> Result<LogStore, OpenError> {
        let mut mirror = Mirror {
            entries: BTreeMap::new(),
            purged: contents.get(key::PURGED)?,
            committed: contents.get(key::COMMITTED)?,
            vote: contents.get(key::VOTE)?,
        };
        for (index, bytes) in &contents.log {
            let entry: Entry = postcard::from_bytes(bytes).map_err(|e| OpenError::Damaged(format!("log entry {index}: {e}")))?;
            if entry.log_id.index != *index {
                return Err(OpenError::Damaged(format!("log entry {} lies at {index}", entry.log_id.index)));
            }
            mirror.entries.insert(*index, Kept { entry, bytes: bytes.len() });
        }
        Ok(LogStore { mirror: Arc::new(Mutex::new(mirror)), disk })
    }

    /// Nothing in here can panic halfway through a change, so a poisoned lock guards a sound value.
    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        Ok(self.mirror().entries.range(range).map(|(_, kept)| kept.entry.clone()).collect())
    }

    /// As many as fit into one append; never none where there is one.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mut bytes = 0;
        let mirror = self.mirror();
        let fitting = mirror.entries.range(start..end).enumerate().take_while(|(nth, (_, kept))| {
            bytes += kept.bytes;
            *nth == 0 || bytes <= APPEND_BYTES_MAX
        });
        Ok(fitting.map(|(_, (_, kept))| kept.entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.mirror().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let mirror = self.mirror();
        let last = mirror.entries.last_key_value().map(|(_, kept)| kept.entry.log_id);
        Ok(LogState { last_purged_log_id: mirror.purged, last_log_id: last.or(mirror.purged) })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.disk.write_and_wait(vec![Change::Set(key::VOTE, encode(vote)?)]).await?;
        // Visible only once durable: a vote that is seen may be acted upon.
        self.mirror().vote = Some(*vote);
        Ok(())
    }

    /// Durable too, so that a node that starts again never shows an older cluster state than before.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let change = match &committed {
            Some(id) => Change::Set(key::COMMITTED, encode(id)?),
            None => Change::Clear(key::COMMITTED),
        };
        self.disk.write_and_wait(vec![change]).await?;
        self.mirror().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.mirror().committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut changes = Vec::new();
        let mut accepted = Vec::new();
        for entry in entries {
            let (index, value) = (entry.log_id.index, encode(&entry)?);
            accepted.push((index, Kept { entry, bytes: value.len() }));
            changes.push(Change::Put(index, value));
        }
        // Queued while the lock is held, so that the file's order is the mirror's.
        let mut mirror = self.mirror();
        mirror.entries.extend(accepted);
        self.disk.write(changes, Box::new(move |result| flushed.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index + 1);
        self.mirror().entries.split_off(&from);
        self.disk.write_and_wait(vec![Change::RemoveFrom(from)]).await
    }

    async fn purge(&mut self, to: LogId) -> io::Result<()> {
        {
            let mut mirror = self.mirror();
            mirror.entries = mirror.entries.split_off(&(to.index + 1));
            mirror.purged = Some(to);
        }
        self.disk.write_and_wait(vec![Change::RemoveTo(to.index), Change::Set(key::PURGED, encode(&to)?)]).await
    }
}
