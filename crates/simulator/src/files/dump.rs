//! The whole tree as the server shows it at the end, and its comparison with the models.

use super::Verdict;
use super::tree::{Key, Object, Tree};
use bytes::Bytes;
use mainstay_protocol::{Attributes, FileKind};
use std::collections::BTreeMap;

/// One object with everything below it.
#[derive(Clone, Debug)]
pub struct Dump {
    pub attributes: Attributes,
    /// A file's bytes or a symbolic link's target.
    pub data: Bytes,
    pub entries: BTreeMap<Bytes, Dump>,
}

impl Dump {
    pub fn new(attributes: Attributes) -> Dump {
        Dump { attributes, data: Bytes::new(), entries: BTreeMap::new() }
    }

    pub fn objects(&self) -> usize {
        1 + self.entries.values().map(Dump::objects).sum::<usize>()
    }
}

impl Tree {
    /// Whether the server's tree is this one. Nothing more, nothing less.
    pub fn check_dump(&mut self, dump: &Dump) -> Verdict {
        self.check_dump_at(self.root, dump, "")
    }

    fn check_dump_at(&mut self, key: Key, dump: &Dump, path: &str) -> Verdict {
        self.check_attributes(key, &dump.attributes).map_err(|error| format!("{path}/: {error}"))?;
        match &mut self.items.get_mut(&key).expect("walked from the root").object {
            Object::File(content) => {
                let size = dump.attributes.size;
                content.check_read(0, size as u32, &dump.data, size).map_err(|error| format!("{path}: {error}"))
            }
            Object::Symlink { target } if *target != dump.data => {
                let (is, must) = (String::from_utf8_lossy(&dump.data), String::from_utf8_lossy(target));
                Err(format!("{path} leads to {is}, but was made to lead to {must}"))
            }
            Object::Symlink { .. } | Object::Fifo => Ok(()),
            Object::Directory { entries, .. } => {
                let entries = entries.clone();
                if !entries.keys().eq(dump.entries.keys()) {
                    let text =
                        |names: Vec<&Bytes>| names.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(", ");
                    let lacks = text(entries.keys().filter(|name| !dump.entries.contains_key(*name)).collect());
                    let strange = text(dump.entries.keys().filter(|name| !entries.contains_key(*name)).collect());
                    return Err(format!("{path}/ lacks [{lacks}], and shows what must not be there: [{strange}]"));
                }
                entries.iter().try_for_each(|(name, child)| {
                    let path = format!("{path}/{}", String::from_utf8_lossy(name));
                    self.check_dump_at(*child, &dump.entries[name], &path)
                })
            }
        }
    }
}

/// What the walk has to ask next for an object.
pub fn needs_data(attributes: &Attributes) -> bool {
    attributes.kind == FileKind::Regular && attributes.size > 0
}
