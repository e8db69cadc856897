//! Setting a whole copy aside: ordered while the node runs, done before the copy is opened the next time, so that it is another boot that
//! begins with the empty one. Nothing is removed: the files are moved beside the volume's directory. What is in quarantine stays where
//! it is listed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The order; it holds the name of the directory that the files are moved to, so that a start that was interrupted goes on.
const ORDER: &str = "set-aside";

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Durable when it returns. `at`: wall clock in seconds, for the name.
pub fn ask_for(directory: &Path, at: i64) -> io::Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!("{ORDER}.new"));
    fs::write(&temporary, format!("{name}.aside-{at}"))?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, directory.join(ORDER))?;
    sync(directory)
}

/// Does what was ordered; where the files are now, if anything was.
pub fn follow_order(directory: &Path) -> io::Result<Option<PathBuf>> {
    let order = directory.join(ORDER);
    let target = match fs::read_to_string(&order) {
        // What is no directory is said where it is opened.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        read => beside(directory, &read?)?,
    };
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text != ORDER && !text.starts_with("quarantine-") {
            fs::rename(entry.path(), target.join(&name))?;
        }
    }
    sync(&target)?;
    sync(directory)?;
    fs::remove_file(&order)?;
    sync(directory)?;
    Ok(Some(target))
}

/// A name, and never a path: the file may be damaged.
fn beside(directory: &Path, name: &str) -> io::Result<PathBuf> {
    let own = directory.file_name().unwrap_or_default().to_string_lossy();
    let plain =
        name.strip_prefix(&*own).and_then(|rest| rest.strip_prefix(".aside-")).and_then(|number| number.parse::<i64>().ok());
    match (plain, directory.parent()) {
        (Some(_), Some(parent)) => Ok(parent.join(name)),
        _ => Err(io::Error::other(format!(
            "{} does not say where to; remove that one file, and ask again",
            directory.join(ORDER).display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_copy_is_moved_whole_once_and_what_is_in_quarantine_stays() {
        let scratch = TestDir::new("aside");
        let directory = scratch.path().join("v1");
        fs::create_dir_all(&directory).unwrap();
        let files = ["log-00000001.seg", "quarantine-n1-e1-3-9.log", "view.redb"];
        files.iter().for_each(|name| fs::write(directory.join(name), name).unwrap());
        assert_eq!(follow_order(&directory).unwrap(), None);
        ask_for(&directory, 1_700_000_000).unwrap();

        // Interrupted after the first file: the next start goes on with the same target.
        let target = scratch.path().join("v1.aside-1700000000");
        fs::create_dir_all(&target).unwrap();
        fs::rename(directory.join(files[0]), target.join(files[0])).unwrap();
        assert_eq!(follow_order(&directory).unwrap(), Some(target.clone()));
        assert_eq!(names(&target), ["log-00000001.seg", "view.redb"]);
        assert_eq!(names(&directory), ["quarantine-n1-e1-3-9.log"]);
        assert_eq!(fs::read_to_string(target.join(files[0])).unwrap(), files[0]);
        assert_eq!(follow_order(&directory).unwrap(), None, "once");
    }

    #[test]
    fn a_damaged_order_moves_nothing() {
        let scratch = TestDir::new("aside-damaged");
        let directory = scratch.path().join("v1");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("view.redb"), "rows").unwrap();
        for order in ["", "../elsewhere", "v1.aside-../../etc", "v2.aside-1"] {
            fs::write(directory.join(ORDER), order).unwrap();
            assert!(follow_order(&directory).is_err(), "{order:?}");
            assert!(directory.join("view.redb").exists());
        }
    }
}
