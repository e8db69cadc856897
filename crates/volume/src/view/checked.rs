//! A checksum for every page of the view's file. redb has checksums too, but looks at them only when it repairs: without these,
//! a flipped bit would be served as metadata, or make redb panic.
//!
//! The file is groups of one *sum page* and up to [`GROUP_PAGES`] pages of redb's, so redb's page `n` lies at page
//! `n + n / GROUP_PAGES + 1`. The sum page holds the CRC-32C of each page of its group, little endian; zero means that the page
//! was never written. Page 0 is exempt: redb writes its header in place, with checksums of its own.
//!
//! Sums are kept in memory and written before every sync. A crash may leave pages newer than their sums, but only such as no
//! commit refers to: redb never writes over a page that one does, and a sum is shorter than a sector, so it is whole.
//!
//! A full disk stops here, too: see [`super::withheld`].

use crate::error::is_full;
use crate::view::error::ViewError;
use crate::view::withheld::{Order, Withheld};
use mainstay_protocol::record::crc32c;
use redb::StorageBackend;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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
    /// Since the disk was full.
    withheld: RwLock<Option<Withheld>>,
}

/// redb's handle of the file.
#[derive(Debug)]
pub(crate) struct Handle(pub Arc<Checked>);

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
            Ok(0) => Ok(Checked { inner, sums: RwLock::default(), withheld: RwLock::default() }),
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
        Ok(Checked { inner, sums: RwLock::new(Sums { of, dirty: BTreeSet::new() }), withheld: RwLock::default() })
    }

    /// Carries out what was withheld, as far as there is room now. True when everything that redb wrote and synced is written
    /// and synced.
    pub fn release(&self) -> io::Result<bool> {
        while let Some(order) = self.first_withheld() {
            // Not under the lock: look-ups go on meanwhile.
            match self.carry_out(&order) {
                Err(error) if is_full(error.kind()) => return Ok(false),
                other => other?,
            }
            let mut withheld = self.withheld_mut();
            if withheld.as_mut().is_some_and(Withheld::carried_out) {
                *withheld = None;
            }
        }
        Ok(true)
    }

    fn first_withheld(&self) -> Option<Order> {
        self.withheld().as_ref().and_then(Withheld::first)
    }

    fn carry_out(&self, order: &Order) -> io::Result<()> {
        match order {
            Order::Page(page, data) => self.write_pages(*page, data).map(drop),
            Order::Header(offset, data) => self.inner.write(place(0) + offset, data),
            Order::Length(pages) => self.set_pages(*pages),
            Order::Sync => self.sync_now(),
        }
    }

    /// A sync that fails is no matter of room, whatever it says: what it was for may be lost.
    fn sync_now(&self) -> io::Result<()> {
        self.write_sums()?;
        self.inner.sync_data().map_err(|error| if is_full(error.kind()) { io::Error::other(error) } else { error })
    }

    fn sums(&self) -> RwLockReadGuard<'_, Sums> {
        self.sums.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn sums_mut(&self) -> RwLockWriteGuard<'_, Sums> {
        self.sums.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn withheld(&self) -> RwLockReadGuard<'_, Option<Withheld>> {
        self.withheld.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn withheld_mut(&self) -> RwLockWriteGuard<'_, Option<Withheld>> {
        self.withheld.write().unwrap_or_else(PoisonError::into_inner)
    }
    /// Pages of the file on the disk.
    fn pages(&self) -> u64 {
        self.sums().of.len() as u64
    }

    /// Does it now, or withholds it: when something is withheld already, or when there is no room. The lock is shared with
    /// look-ups while the disk works.
    fn now_or_later(
        &self,
        now: impl FnOnce() -> io::Result<()>,
        later: impl FnOnce(&mut Withheld) -> io::Result<()>,
    ) -> io::Result<()> {
        let withheld = self.withheld();
        if withheld.is_none() {
            match now() {
                Err(error) if is_full(error.kind()) => {}
                other => return other,
            }
        }
        drop(withheld);
        later(self.withheld_mut().get_or_insert_with(|| Withheld::new(self.pages())))
    }

    /// A page, some of which may be withheld.
    fn read_page(&self, withheld: &Withheld, page: u64, out: &mut [u8]) -> io::Result<()> {
        match withheld.page(page) {
            Some(data) => out.copy_from_slice(&data),
            None if page < self.pages() => self.read_pages(page, out).map(drop)?,
            None => out.fill(0),
        }
        Ok(())
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

    fn write_whole(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            done += self.write_pages((offset + done as u64) / PAGE, &data[done..])?;
        }
        Ok(())
    }

    fn set_pages(&self, pages: u64) -> io::Result<()> {
        let mut sums = self.sums_mut();
        self.inner.set_len(file_bytes(pages))?;
        let from = pages.min(sums.of.len() as u64) / GROUP_PAGES;
        sums.of.resize(pages as usize, 0);
        // Sums of pages that were cut off are forgotten on disk as well.
        sums.dirty.retain(|group| group * GROUP_PAGES < pages);
        sums.dirty.extend(from..pages.div_ceil(GROUP_PAGES));
        Ok(())
    }

    /// The header page is exempt from sums: no more of it is written than redb asks, so a torn write tears no more either.
    fn write_header(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let later = |withheld: &mut Withheld| {
            let mut whole = [0; PAGE_BYTES];
            self.read_page(withheld, 0, &mut whole)?;
            whole[offset as usize..offset as usize + data.len()].copy_from_slice(data);
            withheld.write_header(offset, data, whole[..].into());
            Ok(())
        };
        self.now_or_later(|| self.inner.write(place(0) + offset, data), later)
    }
}

/// Bytes from a page on until its group ends.
fn span(first: u64, len: usize) -> usize {
    len.min((GROUP_PAGES - first % GROUP_PAGES) as usize * PAGE_BYTES)
}

fn whole(offset: u64, len: usize) -> bool {
    offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE_BYTES)
}

impl Checked {
    fn len(&self) -> u64 {
        self.withheld().as_ref().map_or_else(|| self.pages(), Withheld::pages) * PAGE
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if !whole(offset, out.len()) {
            let (first, pages) = self.whole_pages_around(offset, out.len())?;
            let from = (offset - first * PAGE) as usize;
            out.copy_from_slice(&pages[from..from + out.len()]);
            return Ok(());
        }
        if offset + out.len() as u64 > self.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(withheld) = self.withheld().as_ref() {
            let mut pages = (offset / PAGE..).zip(out.chunks_mut(PAGE_BYTES));
            return pages.try_for_each(|(page, out)| self.read_page(withheld, page, out));
        }
        let mut done = 0;
        while done < out.len() {
            done += self.read_pages((offset + done as u64) / PAGE, &mut out[done..])?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 <= PAGE {
            return self.write_header(offset, data);
        }
        if !whole(offset, data.len()) {
            let (first, mut pages) = self.whole_pages_around(offset, data.len())?;
            let from = (offset - first * PAGE) as usize;
            pages[from..from + data.len()].copy_from_slice(data);
            return self.write(first * PAGE, &pages);
        }
        let later = |withheld: &mut Withheld| {
            (offset / PAGE..).zip(data.chunks(PAGE_BYTES)).for_each(|(page, data)| withheld.write(page, data));
            Ok(())
        };
        self.now_or_later(|| self.write_whole(offset, data), later)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let pages = len.div_ceil(PAGE);
        let later = |withheld: &mut Withheld| {
            withheld.set_len(pages);
            Ok(())
        };
        self.now_or_later(|| self.set_pages(pages), later)
    }

    fn sync_data(&self) -> io::Result<()> {
        let later = |withheld: &mut Withheld| {
            withheld.sync();
            Ok(())
        };
        self.now_or_later(|| self.sync_now(), later)
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
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
