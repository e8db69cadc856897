//! Small disks that can be full: a file with an ext4 file system in it, on a loop device.

use super::network::run;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Room is taken in pieces, from large to small, until not even the smallest fits.
const PIECES_BYTES: [usize; 3] = [1 << 20, 64 << 10, 4 << 10];

pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    pub fn mount(dir: &Path, name: &str, mebibytes: u64) -> Result<SmallDisk, String> {
        let (image, place) = (dir.join(format!("{name}.img")), dir.join(format!("{name}.disk")));
        let made = File::create(&image).and_then(|file| file.set_len(mebibytes << 20)).and_then(|()| std::fs::create_dir(&place));
        made.map_err(|error| error.to_string())?;
        let (image, place) = (image.display().to_string(), place.display().to_string());
        // No room is kept for root: full means full.
        run("mkfs.ext4", &["-q", "-m", "0", &image])?;
        // The loop device goes with the mount.
        run("mount", &["-o", "loop", &image, &place])?;
        Ok(SmallDisk { place: place.into() })
    }

    /// Where the node may keep its data.
    pub fn directory(&self) -> PathBuf {
        self.place.join("data")
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    /// Takes all the room there is, again and again until `until` says that it was noticed: room may come free meanwhile.
    pub fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).expect("a name costs no room");
        for bytes in PIECES_BYTES {
            let piece = vec![0xf1; bytes];
            loop {
                match filler.write_all(&piece).and_then(|()| filler.sync_data()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("the disk should be full, but: {error}"),
                }
            }
        }
    }

    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("the filler is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The mount namespace goes with the scenario in any case.
        let _ = run("umount", &["-l", &self.place.display().to_string()]);
    }
}
