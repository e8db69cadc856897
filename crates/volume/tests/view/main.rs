//! The view by itself: checkpoints, crashes and damage of its file, kept replies, reclaiming, digests; and the corners of the
//! planner that random requests do not reach.
#![allow(clippy::result_large_err)]

#[path = "../support/generate.rs"]
mod generate;
#[path = "../support/mod.rs"]
mod support;

mod checkpoints;
mod corners;
mod damage;
mod full;
mod replies;

use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, FileOk, SetAttributes};
use mainstay_protocol::{Caller, FileError, FileId, FileRequest, FileResult, Stability};
use mainstay_volume::view::ViewOptions;
use support::Host;

/// A host with root's shorthand for the usual requests.
pub struct Root {
    pub host: Host,
}

impl Root {
    pub fn fresh() -> Root {
        Root { host: Host::new(ViewOptions::default()) }
    }
    pub fn run(&mut self, request: FileRequest) -> FileResult {
        self.host.execute(&Caller::default(), None, request)
    }
    pub fn refused(&mut self, request: FileRequest) -> FileError {
        self.run(request).expect_err("it must be refused").error
    }
    pub fn create(&mut self, dir: FileId, name: &str) -> FileId {
        let how = CreateHow::Guarded(SetAttributes { mode: Some(0o644), ..Default::default() });
        made(self.run(FileRequest::Create { dir, name: Bytes::copy_from_slice(name.as_bytes()), how }))
    }
    pub fn make_directory(&mut self, dir: FileId, name: &str) -> FileId {
        let set = SetAttributes { mode: Some(0o755), ..Default::default() };
        made(self.run(FileRequest::MakeDirectory { dir, name: Bytes::copy_from_slice(name.as_bytes()), set }))
    }
    pub fn write(&mut self, file: FileId, offset: u64, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        self.run(FileRequest::Write { file, offset, data, stability: Stability::Unstable }).unwrap();
    }
    pub fn read(&mut self, file: FileId, offset: u64, count: u32) -> Vec<u8> {
        match self.run(FileRequest::Read { file, offset, count }) {
            Ok(FileOk::Data { pieces, .. }) => pieces.concat(),
            other => panic!("{other:?}"),
        }
    }
    pub fn remove(&mut self, dir: FileId, name: &str) -> FileResult {
        self.run(FileRequest::Remove { dir, name: Bytes::copy_from_slice(name.as_bytes()) })
    }
}

pub fn made(result: FileResult) -> FileId {
    match result {
        Ok(FileOk::Made { attributes, .. }) => attributes.file,
        other => panic!("{other:?}"),
    }
}
