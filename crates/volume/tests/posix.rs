//! The planner and the view against a model of POSIX: random requests by several users, with checkpoints, crashes and replays
//! between them. Every result, every attribute, every listing and every byte must agree.
#![allow(clippy::result_large_err)]

#[path = "support/generate.rs"]
mod generate;
#[path = "support/model.rs"]
mod model;
#[path = "support/mod.rs"]
mod support;

use crate::generate::Generator as Requests;
use bytes::Bytes;
use mainstay_protocol::file::{Before, DirectoryEntry, FileOk, Wcc};
use mainstay_protocol::{Attributes, Caller, FileId, FileKind, FileRequest};
use mainstay_volume::view::ViewOptions;
use model::{Answer, Model};
use std::collections::BTreeMap;
use support::{Host, Random, seeds};

struct Run {
    host: Host,
    model: Model,
    requests: Requests,
    random: Random,
    /// Attributes of everything before the request: what wcc data must show.
    before: BTreeMap<FileId, Attributes>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let host = Host::new(ViewOptions::default());
        let model = Model::new(host.wall);
        let mut run = Run { host, model, requests: Requests::new(false), random: Random(seed), before: BTreeMap::new() };
        // A place where everybody may work.
        let set = mainstay_protocol::file::SetAttributes { mode: Some(0o777), ..Default::default() };
        run.request(&Caller::default(), &FileRequest::SetAttributes { file: FileId::ROOT, set, guard_ctime: None });
        run
    }

    fn step(&mut self) {
        let caller = self.requests.caller(&mut self.random);
        let request = self.requests.request(&mut self.random);
        self.request(&caller, &request);
        match self.random.below(400) {
            0 if self.host.view.frozen().is_none() => assert!(self.host.view.freeze(self.host.view.point())),
            1 if self.host.view.frozen().is_some() => self.host.finish_checkpoint(),
            2 => self.host.reopen(),
            3 => drop(self.host.view.reclaim(5).unwrap()),
            4 => self.compare_everything(),
            _ => {}
        }
    }

    fn request(&mut self, caller: &Caller, request: &FileRequest) {
        self.before = self.model.nodes.iter().map(|(file, node)| (*file, node.attributes)).collect();
        self.model.now = self.host.wall.next();
        self.model.position = self.host.view.point().position.0 + 1;
        let expected = self.model.run(caller, request);
        let point = self.host.view.point();
        let found = self.host.execute(caller, None, request.clone());
        let told = format!("{caller:?} {request:?}\nexpected {expected:?}\nfound {found:?}");
        match (&expected, &found) {
            (Err(expected), Err(failure)) => {
                assert_eq!(*expected, failure.error, "{told}");
                assert_eq!(point, self.host.view.point(), "a refusal made a record: {told}");
                [failure.first, failure.second].iter().for_each(|wcc| self.check_wcc(wcc, &told));
            }
            (Ok(answer), Ok(ok)) => self.check_ok(answer, ok, &told),
            _ => panic!("{told}"),
        }
    }

    fn check_ok(&mut self, answer: &Answer, ok: &FileOk, told: &str) {
        attributes_of(ok).iter().for_each(|found| assert_eq!(Some(*found), self.attributes(found.file), "{told}"));
        wccs_of(ok).iter().for_each(|wcc| self.check_wcc(wcc, told));
        match (answer, ok) {
            (Answer::File(file), FileOk::Found { attributes, .. })
            | (Answer::File(file), FileOk::Made { attributes, .. })
            | (Answer::File(file), FileOk::Linked { attributes, .. }) => {
                assert_eq!(*file, attributes.file, "{told}");
                self.requests.made(*file, attributes.kind);
            }
            (Answer::Granted(mask), FileOk::Access { granted, .. }) => assert_eq!(mask, granted, "{told}"),
            (Answer::Target(expected), FileOk::Target { target, .. }) => assert_eq!(expected, target),
            (Answer::Data(data, end), FileOk::Data { pieces, eof, .. }) => {
                assert_eq!(*data, pieces.concat(), "{told}");
                assert_eq!(end, eof, "{told}");
            }
            (Answer::Nothing, FileOk::Entries { entries, dir, .. }) => self.check_entries(dir.file, entries),
            (Answer::Nothing, _) => {}
            _ => panic!("{told}"),
        }
    }

    fn attributes(&self, file: FileId) -> Option<Attributes> {
        self.model.nodes.get(&file).map(|node| node.attributes)
    }

    fn check_wcc(&self, wcc: &Wcc, told: &str) {
        let Some(after) = wcc.after else { return };
        assert_eq!(Some(after), self.attributes(after.file), "{told}");
        let old = self.before[&after.file];
        assert_eq!(wcc.before, Some(Before { size: old.size, mtime: old.mtime, ctime: old.ctime }), "{told}");
        assert!(after.ctime >= old.ctime);
    }

    fn check_entries(&self, dir: FileId, entries: &[DirectoryEntry]) {
        let node = &self.model.nodes[&dir];
        let mut expected = vec![(1, Bytes::from_static(b"."), dir.inode), (2, Bytes::from_static(b".."), node.parent.inode)];
        expected.extend(node.names.iter().map(|(name, file, position)| (position + 2, name.clone(), file.inode)));
        let found: Vec<_> = entries.iter().map(|entry| (entry.cookie, entry.name.clone(), entry.inode)).collect();
        assert_eq!(expected, found);
        for attributes in entries.iter().filter_map(|entry| entry.attributes) {
            assert_eq!(Some(attributes), self.attributes(attributes.file));
        }
    }

    fn compare_everything(&mut self) {
        let root = Caller::default();
        let files: Vec<(FileId, FileKind)> = self.model.nodes.iter().map(|(file, node)| (*file, node.attributes.kind)).collect();
        assert_eq!(files.len() as u64, self.host.view.inodes());
        let used: u64 =
            self.model.nodes.values().filter(|n| n.attributes.kind == FileKind::Regular).map(|n| n.attributes.used).sum();
        assert_eq!(used, self.host.view.bytes_used());
        for (file, kind) in files {
            let request = match kind {
                FileKind::Regular => FileRequest::Read { file, offset: 0, count: 1 << 20 },
                FileKind::Directory => {
                    FileRequest::ReadDirectory { dir: file, cookie: 0, bytes_max: 100_000, with_attributes: true }
                }
                FileKind::Symlink => FileRequest::ReadLink { file },
                _ => FileRequest::GetAttributes { file },
            };
            self.request(&root, &request);
        }
        self.host.check_live_bytes();
    }
}

fn attributes_of(ok: &FileOk) -> Vec<Attributes> {
    match ok {
        FileOk::Attributes(attributes)
        | FileOk::Access { attributes, .. }
        | FileOk::Target { attributes, .. }
        | FileOk::Data { attributes, .. }
        | FileOk::Made { attributes, .. }
        | FileOk::Linked { attributes, .. }
        | FileOk::Entries { dir: attributes, .. }
        | FileOk::Space { attributes, .. } => vec![*attributes],
        FileOk::Found { attributes, dir } => [Some(*attributes), *dir].into_iter().flatten().collect(),
        _ => Vec::new(),
    }
}

fn wccs_of(ok: &FileOk) -> Vec<Wcc> {
    match ok {
        FileOk::AttributesSet(wcc) => vec![*wcc],
        FileOk::Written { file, .. } | FileOk::Committed { file, .. } => vec![*file],
        FileOk::Made { dir, .. } | FileOk::Removed { dir } | FileOk::Linked { dir, .. } => vec![*dir],
        FileOk::Renamed { from, to } => vec![*from, *to],
        _ => Vec::new(),
    }
}

#[test]
fn random_requests_agree_with_the_model() {
    for seed in seeds(0..12) {
        let mut run = Run::new(seed);
        for _ in 0..2500 {
            run.step();
        }
        run.compare_everything();
        run.host.checkpoint();
        run.compare_everything();
        run.host.reopen();
        run.compare_everything();
    }
}
