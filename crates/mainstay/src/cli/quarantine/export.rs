//! `quarantine export`: the files as the tail would have left them, into a directory of this machine. Never outside it, never over
//! anything: the names come from clients of the volume. From there `cp` on a mount brings back what is wanted, as an ordinary write.

use super::super::args::Format;
use super::super::output::show;
use super::super::{CliError, exit};
use super::{Held, Whole, find, instant};
use bytes::Bytes;
use mainstay_node::admin::client::AdminClient;
use mainstay_volume::quarantine::{FileImage, Part, Path, path_text};
use serde::Serialize;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path as LocalPath, PathBuf};

const MANIFEST: &str = "manifest.json";
/// The files lie in here, so that none can be called like the manifest.
const FILES: &str = "files";
/// For files whose directory is not known.
const LOST: &str = "path-not-known";

#[derive(Debug, Serialize)]
struct Manifest {
    id: String,
    volume: String,
    node: String,
    epoch: u64,
    first: u64,
    last: u64,
    files: Vec<Exported>,
    /// What the tail removes, by path.
    removed: Vec<String>,
    /// Why there may be more.
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Exported {
    /// Where the file would be in the volume.
    path: Option<String>,
    /// Where it is here, relative to the manifest; `None` for what has no content to be written out.
    exported_as: Option<String>,
    size: u64,
    mode: String,
    uid: u32,
    gid: u32,
    first_change: String,
    last_change: String,
    /// The quarantine holds all of its content.
    whole: bool,
    /// (offset, length) of what was there before and is not in the quarantine: zeros here.
    not_in_quarantine: Vec<(u64, u64)>,
    /// (offset, length) of what is damaged in the quarantine: zeros here.
    damaged: Vec<(u64, u64)>,
    /// Of a symbolic link, which is not made here.
    target: Option<String>,
    /// Why it was not written.
    problem: Option<String>,
}

fn failed(path: &LocalPath) -> impl FnOnce(std::io::Error) -> CliError + use<> {
    let path = path.to_owned();
    move |error| CliError::Failed(format!("{}: {error}", path.display()))
}

pub async fn export(client: &AdminClient, id: &str, out: &LocalPath, format: Format) -> Result<u8, CliError> {
    vacant(out)?;
    let held = find(client, id).await?;
    let whole = held.image().await?;
    whole.warn();
    let mut manifest = manifest(&held, &whole);
    for file in whole.image.files.values().filter(|file| !file.removed && exported(file)) {
        let written = one(&held, &whole, file, out).await?;
        manifest.files.push(written);
    }
    let path = out.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| CliError::Failed(error.to_string()))?;
    fresh(&path)?.write_all_at(&text, 0).map_err(failed(&path))?;
    show(format, &manifest, |manifest| summary(manifest, out));
    let partly = |file: &Exported| !file.damaged.is_empty() || file.problem.is_some();
    Ok(if manifest.problem.is_some() || manifest.files.iter().any(partly) { exit::VIOLATED } else { exit::OK })
}

/// Symbolic links are told, not made: a link could lead out of the directory.
fn exported(file: &FileImage) -> bool {
    file.regular() || file.target.is_some()
}

fn manifest(held: &Held, whole: &Whole) -> Manifest {
    let summary = &held.one.summary;
    let unlinked = whole.image.unlinked.iter().map(|(dir, name)| {
        let dir = whole.path(*dir).map_or_else(|| format!("directory inode {dir}: "), |path| path_text(&path));
        format!("{}{}", dir.trim_end_matches('/'), path_text(std::slice::from_ref(name)))
    });
    Manifest {
        id: summary.id.clone(),
        volume: held.one.volume.clone(),
        node: held.one.node.clone(),
        epoch: summary.epoch,
        first: summary.first,
        last: summary.last,
        files: Vec::new(),
        removed: unlinked.collect(),
        problem: whole.problem.clone(),
    }
}

fn summary(manifest: &Manifest, out: &LocalPath) -> String {
    let mut text = String::new();
    for file in &manifest.files {
        let path = file.path.as_deref().unwrap_or("path not known");
        let state = match (&file.problem, &file.target) {
            (Some(problem), _) => format!("NOT WRITTEN: {problem}"),
            (None, Some(target)) => format!("symbolic link to {target}, not made here"),
            (None, None) if !file.damaged.is_empty() => "PARTLY DAMAGED; zeros stand there".into(),
            (None, None) if file.whole => "whole".into(),
            (None, None) => "partial: the quarantine holds only what was written; zeros stand for the rest".into(),
        };
        text += &format!("{path}  {} bytes  {state}\n", file.size);
    }
    text += &format!("{} files are in {}; {MANIFEST} says which bytes of each are real\n", manifest.files.len(), out.display());
    text + "to bring one back: `cp` it onto a mount of the volume, or `mainstay quarantine restore`; nothing in the volume was changed\n"
}

/// The directory is made, or is there and empty.
fn vacant(out: &LocalPath) -> Result<(), CliError> {
    DirBuilder::new().recursive(true).mode(0o700).create(out).map_err(failed(out))?;
    match std::fs::read_dir(out).map_err(failed(out))?.next() {
        None => Ok(()),
        Some(_) => {
            Err(CliError::Failed(format!("{} is not empty; give a new directory, so that nothing is overwritten", out.display())))
        }
    }
}

/// Never over a file that is there, never through a link.
fn fresh(path: &LocalPath) -> Result<File, CliError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed(path))
}

async fn one(held: &Held, whole: &Whole, file: &FileImage, out: &LocalPath) -> Result<Exported, CliError> {
    let path = whole.path(file.inode);
    let row = file.row.as_ref();
    let mut made = Exported {
        path: path.as_deref().map(path_text),
        exported_as: None,
        size: file.size(),
        mode: format!("{:04o}", row.map_or(0, |row| row.mode)),
        uid: row.map_or(0, |row| row.uid),
        gid: row.map_or(0, |row| row.gid),
        first_change: instant(file.from),
        last_change: instant(file.to),
        whole: true,
        not_in_quarantine: Vec::new(),
        damaged: Vec::new(),
        target: file.target.as_ref().map(|target| path_text(std::slice::from_ref(target)).trim_start_matches('/').to_string()),
        problem: None,
    };
    if !file.regular() {
        return Ok(made);
    }
    match place(path, file.inode).and_then(|relative| Ok((open(out, &relative)?, relative))) {
        Ok((local, relative)) => {
            made.exported_as = Some(relative.display().to_string());
            fill(held, whole, file, (&local, &out.join(relative)), &mut made).await?;
        }
        Err(problem) => (made.whole, made.problem) = (false, Some(problem.to_string())),
    }
    Ok(made)
}

/// Below `files/`, by the very names; a name that could lead elsewhere is refused, whatever the volume let pass.
fn place(path: Option<Path>, inode: u64) -> Result<PathBuf, CliError> {
    let plain =
        |name: &Bytes| !name.is_empty() && !name.contains(&b'/') && !name.contains(&0) && &name[..] != b"." && &name[..] != b"..";
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Ok(LocalPath::new(LOST).join(format!("inode-{inode}")));
    };
    if !path.iter().all(plain) {
        return Err(CliError::Failed(format!("{} is no path that can be written here", path_text(&path))));
    }
    let names = path.iter().map(|name| std::ffi::OsStr::from_bytes(name));
    Ok(std::iter::once(std::ffi::OsStr::new(FILES)).chain(names).collect())
}

fn open(out: &LocalPath, relative: &LocalPath) -> Result<File, CliError> {
    let path = out.join(relative);
    let dir = path.parent().unwrap_or(out);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
    fresh(&path)
}

async fn fill(
    held: &Held,
    whole: &Whole,
    file: &FileImage,
    (local, path): (&File, &LocalPath),
    made: &mut Exported,
) -> Result<(), CliError> {
    local.set_len(file.size()).map_err(failed(path))?;
    for part in whole.image.parts(file) {
        match part {
            Part::Zeros(_) => {}
            Part::Before(range) => made.not_in_quarantine.push((range.start, range.end - range.start)),
            Part::Tail { at, extent } => match held.data(at, &extent).await? {
                Some(data) => local.write_all_at(&data, extent.offset).map_err(failed(path))?,
                None => made.damaged.push((extent.offset, u64::from(extent.len))),
            },
        }
    }
    made.whole = made.not_in_quarantine.is_empty() && made.damaged.is_empty();
    local.sync_all().map_err(failed(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[&'static str]) -> Option<Path> {
        Some(names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect())
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        assert_eq!(place(path(&["a", "b c"]), 7).unwrap(), PathBuf::from("files/a/b c"));
        assert_eq!(place(path(&["manifest.json"]), 7).unwrap(), PathBuf::from("files/manifest.json"));
        assert_eq!(place(None, 7).unwrap(), PathBuf::from("path-not-known/inode-7"));
        for bad in [&["..", "etc"][..], &["a", ".."], &["."], &["a/../../b"], &["/etc/passwd"], &[""], &["a\0b"]] {
            assert!(place(path(bad), 7).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        vacant(dir.path()).unwrap();
        open(dir.path(), LocalPath::new("files/a")).unwrap();
        assert!(open(dir.path(), LocalPath::new("files/a")).is_err());
        assert!(vacant(dir.path()).is_err());
        std::os::unix::fs::symlink("/dev/null", dir.path().join("link")).unwrap();
        assert!(open(dir.path(), LocalPath::new("link")).is_err(), "not through a link");
    }
}
