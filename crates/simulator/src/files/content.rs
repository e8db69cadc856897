//! What a file may hold while some of its writes are not committed (RFC 1813 3.3.7, 3.3.21).
//!
//! Unstable writes may be lost, each by itself, as long as the write verifier tells: a client that sees another verifier than
//! the one a write was answered with sends the data again. A write that is gone under its own verifier is a violation.

use super::Verdict;
use mainstay_protocol::file::WriteVerifier;

#[derive(Clone, Debug)]
struct Layer {
    offset: usize,
    data: Vec<u8>,
    verifier: WriteVerifier,
    stable: bool,
    /// Sent again, because the verifier changed: a newer layer covers it, this one may be there or not.
    stale: bool,
    /// A read showed that it is gone.
    missing: bool,
}

/// Committed bytes and the writes above them.
#[derive(Clone, Debug, Default)]
pub struct Content {
    base: Vec<u8>,
    layers: Vec<Layer>,
    /// Base with all layers: what a server that lost nothing holds.
    latest: Vec<u8>,
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl Layer {
    fn at(&self, index: usize) -> Option<u8> {
        self.data.get(index.checked_sub(self.offset)?).copied()
    }
    fn end(&self) -> usize {
        self.offset + self.data.len()
    }
    fn may_be_lost(&self) -> bool {
        !self.stable
    }
}

impl Content {
    pub fn latest(&self) -> &[u8] {
        &self.latest
    }

    /// Whether a loss could still be seen: then sizes and times may go back too.
    pub fn uncertain(&self) -> bool {
        !self.layers.is_empty()
    }

    /// A stable change of the size; the client flushed before it.
    pub fn set_size(&mut self, size: u64) {
        assert!(self.layers.is_empty(), "clients flush before they set the size");
        self.base.resize(size as usize, 0);
        self.latest.resize(size as usize, 0);
    }

    /// A write was acknowledged. Returns what must be sent again because the verifier is another one.
    pub fn written(
        &mut self,
        offset: u64,
        data: &[u8],
        stable: bool,
        verifier: WriteVerifier,
    ) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let offset = offset as usize;
        overwrite(&mut self.latest, offset, data);
        if self.layers.is_empty() && stable {
            overwrite(&mut self.base, offset, data);
        } else {
            let layer = Layer { offset, data: data.to_vec(), verifier, stable, stale: false, missing: false };
            self.layers.push(layer);
        }
        self.saw_verifier(verifier)
    }

    /// COMMIT of the whole file was answered. Empty: everything is durable now.
    pub fn committed(&mut self, verifier: WriteVerifier) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let again = self.saw_verifier(verifier)?;
        if again.is_empty() {
            // The committed bytes with every write above them are the latest: cheaper than copying the whole file.
            let Content { base, layers, .. } = self;
            layers.drain(..).for_each(|layer| overwrite(base, layer.offset, &layer.data));
        }
        Ok(again)
    }

    fn saw_verifier(&mut self, verifier: WriteVerifier) -> Result<Vec<(u64, Vec<u8>)>, String> {
        if self.layers.iter().any(|layer| layer.missing && layer.may_be_lost() && layer.verifier == verifier) {
            return Err(
                "a write that was not yet stable is gone, but the write verifier is the same, so its client will not send it again"
                    .into(),
            );
        }
        let mut again = Vec::new();
        for layer in &mut self.layers {
            if layer.may_be_lost() && !layer.stale && layer.verifier != verifier {
                layer.stale = true;
                again.push((layer.offset as u64, self.latest[layer.offset..layer.end()].to_vec()));
            }
        }
        Ok(again)
    }

    /// Whether the server may say that the file is `size` long.
    pub fn check_size(&mut self, size: u64) -> Verdict {
        let size = size as usize;
        if size == self.latest.len() {
            return Ok(());
        }
        let sure = self.layers.iter().filter(|layer| layer.stable).map(Layer::end).fold(self.base.len(), usize::max);
        let possible = size == sure || (size > sure && self.layers.iter().any(|layer| layer.end() == size));
        if !possible {
            let (written, open) = (self.latest.len(), self.uncommitted());
            return Err(format!("its size is {size}, but {written} bytes were written, {sure} of them surely stable{open}"));
        }
        self.layers.iter_mut().filter(|layer| layer.end() > size).for_each(|layer| layer.missing = true);
        Ok(())
    }

    /// Whether the server may give `data` for a read at `offset` of a file that it says is `size` long.
    pub fn check_read(&mut self, offset: u64, count: u32, data: &[u8], size: u64) -> Verdict {
        self.check_size(size)?;
        let expected = (size.saturating_sub(offset)).min(count as u64) as usize;
        if data.len() != expected {
            return Err(format!("the read gave {} bytes; the file holds {expected} there", data.len()));
        }
        let offset = offset as usize;
        if self.latest.get(offset..offset + data.len()) == Some(data) {
            return Ok(());
        }
        (0..data.len()).try_for_each(|index| self.check_byte(offset + index, data[index]))
    }

    /// What a reader of a violation should know of writes that may still be lost.
    fn uncommitted(&self) -> String {
        match self.layers.iter().filter(|layer| layer.may_be_lost()).count() {
            0 => String::new(),
            open => format!(" ({open} writes are not committed yet)"),
        }
    }

    /// Newest value first; every layer passed over has lost this byte.
    fn check_byte(&mut self, index: usize, found: u8) -> Verdict {
        let newest = self.layers.iter().rposition(|layer| layer.at(index) == Some(found));
        let sure = self.layers.iter().rposition(|layer| layer.stable && layer.at(index).is_some());
        let from = match (newest, sure) {
            (Some(newest), _) if sure.is_none_or(|sure| newest >= sure) => newest + 1,
            (_, None) if self.base.get(index).copied().unwrap_or(0) == found => 0,
            _ => {
                let latest = self.latest.get(index).copied().unwrap_or(0);
                let open = self.uncommitted();
                return Err(format!("byte {index} of the file is {found:#04x}, but {latest:#04x} was written there{open}"));
            }
        };
        self.layers[from..].iter_mut().filter(|layer| layer.at(index).is_some()).for_each(|layer| layer.missing = true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: WriteVerifier = [1; 8];
    const NEW: WriteVerifier = [2; 8];

    #[test]
    fn a_lost_unstable_write_is_allowed_only_with_another_verifier() {
        let mut file = Content::default();
        assert_eq!(file.written(0, b"aaaa", true, OLD), Ok(vec![]));
        assert_eq!(file.written(2, b"bbbb", false, OLD), Ok(vec![]));
        let mut kept = file.clone();
        assert_eq!(kept.check_read(0, 9, b"aabbbb", 6), Ok(()));
        assert_eq!(kept.committed(OLD), Ok(vec![]));
        assert!(kept.check_read(0, 9, b"aaaa", 4).is_err());

        assert_eq!(file.check_read(0, 9, b"aaaa", 4), Ok(()));
        assert!(file.clone().committed(OLD).is_err());
        assert_eq!(file.committed(NEW), Ok(vec![(2, b"bbbb".to_vec())]));
        assert_eq!(file.written(2, b"bbbb", true, NEW), Ok(vec![]));
        assert_eq!(file.committed(NEW), Ok(vec![]));
        assert!(file.check_read(0, 9, b"aaaa", 4).is_err());
        assert_eq!(file.check_read(1, 3, b"abb", 6), Ok(()));
    }

    #[test]
    fn what_was_never_written_is_never_read() {
        let mut file = Content::default();
        file.written(0, b"aaaa", true, OLD).unwrap();
        file.written(0, b"bb", false, OLD).unwrap();
        file.written(1, b"cc", true, OLD).unwrap();
        assert_eq!(file.check_read(0, 4, b"bcca", 4), Ok(()));
        assert_eq!(file.check_read(0, 4, b"acca", 4), Ok(()));
        assert!(file.check_read(0, 4, b"bbca", 4).is_err());
        assert!(file.check_read(0, 4, b"xcca", 4).is_err());
        assert!(file.check_read(0, 4, b"bcc", 3).is_err());
        assert!(file.check_read(0, 4, b"bcc", 4).is_err());
    }
}
