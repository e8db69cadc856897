//! The backend below redb.

use crate::view::error::ViewError;
use redb::StorageBackend;
use std::io;

/// A boxed backend as redb wants it.
#[derive(Debug)]
pub(crate) struct Checked {
    inner: Box<dyn StorageBackend>,
}

impl Checked {
    pub fn create(inner: Box<dyn StorageBackend>) -> Result<Checked, ViewError> {
        match inner.len() {
            Ok(0) => Ok(Checked { inner }),
            Ok(_) => Err(ViewError::Exists),
            Err(error) => Err(ViewError::Storage(error.to_string())),
        }
    }
    pub fn open(inner: Box<dyn StorageBackend>) -> Result<Checked, ViewError> {
        match inner.len() {
            Ok(0) => Err(ViewError::Missing),
            Ok(_) => Ok(Checked { inner }),
            Err(error) => Err(ViewError::Storage(error.to_string())),
        }
    }
}

impl StorageBackend for Checked {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}
