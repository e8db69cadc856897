//! Making and opening a volume.

use super::Volume;
use super::reads::Reads;
use super::upkeep::Upkeep;
use crate::disk::Disk;
use crate::error::{DiskError, OpenError};
use crate::log::recover::{Directory, Wanted, create_log, recover};
use crate::options::Options;
use crate::place::SegmentId;
use crate::view::{ResyncState, View, ViewError, ViewOptions};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{ClusterId, VolumeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The view's file.
pub const VIEW_FILE: &str = "view.redb";

fn view_options(options: &Options) -> ViewOptions {
    ViewOptions {
        reply_keep_ms: options.reply_keep_ms,
        reply_keep_min: crate::view::REPLIES_KEPT_MIN,
        reply_bytes_max: options.reply_bytes_max,
        cache_bytes: options.view_cache_bytes as usize,
    }
}

fn view_error(error: ViewError) -> OpenError {
    let file = VIEW_FILE.to_string();
    match error {
        ViewError::Missing => OpenError::ViewMissing { file },
        ViewError::OtherCluster { found, expected } => OpenError::OtherCluster { file, found, expected },
        ViewError::OtherVolume { found, expected } => OpenError::OtherVolume { file, found, expected },
        ViewError::NewerFormat { found, known } => OpenError::NewerFormat { file, found, known },
        ViewError::NoRoom => DiskError::new("create", file, &std::io::ErrorKind::StorageFull.into()).into(),
        other => OpenError::View { file, problem: other.to_string() },
    }
}

fn store(disk: &dyn Disk) -> Result<Box<dyn redb::StorageBackend>, OpenError> {
    Ok(disk.store(VIEW_FILE).map_err(|error| DiskError::new("open", VIEW_FILE, &error))?)
}

impl Volume {
    /// An empty log and view. What an interrupted creation left behind is removed; a directory with a volume is refused.
    pub fn create(disk: Arc<dyn Disk>, cluster: ClusterId, id: VolumeId, options: Options) -> Result<(), OpenError> {
        options.check()?;
        let directory = Directory::read(&*disk)?;
        if let Some(used) = directory.files.keys().find(|_| directory.is_used()) {
            return Err(OpenError::Exists(crate::segment::file_name(*used)));
        }
        let names = disk.list().map_err(|error| DiskError::new("list", "the volume's directory", &error))?;
        let ours = |name: &&String| *name == VIEW_FILE || crate::segment::parse_name(name).is_some();
        for name in names.iter().filter(ours) {
            disk.remove(name).map_err(|error| DiskError::new("remove", name, &error))?;
        }
        drop(View::create(store(&*disk)?, cluster, id, view_options(&options)).map_err(view_error)?);
        create_log(&*disk, cluster, id, &options)
    }

    /// Recovery: the newest whole prefix that the disk holds, made durable.
    pub fn open(disk: Arc<dyn Disk>, cluster: ClusterId, id: VolumeId, options: Options) -> Result<Volume, OpenError> {
        options.check()?;
        if !planted(Bug::TrustCacheAfterFailedSync) {
            disk.reread().map_err(|error| DiskError::new("read again", "the volume's directory", &error))?;
        }
        let directory = Directory::read(&*disk)?;
        if !directory.is_used() {
            return Err(OpenError::Missing);
        }
        directory.check(cluster, id)?;
        let names = disk.list().map_err(|error| DiskError::new("list", "the volume's directory", &error))?;
        if !names.iter().any(|name| name == VIEW_FILE) {
            return Err(OpenError::ViewMissing { file: VIEW_FILE.into() });
        }
        let mut view = View::open(store(&*disk)?, cluster, id, view_options(&options)).map_err(view_error)?;
        let live: BTreeMap<SegmentId, u64> = view.segments().clone();
        let checkpointed: BTreeSet<SegmentId> = live.keys().copied().collect();
        let wanted = Wanted {
            base: view.base().point,
            walking: matches!(view.resync(), Some(ResyncState::Walking { .. })),
            live: &|segment| live.get(&segment).copied().unwrap_or(0),
            segments: checkpointed.iter().copied().collect(),
        };
        let recovered = recover(&*disk, &directory, (cluster, id), &options, &wanted, &mut |record, place| {
            let body = record.body().map_err(|error| view_error(ViewError::Damaged(error.to_string())))?;
            view.apply(&record.header, &body, place).map_err(view_error)
        })?;
        let log = recovered.log;
        let mut upkeep = Upkeep::new(&options, view.base().point.position, checkpointed);
        upkeep.look_at(&log.segments);
        upkeep.erased_bytes = recovered.erased_bytes;
        let reads = Reads::new(&recovered.damaged, &view).map_err(view_error)?;
        let mut volume = Volume {
            cluster,
            id,
            committed: view.base().point.position,
            reported: log.durable(),
            log,
            view,
            options,
            hold: None,
            failed: None,
            effects: VecDeque::new(),
            events: VecDeque::new(),
            tickets: 0,
            reads,
            upkeep,
            disk,
        };
        volume.prepare();
        Ok(volume)
    }
}
