//! The MOUNT protocol, version 3 (RFC 1813 section 5).
//!
//! Only the root of an export can be mounted. A path below it is refused with MNT3ERR_NOENT: walking it would be a file operation,
//! and a client that mounts the export gets there by LOOKUP.

use crate::export::{Export, MACHINE_BYTES_MAX, PATH_BYTES_MAX};
use crate::front::Front;
use crate::procedure::MountProcedure;
use crate::rpc::{self, Refusal};
use crate::xdr::{Reader, Writer};
use bytes::Bytes;
use mainstay_protocol::FileId;
use std::net::IpAddr;

const MNT3_OK: u32 = 0;
const MNT3ERR_NOENT: u32 = 2;
const MNT3ERR_ACCES: u32 = 13;

const _: () = assert!(MACHINE_BYTES_MAX >= "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128".len());

impl Front {
    pub(crate) fn mount(
        &self,
        client: IpAddr,
        procedure: MountProcedure,
        xid: u32,
        arguments: Bytes,
    ) -> Result<Vec<Bytes>, Refusal> {
        let mut w = rpc::write_success(xid);
        let path = || Reader::new(arguments).opaque(PATH_BYTES_MAX).map_err(|_| Refusal::GarbageArguments);
        match procedure {
            // 5.2.0
            MountProcedure::Null => {}
            // 5.2.1
            MountProcedure::Mnt => self.mnt(&mut w, client, &path()?),
            // 5.2.2: the list of mounts is advice that no server can keep true; a server that forgets nothing because it
            // remembers nothing answers the same on every replica.
            MountProcedure::Dump => w.bool(false),
            // 5.2.3: nothing to forget.
            MountProcedure::Umnt => drop(path()?),
            // 5.2.4
            MountProcedure::UmntAll => {}
            // 5.2.5
            MountProcedure::Export => self.export_list(&mut w, client),
        }
        Ok(w.finish())
    }

    fn mnt(&self, w: &mut Writer, client: IpAddr, path: &[u8]) {
        match self.find_export(client, path) {
            Ok(export) => {
                w.u32(MNT3_OK);
                w.opaque(&self.handles.encode(export.volume, FileId::ROOT));
                // `auth_flavors`
                w.u32(1);
                w.u32(rpc::AUTH_SYS);
            }
            Err(status) => w.u32(status),
        }
    }

    fn find_export(&self, client: IpAddr, path: &[u8]) -> Result<&Export, u32> {
        let path = without_end_slashes(path);
        let export = self.exports.iter().find(|export| export.path.as_bytes() == path).ok_or(MNT3ERR_NOENT)?;
        export.access(client).map(|_| export).ok_or(MNT3ERR_ACCES)
    }

    /// Only what this client may mount: the rest is none of its business.
    fn export_list(&self, w: &mut Writer, client: IpAddr) {
        for export in self.exports.iter().filter(|export| export.access(client).is_some()) {
            w.bool(true);
            w.opaque(export.path.as_bytes());
            for rule in &export.clients {
                w.bool(true);
                w.opaque(rule.network.to_string().as_bytes());
            }
            w.bool(false);
        }
        w.bool(false);
    }
}

/// `path` without slashes at its end; the root stays the root.
fn without_end_slashes(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte != b'/') {
        Some(last) => &path[..=last],
        None => &path[..path.len().min(1)],
    }
}
