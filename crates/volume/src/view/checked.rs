//! A checksum for every page of the view's file. redb has checksums too, but looks at them only when it repairs: without these,
//! a flipped bit would be served as metadata, or make redb panic.
//!
//! The file is groups of one *sum page* and up to [`GROUP_PAGES`] pages of redb's, so redb's page `n` lies at page
//! `n + n / GROUP_PAGES + 1`. The sum page holds the CRC-32C of each page of its group, little endian; zero means that the page
//! was never written. Page 0 is exempt: redb writes its header in place, with checksums of its own.
//!
//! Sums are kept in memory and written before every sync. A crash may leave pages newer than their sums, but only such as no
//! commit refers to: redb never writes over a page that one does, and a sum is shorter than a sector, so it is whole.

use crate::view::error::ViewError;
use mainstay_protocol::record::crc32c;
use redb::StorageBackend;
use std::collections::BTreeSet;
use std::io;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// redb's own page size (its file format fixes it), and so the unit of checksums.
const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;
/// Pages that share one sum page.
const GROUP_PAGES: u64 = PAGE / 4;

/// A backend that verifies what it reads.
#[derive(Debug)]
pub(crate) struct Checked {
    inner: Box<dyn StorageBackend>,
    sums: RwLock<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    /// By page of redb's; as many as the file has.
    of: Vec<u32>,
    /// Groups whose sum page must be written.
    dirty: BTreeSet<u64>,
}

/// Where a page of redb's lies.
fn place(page: u64) -> u64 {
    (page + page / GROUP_PAGES + 1) * PAGE
}
/// Where a group's sum page lies.
fn sum_place(group: u64) -> u64 {
    group * (GROUP_PAGES + 1) * PAGE
}
/// Bytes of a file that holds so many pages.
fn file_bytes(pages: u64) -> u64 {
    (pages + pages.div_ceil(GROUP_PAGES)) * PAGE
}
/// Pages that a file of so many bytes holds.
fn pages_in(bytes: u64) -> u64 {
    let all = bytes / PAGE;
    all - all.div_ceil(GROUP_PAGES + 1)
}

/// Never zero: that means "not written".
fn sum_of(page: &[u8]) -> u32 {
    crc32c(page).max(1)
}

impl Checked {
    /// Over an empty backend.
    pub fn create(inner: Box<dyn StorageBackend>) -> Result<Checked, ViewError> {
        match inner.len() {
            Ok(0) => Ok(Checked { inner, sums: RwLock::default() }),
            Ok(_) => Err(ViewError::Exists),
            Err(error) => Err(ViewError::Storage(error.to_string())),
        }
    }

    /// Over what was written before.
    pub fn open(inner: Box<dyn StorageBackend>) -> Result<Checked, ViewError> {
        let bytes = inner.len().map_err(|error| ViewError::Storage(error.to_string()))?;
        if bytes == 0 {
            return Err(ViewError::Missing);
        }
        let pages = pages_in(bytes);
        let mut of = Vec::with_capacity(pages as usize);
        let mut page = [0; PAGE_BYTES];
        for group in 0..pages.div_ceil(GROUP_PAGES) {
            inner.read(sum_place(group), &mut page).map_err(|error| ViewError::Storage(error.to_string()))?;
            of.extend(page.as_chunks::<4>().0.iter().map(|sum| u32::from_le_bytes(*sum)));
        }
        of.truncate(pages as usize);
        Ok(Checked { inner, sums: RwLock::new(Sums { of, dirty: BTreeSet::new() }) })
    }

    fn sums(&self) -> RwLockReadGuard<'_, Sums> {
        self.sums.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn sums_mut(&self) -> RwLockWriteGuard<'_, Sums> {
        self.sums.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whole pages, as far as one group goes; answers how many bytes that were.
    fn read_pages(&self, first: u64, out: &mut [u8]) -> io::Result<usize> {
        let len = span(first, out.len());
        let out = &mut out[..len];
        self.inner.read(place(first), out)?;
        let sums = self.sums();
        for (page, bytes) in (first..).zip(out.chunks(PAGE_BYTES)) {
            let sum = sums.of.get(page as usize).copied().unwrap_or(0);
            if page > 0 && sum != 0 && sum != sum_of(bytes) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("page {page} is damaged (checksum)")));
            }
        }
        Ok(len)
    }

    fn write_pages(&self, first: u64, data: &[u8]) -> io::Result<usize> {
        let len = span(first, data.len());
        let data = &data[..len];
        {
            let mut sums = self.sums_mut();
            for (page, bytes) in (first..).zip(data.chunks(PAGE_BYTES)) {
                let known = sums.of.get_mut(page as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
                *known = sum_of(bytes);
            }
            sums.dirty.insert(first / GROUP_PAGES);
        }
        self.inner.write(place(first), data)?;
        Ok(len)
    }

    fn whole_pages_around(&self, offset: u64, len: usize) -> io::Result<(u64, Vec<u8>)> {
        let first = offset / PAGE;
        let end = (offset + len as u64).div_ceil(PAGE);
        let mut pages = vec![0; (end - first) as usize * PAGE_BYTES];
        self.read(first * PAGE, &mut pages)?;
        Ok((first, pages))
    }

    fn write_sums(&self) -> io::Result<()> {
        let mut sums = self.sums_mut();
        while let Some(group) = sums.dirty.first().copied() {
            let mut page = [0; PAGE_BYTES];
            let of = sums.of.iter().skip((group * GROUP_PAGES) as usize);
            page.as_chunks_mut::<4>().0.iter_mut().zip(of).for_each(|(bytes, sum)| *bytes = sum.to_le_bytes());
            self.inner.write(sum_place(group), &page)?;
            sums.dirty.remove(&group);
        }
        Ok(())
    }
}

/// Bytes from a page on until its group ends.
fn span(first: u64, len: usize) -> usize {
    len.min((GROUP_PAGES - first % GROUP_PAGES) as usize * PAGE_BYTES)
}

fn whole(offset: u64, len: usize) -> bool {
    offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE_BYTES)
}

impl StorageBackend for Checked {
    fn len(&self) -> io::Result<u64> {
        Ok(self.sums().of.len() as u64 * PAGE)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if !whole(offset, out.len()) {
            let (first, pages) = self.whole_pages_around(offset, out.len())?;
            let from = (offset - first * PAGE) as usize;
            out.copy_from_slice(&pages[from..from + out.len()]);
            return Ok(());
        }
        if offset + out.len() as u64 > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < out.len() {
            done += self.read_pages((offset + done as u64) / PAGE, &mut out[done..])?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 <= PAGE {
            // The header page, exempt: no more of it is written than redb asks, so a torn write tears no more either.
            return self.inner.write(place(0) + offset, data);
        }
        if !whole(offset, data.len()) {
            let (first, mut pages) = self.whole_pages_around(offset, data.len())?;
            let from = (offset - first * PAGE) as usize;
            pages[from..from + data.len()].copy_from_slice(data);
            return self.write(first * PAGE, &pages);
        }
        let mut done = 0;
        while done < data.len() {
            done += self.write_pages((offset + done as u64) / PAGE, &data[done..])?;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let pages = len.div_ceil(PAGE);
        let mut sums = self.sums_mut();
        self.inner.set_len(file_bytes(pages))?;
        let from = pages.min(sums.of.len() as u64) / GROUP_PAGES;
        sums.of.resize(pages as usize, 0);
        // Sums of pages that were cut off are forgotten on disk as well.
        sums.dirty.retain(|group| group * GROUP_PAGES < pages);
        sums.dirty.extend(from..pages.div_ceil(GROUP_PAGES));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.write_sums()?;
        self.inner.sync_data()
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_lengths_fit_each_other() {
        for pages in (0..5000).chain([1 << 20, (1 << 20) + 1]) {
            assert_eq!(pages_in(file_bytes(pages)), pages);
            if pages > 0 {
                assert_eq!(place(pages - 1) + PAGE, file_bytes(pages), "the last page ends the file");
            }
        }
        assert_eq!((place(0), place(GROUP_PAGES)), (PAGE, sum_place(1) + PAGE));
    }

    fn patterned(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|at| ((at * 31 + seed * 7) >> 3) as u8).collect()
    }

    #[test]
    fn what_is_written_is_read_and_flips_are_noticed() {
        let memory = redb::backends::InMemoryBackend::new();
        let store = Checked::create(Box::new(memory)).unwrap();
        let pages = 2 * GROUP_PAGES + 10;
        store.set_len(pages * PAGE).unwrap();
        let across = patterned(20 * PAGE_BYTES, 1);
        store.write((GROUP_PAGES - 10) * PAGE, &across).unwrap();
        store.write(5 * PAGE + 100, b"unaligned").unwrap();
        store.sync_data().unwrap();
        let mut back = vec![0; across.len()];
        store.read((GROUP_PAGES - 10) * PAGE, &mut back).unwrap();
        assert_eq!(across, back);
        let mut some = [0; 9];
        store.read(5 * PAGE + 100, &mut some).unwrap();
        assert_eq!(&some, b"unaligned");
        store.inner.write(place(5) + 4000, &[9]).unwrap();
        assert_eq!(store.read(5 * PAGE + 100, &mut some).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(store.read(pages * PAGE - 4, &mut some).is_err());
    }

    #[test]
    fn a_file_that_shrank_and_grew_forgets_the_old_sums() {
        let store = Checked::create(Box::new(redb::backends::InMemoryBackend::new())).unwrap();
        store.set_len(20 * PAGE).unwrap();
        store.write(10 * PAGE, &patterned(PAGE_BYTES, 3)).unwrap();
        store.sync_data().unwrap();
        store.set_len(5 * PAGE).unwrap();
        store.set_len(20 * PAGE).unwrap();
        store.sync_data().unwrap();
        let mut page = vec![1; PAGE_BYTES];
        store.read(10 * PAGE, &mut page).unwrap();
        assert_eq!(page, vec![0; PAGE_BYTES]);
    }
}
