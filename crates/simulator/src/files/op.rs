//! What a worker does next, in the model's words.

use super::tree::Key;
use bytes::Bytes;
use mainstay_protocol::Stability;

/// One operation on a worker's own tree. Keys are the model's; handles come from the tree when the request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Create {
        dir: Key,
        name: Bytes,
        how: How,
    },
    MakeDirectory {
        dir: Key,
        name: Bytes,
        mode: u16,
    },
    MakeSymlink {
        dir: Key,
        name: Bytes,
        target: Bytes,
    },
    MakeFifo {
        dir: Key,
        name: Bytes,
    },
    Remove {
        dir: Key,
        name: Bytes,
    },
    RemoveDirectory {
        dir: Key,
        name: Bytes,
    },
    Rename {
        from: Key,
        from_name: Bytes,
        to: Key,
        to_name: Bytes,
    },
    Link {
        file: Key,
        dir: Key,
        name: Bytes,
    },
    SetSize {
        file: Key,
        size: u64,
    },
    SetMode {
        item: Key,
        mode: u16,
    },
    Write {
        file: Key,
        offset: u64,
        data: Bytes,
        stability: Stability,
    },
    Commit {
        file: Key,
    },
    Read {
        file: Key,
        offset: u64,
        count: u32,
    },
    GetAttributes {
        item: Key,
    },
    Lookup {
        dir: Key,
        name: Bytes,
    },
    ReadLink {
        item: Key,
    },
    /// One page of a listing; `seen` holds the pages before it.
    List {
        dir: Key,
        cookie: u64,
        bytes_max: u32,
        seen: Vec<(Bytes, u64)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Unchecked { mode: u16 },
    Guarded { mode: u16 },
    Exclusive([u8; 8]),
}

impl Op {
    /// For people: data is told by its length.
    pub fn text(&self) -> String {
        match self {
            Op::Write { file, offset, data, stability } => {
                format!("Write {{ file: {file}, {} bytes at {offset}, {stability:?} }}", data.len())
            }
            Op::List { dir, cookie, seen, .. } => format!("List {{ dir: {dir}, after {cookie}, {} seen }}", seen.len()),
            other => format!("{other:?}"),
        }
    }

    /// Whether it may change something on the server.
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Op::Commit { .. }
                | Op::Read { .. }
                | Op::GetAttributes { .. }
                | Op::Lookup { .. }
                | Op::ReadLink { .. }
                | Op::List { .. }
        )
    }
}
