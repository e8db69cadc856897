//! `quarantine restore`: one file of the tail back into the volume, as an ordinary new file: this program writes it as any NFS client
//! would, through the primary, so that it is replicated, acknowledged and permitted like any other write.
//!
//! It is written under another name first and then linked, because LINK refuses where something is: nothing is overwritten, and a
//! name that is there holds all of the file.

use super::super::args::Format;
use super::super::output::show;
use super::super::{CliError, exit};
use super::{Held, Whole, find};
use crate::nfs_client::{CallError, Client, Handle, Options};
use mainstay_node::admin::api::VolumeDetails;
use mainstay_node::admin::client::AdminClient;
use mainstay_protocol::file::{CreateHow, SetAttributes};
use mainstay_protocol::{FileError, Stability};
use mainstay_volume::quarantine::{FileImage, Part, path_text};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// Bytes of one WRITE.
const WRITE_BYTES: usize = 256 << 10;

#[derive(Debug, Serialize)]
struct Restored {
    id: String,
    volume: String,
    path: String,
    restored_as: String,
    bytes: u64,
    /// It belongs to who ran this; in the tail it belonged to these.
    uid: u32,
    gid: u32,
}

fn failed(what: &str, error: &CallError) -> CliError {
    CliError::Failed(format!("{what}: {error}; nothing was changed"))
}

pub async fn restore(client: &AdminClient, id: &str, path: &str, new: &str, format: Format) -> Result<u8, CliError> {
    let (dirs, name) = split(new)?;
    let held = find(client, id).await?;
    let whole = held.image().await?;
    let file = wanted(&whole, id, path)?;
    complete(&whole, file, id, path)?;
    let volume = client.volume(&held.one.volume).await?;
    let mut nfs = connect(&volume)?;
    let dir = directory(&mut nfs, &dirs)?;
    write(&held, &whole, file, &mut nfs, (&dir, name)).await?;
    let (uid, gid) = file.row.as_ref().map_or((0, 0), |row| (row.uid, row.gid));
    let (path, restored_as) = (path.into(), new.into());
    let restored = Restored { id: id.into(), volume: volume.name, path, restored_as, bytes: file.size(), uid, gid };
    show(format, &restored, |restored| {
        format!(
            "{} of the quarantine is {} of volume {} now, {} bytes; it was of {}:{} and is yours\n",
            restored.path, restored.restored_as, restored.volume, restored.bytes, restored.uid, restored.gid
        )
    });
    Ok(exit::OK)
}

/// `/dir/name`, from the volume's root.
fn split(path: &str) -> Result<(Vec<&str>, &str), CliError> {
    let wrong = || CliError::Usage(format!("--as {path:?}: give the path from the volume's root, such as /dir/name"));
    let mut names: Vec<&str> = path.strip_prefix('/').ok_or_else(wrong)?.split('/').collect();
    if names.iter().any(|name| name.is_empty() || matches!(*name, "." | "..")) {
        return Err(wrong());
    }
    let name = names.pop().ok_or_else(wrong)?;
    Ok((names, name))
}

fn wanted<'a>(whole: &'a Whole, id: &str, path: &str) -> Result<&'a FileImage, CliError> {
    let mut regular = whole.image.files.values().filter(|file| file.regular() && !file.removed);
    let named = |file: &&FileImage| whole.path(file.inode).is_some_and(|found| path_text(&found) == path);
    regular.find(named).ok_or_else(|| {
        CliError::Failed(format!("the quarantine holds no file {path:?}; `mainstay quarantine diff {id}` lists what it holds"))
    })
}

/// A file with holes where older content was would be taken for the whole one.
fn complete(whole: &Whole, file: &FileImage, id: &str, path: &str) -> Result<(), CliError> {
    let parts = whole.image.parts(file);
    let lacking: u64 = parts.iter().map(|part| if let Part::Before(range) = part { range.end - range.start } else { 0 }).sum();
    let damaged =
        parts.iter().any(|part| matches!(part, Part::Tail { extent, .. } if whole.image.damaged.contains(&extent.position.0)));
    let why = match (lacking, damaged) {
        (0, false) => return Ok(()),
        (0, true) => "a part of its data is damaged in the quarantine".to_string(),
        (bytes, _) => format!("{bytes} of its {} bytes were there before and are not in the quarantine", file.size()),
    };
    Err(CliError::Failed(format!("{path} is not put back: {why}; `mainstay quarantine export {id} --out DIR` gives what there is")))
}

fn connect(volume: &VolumeDetails) -> Result<Client, CliError> {
    let hint = "`quarantine export`, and `cp` on a machine that mounts the volume, do the same";
    let address: IpAddr = volume.export.service_address.parse().map_err(|_| {
        CliError::Failed(format!("{:?} is no address that this program can reach; {hint}", volume.export.service_address))
    })?;
    let (address, export) = (SocketAddr::new(address, volume.export.port), format!("/{}", volume.name));
    Client::connect(address, &export, Options::default())
        .map_err(|error| CliError::Failed(format!("{error}; restoring writes as a client of the volume: {hint}")))
}

fn directory(nfs: &mut Client, names: &[&str]) -> Result<Handle, CliError> {
    let mut dir = nfs.root();
    for name in names {
        dir = nfs.lookup(&dir, name).map_err(|error| failed(&format!("the directory {name:?} of --as"), &error))?;
    }
    Ok(dir)
}

async fn write(
    held: &Held,
    whole: &Whole,
    file: &FileImage,
    nfs: &mut Client,
    (dir, name): (&Handle, &str),
) -> Result<(), CliError> {
    let temporary = format!(".mainstay-restore-{}", std::process::id());
    let mode = file.row.as_ref().map(|row| row.mode & 0o777);
    let set = SetAttributes { mode, size: Some(file.size()), ..SetAttributes::default() };
    let made = nfs.create(dir, &temporary, CreateHow::Guarded(set)).map_err(|error| failed("making the file", &error))?;
    let filled = fill(held, whole, file, nfs, &made).await;
    let linked = filled.and_then(|()| {
        nfs.link(&made, dir, name).map_err(|error| match error.refusal() {
            Some(FileError::Exists) => CliError::Failed(format!("{name} is there already; it was left as it is")),
            _ => failed("giving it its name", &error),
        })
    });
    let removed = nfs.remove(dir, &temporary);
    linked?;
    removed.map_err(|error| CliError::Failed(format!("it is restored, but {temporary} beside it could not be removed: {error}")))
}

async fn fill(held: &Held, whole: &Whole, file: &FileImage, nfs: &mut Client, made: &Handle) -> Result<(), CliError> {
    for part in whole.image.parts(file) {
        // Zeros are there by the size already; older content was refused before.
        let Part::Tail { at, extent } = part else { continue };
        let data = held.data(at, &extent).await?;
        let mut data = data.ok_or_else(|| CliError::Failed("the quarantine's data is damaged; nothing was changed".into()))?;
        let mut offset = extent.offset;
        while !data.is_empty() {
            let piece = data.slice(..data.len().min(WRITE_BYTES));
            let written = nfs.write(made, offset, piece, Stability::FileSync).map_err(|error| failed("writing", &error))?;
            if written.count == 0 {
                return Err(CliError::Failed("the server writes nothing; nothing was changed".into()));
            }
            offset += u64::from(written.count);
            data = data.slice(data.len().min(written.count as usize)..);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_path_is_one_from_the_root() {
        assert_eq!(split("/a/b c").unwrap(), (vec!["a"], "b c"));
        assert_eq!(split("/a").unwrap(), (vec![], "a"));
        for bad in ["", "a", "/", "/a/", "/a//b", "/../a", "/a/.."] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
