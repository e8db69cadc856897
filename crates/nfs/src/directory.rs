//! READDIR and READDIRPLUS results (RFC 1813 sections 3.3.16, 3.3.17), trimmed to what the client has room for.
//!
//! Cookies are persistent numbers of entries that survive deletes, compaction and failover, so no directory change ever makes
//! one invalid. The cookie verifier exists for servers whose cookies do become invalid; ours is constant.

use crate::arguments::ReplyLimits;
use crate::handle::{HANDLE_BYTES, Handles};
use crate::wire::ATTRIBUTES_BYTES;
use crate::xdr::{Writer, opaque_len};
use mainstay_protocol::file::DirectoryEntry;
use mainstay_protocol::{Attributes, VolumeId};

const COOKIE_VERIFIER: [u8; 8] = [0; 8];
/// `dir_attributes`, `cookieverf`, the end of the list and `eof`.
const AROUND_BYTES: usize = (4 + ATTRIBUTES_BYTES) + 8 + 4 + 4;

/// Bytes of an entry without attributes and handle: list word, `fileid`, name, cookie.
fn name_bytes(entry: &DirectoryEntry) -> usize {
    4 + 8 + opaque_len(entry.name.len()) + 8
}

/// Bytes of `name_attributes` and `name_handle`.
fn plus_bytes(entry: &DirectoryEntry) -> usize {
    if entry.attributes.is_some() { 4 + ATTRIBUTES_BYTES + 4 + opaque_len(HANDLE_BYTES) } else { 4 + 4 }
}

/// How many of `entries` the client has room for; `None` when the result would not fit with even one of them, or not at all
/// (NFS3ERR_TOOSMALL). The first entry passes `dircount` in any case: clients that give less than a name takes mean it as a hint,
/// and an empty result that is not the end would make them ask for ever.
pub(crate) fn entries_fitting(entries: &[DirectoryEntry], plus: bool, limits: ReplyLimits) -> Option<usize> {
    let mut whole = AROUND_BYTES;
    let mut names = 0usize;
    let mut fitting = 0;
    for entry in entries {
        names = names.saturating_add(name_bytes(entry));
        whole = whole.saturating_add(name_bytes(entry) + if plus { plus_bytes(entry) } else { 0 });
        if whole > limits.whole as usize || (fitting > 0 && names > limits.names as usize) {
            break;
        }
        fitting += 1;
    }
    let fits = AROUND_BYTES <= limits.whole as usize && (fitting > 0 || entries.is_empty());
    fits.then_some(fitting)
}

/// Where the handles of a listing belong.
pub(crate) struct Listing<'a> {
    pub handles: &'a Handles,
    pub volume: VolumeId,
    pub plus: bool,
}

impl Listing<'_> {
    /// `READDIR3resok` or `READDIRPLUS3resok`.
    pub(crate) fn write(&self, w: &mut Writer, dir: &Attributes, entries: &[DirectoryEntry], eof: bool) {
        let fsid = self.handles.fsid(self.volume);
        w.after(Some(dir), fsid);
        w.fixed(&COOKIE_VERIFIER);
        for entry in entries {
            w.bool(true);
            w.u64(entry.inode);
            w.opaque(&entry.name);
            w.u64(entry.cookie);
            if self.plus {
                self.attributes_and_handle(w, entry.attributes.as_ref(), fsid);
            }
        }
        w.bool(false);
        w.bool(eof);
    }

    /// The handle's generation is known from the attributes only, so they come together or not at all.
    fn attributes_and_handle(&self, w: &mut Writer, attributes: Option<&Attributes>, fsid: u64) {
        w.after(attributes, fsid);
        w.bool(attributes.is_some());
        if let Some(attributes) = attributes {
            w.opaque(&self.handles.encode(self.volume, attributes.file));
        }
    }
}
