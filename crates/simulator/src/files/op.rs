//! What a worker does next, in the model's words.

use super::tree::{Key, Tree};
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
    /// For people, who know files by their paths; data is told by its length.
    pub fn text(&self, tree: &Tree) -> String {
        let named = |dir: &Key, name: &Bytes| tree.path_in(*dir, name);
        let path = |key: &Key| tree.path(*key);
        match self {
            Op::Create { dir, name, how } => format!("create {}{}", named(dir, name), how.text()),
            Op::MakeDirectory { dir, name, .. } => format!("make the directory {}", named(dir, name)),
            Op::MakeSymlink { dir, name, .. } => format!("make the symbolic link {}", named(dir, name)),
            Op::MakeFifo { dir, name } => format!("make the pipe {}", named(dir, name)),
            Op::Remove { dir, name } => format!("remove {}", named(dir, name)),
            Op::RemoveDirectory { dir, name } => format!("remove the directory {}", named(dir, name)),
            Op::Rename { from, from_name, to, to_name } => format!("rename {} to {}", named(from, from_name), named(to, to_name)),
            Op::Link { file, dir, name } => format!("link {} as {}", path(file), named(dir, name)),
            Op::SetSize { file, size } => format!("set the size of {} to {size}", path(file)),
            Op::SetMode { item, mode } => format!("set the mode of {} to {mode:o}", path(item)),
            Op::Write { file, offset, data, stability } => {
                format!("write {} bytes at {offset} of {}, {}", data.len(), path(file), stability_text(*stability))
            }
            Op::Commit { file } => format!("commit {}", path(file)),
            Op::Read { file, offset, count } => format!("read {count} bytes at {offset} of {}", path(file)),
            Op::GetAttributes { item } => format!("look at the attributes of {}", path(item)),
            Op::Lookup { dir, name } => format!("look up {}", named(dir, name)),
            Op::ReadLink { item } => format!("read the link {}", path(item)),
            Op::List { dir, cookie: 0, .. } => format!("list {}", path(dir)),
            Op::List { dir, cookie, seen, .. } => format!("list {} after cookie {cookie}, {} entries seen", path(dir), seen.len()),
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

impl How {
    fn text(self) -> &'static str {
        match self {
            How::Unchecked { .. } => "",
            How::Guarded { .. } => ", unless it exists",
            How::Exclusive(_) => ", exclusively",
        }
    }
}

pub(super) fn stability_text(stability: Stability) -> &'static str {
    match stability {
        Stability::Unstable => "not yet stable",
        Stability::DataSync => "its data stable",
        Stability::FileSync => "stable",
    }
}
