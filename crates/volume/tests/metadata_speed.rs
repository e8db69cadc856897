//! Figures, not a test of correctness: `cargo test --release -p mainstay-volume --test metadata_speed -- --ignored --nocapture`.
#![allow(clippy::result_large_err)]

#[path = "support/mod.rs"]
mod support;

use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, FileOk, RequestId, SetAttributes};
use mainstay_protocol::{Caller, ClientRequest, FileId, FileRequest, FileResult, Record, RecordBody};
use mainstay_volume::plan::{Planned, plan};
use mainstay_volume::view::ViewOptions;
use std::time::Instant;
use support::{Host, VOLUME, place_of};

/// Operations of each kind in the mix.
const FILES: u64 = 20_000;

struct Bench {
    host: Host,
    caller: Caller,
    xid: u32,
}

impl Bench {
    fn execute(&mut self, request: FileRequest) -> FileResult {
        self.xid += 1;
        self.host.wall = self.host.wall.next();
        let id = RequestId { client: [1; 16], xid: self.xid, procedure: 1, checksum: self.xid as u64 * 77 };
        let request = ClientRequest { caller: self.caller.clone(), identity: Some(id), request };
        match plan(&self.host.view, &self.host.context(), &request).unwrap() {
            Planned::Record(planned) => {
                let (time, result) = (planned.time, planned.result.clone());
                let body = RecordBody { kind: planned.kind, changes: planned.changes, reply: Some((id, planned.result)) };
                let record = Record::encode(VOLUME, self.host.view.point(), self.host.epoch, time, true, &body, planned.payload);
                self.host.view.apply(&record.header, &body, place_of(record.header.position)).unwrap();
                result
            }
            Planned::Reply { result, .. } => result,
            Planned::Read(read) => read.result(Vec::new()),
        }
    }

    fn make(&mut self, dir: FileId, name: String, directory: bool) -> FileId {
        let name = Bytes::from(name);
        let set = SetAttributes { mode: Some(0o644), ..Default::default() };
        let request = match directory {
            true => FileRequest::MakeDirectory { dir, name, set },
            false => FileRequest::Create { dir, name, how: CreateHow::Guarded(set) },
        };
        match self.execute(request) {
            Ok(FileOk::Made { attributes, .. }) => attributes.file,
            other => panic!("{other:?}"),
        }
    }

    /// create, getattr, rename, remove.
    fn mix(&mut self, dir: FileId, label: &str) {
        let begin = Instant::now();
        for file in 0..FILES {
            let made = self.make(dir, format!("file{file}"), false);
            assert!(self.execute(FileRequest::GetAttributes { file: made }).is_ok());
            let (from_name, to_name) = (Bytes::from(format!("file{file}")), Bytes::from(format!("moved{file}")));
            let rename = FileRequest::Rename { from_dir: dir, from_name, to_dir: dir, to_name: to_name.clone() };
            assert!(self.execute(rename).is_ok());
            if file % 2 == 0 {
                assert!(self.execute(FileRequest::Remove { dir, name: to_name }).is_ok());
            }
        }
        let operations = FILES * 3 + FILES / 2;
        println!("{label}: {:.0} operations/s", operations as f64 / begin.elapsed().as_secs_f64());
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: 0 kB");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[test]
#[ignore = "prints figures; run it in release"]
fn metadata_operations_per_second() {
    let options = ViewOptions { reply_bytes_max: 8 << 20, ..ViewOptions::default() };
    let mut bench = Bench { host: Host::new(options), caller: Caller::default(), xid: 0 };
    let dir = bench.make(FileId::ROOT, "first".into(), true);
    bench.mix(dir, "empty volume, everything in the overlay");
    let mut files = 0u64;
    let begin = Instant::now();
    for directory in 0..1000 {
        let dir = bench.make(FileId::ROOT, format!("dir{directory}"), true);
        for file in 0..1000 {
            bench.make(dir, format!("file{file}"), false);
            files += 1;
            if files.is_multiple_of(100_000) {
                let begin = Instant::now();
                bench.host.checkpoint();
                println!("{files} files: checkpoint {} ms, resident {} MiB", begin.elapsed().as_millis(), resident_mib());
            }
        }
    }
    println!("one million creates with checkpoints: {:.0}/s", files as f64 / begin.elapsed().as_secs_f64());
    bench.host.checkpoint();
    let last = bench.make(FileId::ROOT, "last".into(), true);
    bench.mix(last, "a million files in the file");
    let store = bench.host.store.0.lock().unwrap().len() >> 20;
    println!(
        "resident {} MiB, of which the file in memory {store} MiB; overlay {} rows",
        resident_mib(),
        bench.host.view.overlay_rows()
    );
    let begin = Instant::now();
    bench.host.log.clear();
    let reopened = Instant::now();
    bench.host.reopen();
    println!("open: {} ms (and {} ms)", reopened.elapsed().as_millis(), begin.elapsed().as_millis());
}
