//! One worker's directory tree as it must be on the server.

use super::Verdict;
use super::content::Content;
use super::op::{How, Op, stability_text};
use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, SetAttributes, Wcc};
use mainstay_protocol::{Attributes, FileError, FileId, FileKind, FileOk, FileRequest, FileResult, Stability, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Longer names are shown in part.
const SHOWN_MAX: usize = 32;

/// An object of the model.
pub type Key = u32;

#[derive(Clone, Debug)]
pub enum Object {
    File(Content),
    Directory { entries: BTreeMap<Bytes, Key>, parent: Option<Key> },
    Symlink { target: Bytes },
    Fifo,
}

#[derive(Clone, Debug)]
pub struct Item {
    pub object: Object,
    /// None: made by an operation whose answer never came.
    pub file: Option<FileId>,
    /// None: the server may choose.
    pub mode: Option<u16>,
    /// Names that a file has. Zero: removed, its handle is stale.
    pub names: u32,
    ctime: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Tree {
    pub items: BTreeMap<Key, Item>,
    pub root: Key,
    key_last: Key,
    /// Every handle that the server gave for a new object: none may come twice.
    handles: BTreeSet<FileId>,
}

/// What must come of the answer, besides the changed tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Data that must be sent again, stable: the verifier changed.
    pub again: Vec<(Key, u64, Vec<u8>)>,
    /// The next page of a listing.
    pub next: Option<Op>,
}

impl Object {
    fn noun(&self) -> &'static str {
        match self {
            Object::File(_) => "file",
            Object::Directory { .. } => "directory",
            Object::Symlink { .. } => "symbolic link",
            Object::Fifo => "pipe",
        }
    }

    fn kind(&self) -> FileKind {
        match self {
            Object::File(_) => FileKind::Regular,
            Object::Directory { .. } => FileKind::Directory,
            Object::Symlink { .. } => FileKind::Symlink,
            Object::Fifo => FileKind::Fifo,
        }
    }
}

/// A name for people.
fn shown(name: &Bytes) -> String {
    let text = String::from_utf8_lossy(name);
    if text.len() > SHOWN_MAX { format!("{}…", &text[..SHOWN_MAX / 2]) } else { text.into_owned() }
}

fn list_of<'a>(names: impl Iterator<Item = &'a Bytes>) -> String {
    names.map(shown).collect::<Vec<_>>().join(", ")
}

/// Errors of which one was expected, in words.
fn one_of(errors: &[FileError]) -> String {
    errors.iter().map(|error| format!("\"{error}\"")).collect::<Vec<_>>().join(" or ")
}

/// The kind of an answer: the first word of its debug text.
fn kind_of(ok: &FileOk) -> String {
    let text = format!("{ok:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_string()
}

fn empty_directory(parent: Option<Key>) -> Object {
    Object::Directory { entries: BTreeMap::new(), parent }
}

impl Tree {
    /// A tree below a directory that the server has made.
    pub fn new(root: Option<FileId>, mode: u16) -> Tree {
        let item = Item { object: empty_directory(None), file: root, mode: Some(mode), names: 1, ctime: Timestamp::default() };
        Tree { items: BTreeMap::from([(1, item)]), root: 1, key_last: 1, handles: root.into_iter().collect() }
    }

    pub fn entries(&self, dir: Key) -> &BTreeMap<Bytes, Key> {
        match &self.items[&dir].object {
            Object::Directory { entries, .. } => entries,
            other => panic!("{dir} is {other:?}, not a directory"),
        }
    }

    fn entries_mut(&mut self, dir: Key) -> &mut BTreeMap<Bytes, Key> {
        match &mut self.item(dir).object {
            Object::Directory { entries, .. } => entries,
            other => panic!("{dir} is {other:?}, not a directory"),
        }
    }

    fn item(&mut self, key: Key) -> &mut Item {
        self.items.get_mut(&key).expect("keys of operations exist")
    }

    pub fn content(&mut self, file: Key) -> &mut Content {
        match &mut self.item(file).object {
            Object::File(content) => content,
            other => panic!("{file} is {other:?}, not a file"),
        }
    }

    fn named(&self, dir: Key, name: &Bytes) -> Option<Key> {
        self.entries(dir).get(name).copied()
    }

    fn is_directory(&self, key: Key) -> bool {
        matches!(self.items[&key].object, Object::Directory { .. })
    }

    fn handle(&self, key: Key) -> FileId {
        self.items[&key].file.expect("operations go to objects whose handle is known")
    }

    /// Whether `inner` is `outer` or lies below it.
    pub fn within(&self, inner: Key, outer: Key) -> bool {
        let mut at = Some(inner);
        while let Some(key) = at {
            if key == outer {
                return true;
            }
            at = match &self.items[&key].object {
                Object::Directory { parent, .. } => *parent,
                _ => None,
            };
        }
        false
    }

    /// Link count that the server must show.
    pub fn links(&self, key: Key) -> u32 {
        match &self.items[&key].object {
            Object::Directory { entries, .. } => 2 + entries.values().filter(|child| self.is_directory(**child)).count() as u32,
            _ => self.items[&key].names,
        }
    }

    /// One of its paths below the tree's own directory, for people.
    pub fn path(&self, key: Key) -> String {
        if key == self.root {
            return "its own directory".into();
        }
        let name = |item: &Item| match &item.object {
            Object::Directory { entries, .. } => entries.iter().find(|(_, child)| **child == key).map(|(name, _)| name.clone()),
            _ => None,
        };
        match self.items.iter().find_map(|(dir, item)| Some((*dir, name(item)?))) {
            Some((dir, name)) => self.path_in(dir, &name),
            None => format!("a removed {}", self.items.get(&key).map_or("object", |item| item.object.noun())),
        }
    }

    /// `name` in `dir`. Names of this workload are short, but for one.
    pub fn path_in(&self, dir: Key, name: &Bytes) -> String {
        let name = shown(name);
        if dir == self.root { name } else { format!("{}/{name}", self.path(dir)) }
    }

    pub fn request(&self, op: &Op) -> FileRequest {
        let mode = |mode: u16| SetAttributes { mode: Some(mode), ..SetAttributes::default() };
        match op.clone() {
            Op::Create { dir, name, how } => FileRequest::Create {
                dir: self.handle(dir),
                name,
                how: match how {
                    How::Unchecked { mode: bits } => CreateHow::Unchecked(mode(bits)),
                    How::Guarded { mode: bits } => CreateHow::Guarded(mode(bits)),
                    How::Exclusive(verifier) => CreateHow::Exclusive(verifier),
                },
            },
            Op::MakeDirectory { dir, name, mode: bits } => {
                FileRequest::MakeDirectory { dir: self.handle(dir), name, set: mode(bits) }
            }
            Op::MakeSymlink { dir, name, target } => {
                FileRequest::MakeSymlink { dir: self.handle(dir), name, target, set: SetAttributes::default() }
            }
            Op::MakeFifo { dir, name } => {
                FileRequest::MakeNode { dir: self.handle(dir), name, kind: FileKind::Fifo, set: SetAttributes::default() }
            }
            Op::Remove { dir, name } => FileRequest::Remove { dir: self.handle(dir), name },
            Op::RemoveDirectory { dir, name } => FileRequest::RemoveDirectory { dir: self.handle(dir), name },
            Op::Rename { from, from_name, to, to_name } => {
                FileRequest::Rename { from_dir: self.handle(from), from_name, to_dir: self.handle(to), to_name }
            }
            Op::Link { file, dir, name } => FileRequest::Link { file: self.handle(file), dir: self.handle(dir), name },
            other => self.request_on_one(other),
        }
    }

    fn request_on_one(&self, op: Op) -> FileRequest {
        match op {
            Op::SetSize { file, size } => {
                let set = SetAttributes { size: Some(size), ..SetAttributes::default() };
                FileRequest::SetAttributes { file: self.handle(file), set, guard_ctime: None }
            }
            Op::SetMode { item, mode } => {
                let set = SetAttributes { mode: Some(mode), ..SetAttributes::default() };
                FileRequest::SetAttributes { file: self.handle(item), set, guard_ctime: None }
            }
            Op::Write { file, offset, data, stability } => FileRequest::Write { file: self.handle(file), offset, data, stability },
            Op::Commit { file } => FileRequest::Commit { file: self.handle(file), offset: 0, count: 0 },
            Op::Read { file, offset, count } => FileRequest::Read { file: self.handle(file), offset, count },
            Op::GetAttributes { item } => FileRequest::GetAttributes { file: self.handle(item) },
            Op::Lookup { dir, name } => FileRequest::Lookup { dir: self.handle(dir), name },
            Op::ReadLink { item } => FileRequest::ReadLink { file: self.handle(item) },
            Op::List { dir, cookie, bytes_max, .. } => {
                FileRequest::ReadDirectory { dir: self.handle(dir), cookie, bytes_max, with_attributes: cookie % 2 == 0 }
            }
            _ => unreachable!("`request` has the others"),
        }
    }

    /// Errors of which one must be the answer; empty: it must succeed.
    pub fn expected_errors(&self, op: &Op) -> &'static [FileError] {
        const STALE: &[FileError] = &[FileError::Stale];
        if self.objects_of(op).iter().any(|key| self.items[key].names == 0) {
            return STALE;
        }
        match op {
            Op::Create { dir, name, how } => match (self.named(*dir, name), how) {
                (Some(_), How::Guarded { .. } | How::Exclusive(_)) => &[FileError::Exists],
                (Some(key), How::Unchecked { .. }) if !matches!(self.items[&key].object, Object::File(_)) => {
                    &[FileError::Exists, FileError::IsDirectory, FileError::Invalid, FileError::BadType]
                }
                _ => &[],
            },
            Op::MakeDirectory { dir, name, .. }
            | Op::MakeSymlink { dir, name, .. }
            | Op::MakeFifo { dir, name }
            | Op::Link { dir, name, .. } => self.if_named(*dir, name, &[FileError::Exists]),
            Op::Lookup { dir, name } => self.unless_named(*dir, name),
            Op::Remove { dir, name } => match self.named(*dir, name) {
                None => &[FileError::NotFound],
                Some(key) if self.is_directory(key) => &[FileError::IsDirectory, FileError::NotOwner],
                Some(_) => &[],
            },
            Op::RemoveDirectory { dir, name } => match self.named(*dir, name) {
                None => &[FileError::NotFound],
                Some(key) if !self.is_directory(key) => &[FileError::NotDirectory],
                Some(key) if !self.entries(key).is_empty() => &[FileError::NotEmpty, FileError::Exists],
                Some(_) => &[],
            },
            Op::Rename { from, from_name, to, to_name } => self.rename_errors(*from, from_name, *to, to_name),
            _ => &[],
        }
    }

    fn if_named(&self, dir: Key, name: &Bytes, errors: &'static [FileError]) -> &'static [FileError] {
        if self.named(dir, name).is_some() { errors } else { &[] }
    }
    fn unless_named(&self, dir: Key, name: &Bytes) -> &'static [FileError] {
        if self.named(dir, name).is_none() { &[FileError::NotFound] } else { &[] }
    }

    fn rename_errors(&self, from: Key, from_name: &Bytes, to: Key, to_name: &Bytes) -> &'static [FileError] {
        let Some(source) = self.named(from, from_name) else { return &[FileError::NotFound] };
        if self.is_directory(source) && self.within(to, source) {
            return &[FileError::Invalid];
        }
        match self.named(to, to_name) {
            Some(target) if target == source => &[],
            Some(target) => match (self.is_directory(source), self.is_directory(target)) {
                (true, false) => &[FileError::NotDirectory, FileError::Exists],
                (false, true) => &[FileError::IsDirectory, FileError::Exists],
                (true, true) if !self.entries(target).is_empty() => &[FileError::NotEmpty, FileError::Exists],
                _ => &[],
            },
            None => &[],
        }
    }

    fn objects_of(&self, op: &Op) -> Vec<Key> {
        match op {
            Op::SetSize { file: key, .. }
            | Op::SetMode { item: key, .. }
            | Op::Write { file: key, .. }
            | Op::Commit { file: key }
            | Op::Read { file: key, .. }
            | Op::GetAttributes { item: key }
            | Op::ReadLink { item: key }
            | Op::Link { file: key, .. } => vec![*key],
            _ => vec![],
        }
    }

    /// Judges the answer and makes its effect on the model.
    pub fn answered(&mut self, op: &Op, result: &FileResult) -> Result<Learned, String> {
        let errors = self.expected_errors(op);
        match result {
            Err(failure) if errors.contains(&failure.error) => Ok(Learned::default()),
            Err(failure) if errors.is_empty() => {
                Err(format!("it was refused with \"{}\", but nothing stands against it", failure.error))
            }
            Err(failure) => Err(format!("it was refused with \"{}\", and should have been with {}", failure.error, one_of(errors))),
            Ok(_) if !errors.is_empty() => Err(format!("it succeeded, but must be refused with {}", one_of(errors))),
            Ok(ok) => self.succeeded(op, ok),
        }
    }

    fn succeeded(&mut self, op: &Op, ok: &FileOk) -> Result<Learned, String> {
        match (op, ok) {
            (Op::Write { file, offset, data, stability }, FileOk::Written { count, stability: kept, file: wcc, verifier }) => {
                if *count as usize != data.len() || kept < stability {
                    let (kept, asked) = (stability_text(*kept), stability_text(*stability));
                    return Err(format!("{count} of {} bytes were written, {kept}; {asked} was asked for", data.len()));
                }
                let again = self.content(*file).written(*offset, data, *kept > Stability::Unstable, *verifier)?;
                self.check_after(*file, wcc)?;
                Ok(Learned { again: again.into_iter().map(|(offset, data)| (*file, offset, data)).collect(), next: None })
            }
            (Op::Commit { file }, FileOk::Committed { verifier, .. }) => {
                let again = self.content(*file).committed(*verifier)?;
                Ok(Learned { again: again.into_iter().map(|(offset, data)| (*file, offset, data)).collect(), next: None })
            }
            (Op::List { dir, cookie, bytes_max, seen }, FileOk::Entries { entries, eof, .. }) => {
                let page = entries.iter().map(|entry| (entry.name.clone(), entry.inode));
                let seen: Vec<_> = seen.iter().cloned().chain(page).collect();
                if *eof {
                    return self.check_listing(*dir, &seen).map(|()| Learned::default());
                }
                let last = entries.last().ok_or("a page of the listing is empty, but not the last")?.cookie;
                if last == *cookie {
                    return Err(format!("the listing stands still at cookie {cookie}"));
                }
                let next = Op::List { dir: *dir, cookie: last, bytes_max: *bytes_max, seen };
                Ok(Learned { again: vec![], next: Some(next) })
            }
            (op, ok) if op.changes() => self.changed(op, ok).map(|()| Learned::default()),
            (op, ok) => self.read(op, ok).map(|()| Learned::default()),
        }
    }

    fn read(&mut self, op: &Op, ok: &FileOk) -> Verdict {
        match (op, ok) {
            (Op::Read { file, offset, count }, FileOk::Data { pieces, count: got, eof, attributes }) => {
                let data = pieces.concat();
                if data.len() != *got as usize || *eof != (offset + data.len() as u64 >= attributes.size) {
                    let end = if *eof { "with" } else { "without" };
                    return Err(format!(
                        "the answer holds {} bytes, says {got}, {end} the end of the file, whose size it gives as {}",
                        data.len(),
                        attributes.size
                    ));
                }
                self.content(*file).check_read(*offset, *count, &data, attributes.size)?;
                self.check_attributes(*file, attributes)
            }
            (Op::GetAttributes { item }, FileOk::Attributes(attributes)) => self.check_attributes(*item, attributes),
            (Op::Lookup { dir, name }, FileOk::Found { attributes, .. }) => {
                let key = self.named(*dir, name).expect("judged by expected_errors");
                self.check_attributes(key, attributes)
            }
            (Op::ReadLink { item }, FileOk::Target { target, .. }) => match &self.items[item].object {
                Object::Symlink { target: known } if known == target => Ok(()),
                Object::Symlink { target: known } => {
                    Err(format!("the link leads to {:?}, but was made to lead to {:?}", shown(target), shown(known)))
                }
                other => Err(format!("a {} was read as a link, to {:?}", other.noun(), shown(target))),
            },
            (_, ok) => Err(format!("the answer is one to another question ({})", kind_of(ok))),
        }
    }

    fn changed(&mut self, op: &Op, ok: &FileOk) -> Verdict {
        match (op, ok) {
            (
                Op::Create { .. } | Op::MakeDirectory { .. } | Op::MakeSymlink { .. } | Op::MakeFifo { .. },
                FileOk::Made { attributes, .. },
            ) => {
                let made = self.make(op, Some(attributes.file))?;
                self.check_attributes(made, attributes)
            }
            (Op::Remove { .. }, FileOk::Removed { .. })
            | (Op::RemoveDirectory { .. }, FileOk::Removed { .. })
            | (Op::Rename { .. }, FileOk::Renamed { .. }) => self.happened(op),
            (Op::Link { file, .. }, FileOk::Linked { attributes, .. }) => {
                self.happened(op)?;
                self.check_attributes(*file, attributes)
            }
            (Op::SetSize { file: key, .. } | Op::SetMode { item: key, .. }, FileOk::AttributesSet(wcc)) => {
                self.happened(op)?;
                self.check_after(*key, wcc)
            }
            (_, ok) => Err(format!("the answer is one to another question ({})", kind_of(ok))),
        }
    }

    /// The effect of an operation that happened, also when its answer is not known.
    pub fn happened(&mut self, op: &Op) -> Verdict {
        match op {
            Op::Create { .. } | Op::MakeDirectory { .. } | Op::MakeSymlink { .. } | Op::MakeFifo { .. } => {
                self.make(op, None).map(|_| ())
            }
            Op::Remove { dir, name } | Op::RemoveDirectory { dir, name } => {
                self.unlink(*dir, name);
                Ok(())
            }
            Op::Rename { from, from_name, to, to_name } => {
                self.rename(*from, from_name, *to, to_name);
                Ok(())
            }
            Op::Link { file, dir, name } => {
                self.entries_mut(*dir).insert(name.clone(), *file);
                self.item(*file).names += 1;
                Ok(())
            }
            Op::SetSize { file, size } => {
                self.content(*file).set_size(*size);
                Ok(())
            }
            Op::SetMode { item, mode } => {
                self.item(*item).mode = Some(*mode);
                Ok(())
            }
            // As if it were stable with a verifier of its own: present or, being a retired tree's last one, not applied at all.
            Op::Write { file, offset, data, .. } => self.content(*file).written(*offset, data, true, [0; 8]).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn make(&mut self, op: &Op, file: Option<FileId>) -> Result<Key, String> {
        let (dir, name, object, mode) = match op {
            Op::Create { dir, name, how } => {
                if let Some(existing) = self.named(*dir, name) {
                    // An unchecked create of an existing file: the server may or may not set the mode.
                    self.item(existing).mode = None;
                    return Ok(existing);
                }
                let mode = match how {
                    How::Unchecked { mode } | How::Guarded { mode } => Some(*mode),
                    How::Exclusive(_) => None,
                };
                (dir, name, Object::File(Content::default()), mode)
            }
            Op::MakeDirectory { dir, name, mode } => (dir, name, empty_directory(Some(*dir)), Some(*mode)),
            Op::MakeSymlink { dir, name, target } => (dir, name, Object::Symlink { target: target.clone() }, None),
            Op::MakeFifo { dir, name } => (dir, name, Object::Fifo, None),
            other => unreachable!("{other:?} makes nothing"),
        };
        if let Some(file) = file.filter(|file| !self.handles.insert(*file)) {
            return Err(format!("its handle (inode {}) was given to another object before", file.inode));
        }
        self.key_last += 1;
        let key = self.key_last;
        self.items.insert(key, Item { object, file, mode, names: 1, ctime: Timestamp::default() });
        self.entries_mut(*dir).insert(name.clone(), key);
        Ok(key)
    }

    fn unlink(&mut self, dir: Key, name: &Bytes) {
        let key = self.entries_mut(dir).remove(name).expect("judged by expected_errors");
        self.item(key).names -= 1;
    }

    fn rename(&mut self, from: Key, from_name: &Bytes, to: Key, to_name: &Bytes) {
        let source = self.named(from, from_name).expect("judged by expected_errors");
        match self.named(to, to_name) {
            // Two names of one file: nothing happens (RFC 1813 3.3.14).
            Some(target) if target == source => return,
            Some(_) => self.unlink(to, to_name),
            None => {}
        }
        self.entries_mut(from).remove(from_name);
        self.entries_mut(to).insert(to_name.clone(), source);
        if let Object::Directory { parent, .. } = &mut self.item(source).object {
            *parent = Some(to);
        }
    }

    fn check_after(&mut self, key: Key, wcc: &Wcc) -> Verdict {
        wcc.after.as_ref().map_or(Ok(()), |attributes| self.check_attributes(key, attributes))
    }

    pub fn check_attributes(&mut self, key: Key, attributes: &Attributes) -> Verdict {
        let links = self.links(key);
        let item = self.item(key);
        let kind = item.object.kind();
        if item.file.is_some_and(|file| file != attributes.file) || kind != attributes.kind || links != attributes.links {
            let known = item.file.map_or("any inode".into(), |file| format!("inode {}", file.inode));
            let (inode, shown, found) = (attributes.file.inode, attributes.kind, attributes.links);
            return Err(format!(
                "the server shows inode {inode}, {shown:?}, {found} links; it must be {known}, {kind:?}, {links} links"
            ));
        }
        if item.mode.is_some_and(|mode| mode != attributes.mode) {
            return Err(format!("its mode is {:o}, and was set to {:o}", attributes.mode, item.mode.unwrap_or(0)));
        }
        let mut loss_possible = false;
        if let Object::File(content) = &mut item.object {
            loss_possible = content.uncertain();
            content.check_size(attributes.size)?;
        }
        if attributes.ctime < item.ctime && !loss_possible {
            let (was, is) = (item.ctime.as_millis(), attributes.ctime.as_millis());
            return Err(format!("its time of change went back by {} ms", was - is));
        }
        item.ctime = attributes.ctime;
        Ok(())
    }

    fn check_listing(&self, dir: Key, seen: &[(Bytes, u64)]) -> Verdict {
        let mut found = BTreeMap::new();
        for (name, inode) in seen {
            if found.insert(name.clone(), *inode).is_some() {
                return Err(format!("the listing shows {} twice", shown(name)));
            }
        }
        for dot in [&b"."[..], b".."] {
            found.remove(dot).ok_or_else(|| format!("the listing lacks {:?}", String::from_utf8_lossy(dot)))?;
        }
        let known: BTreeMap<Bytes, u64> =
            self.entries(dir).iter().map(|(name, key)| (name.clone(), self.handle(*key).inode)).collect();
        if found == known {
            return Ok(());
        }
        let lacking = list_of(known.keys().filter(|name| !found.contains_key(*name)));
        let strange = list_of(found.keys().filter(|name| !known.contains_key(*name)));
        let other =
            list_of(known.iter().filter(|(name, inode)| found.get(*name).is_some_and(|is| is != *inode)).map(|(name, _)| name));
        let parts = [("lacks", lacking), ("shows what is not there:", strange), ("shows another object as", other)];
        let parts: Vec<String> =
            parts.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what} {names}")).collect();
        Err(format!("the listing {}", parts.join("; ")))
    }
}
