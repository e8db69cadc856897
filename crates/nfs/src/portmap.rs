//! The port mapper, version 2 (RFC 1833 section 3), as far as clients ask it: where NFS and MOUNT are. Registration is refused:
//! nobody else's service is announced here.

use crate::front::Front;
use crate::procedure::{MOUNT_PROGRAM, MOUNT_VERSION, NFS_PROGRAM, NFS_VERSION};
use crate::rpc::{self, CallHeader, Refusal};
use crate::xdr::{Reader, XdrError};
use bytes::Bytes;

const PROC_NULL: u32 = 0;
const PROC_GETPORT: u32 = 3;
const PROC_DUMP: u32 = 4;
const PROTOCOL_TCP: u32 = 6;
const SERVED: [(u32, u32); 2] = [(NFS_PROGRAM, NFS_VERSION), (MOUNT_PROGRAM, MOUNT_VERSION)];

impl Front {
    pub(crate) fn portmap(&self, call: CallHeader) -> Result<Vec<Bytes>, Refusal> {
        let mut w = rpc::write_success(call.xid);
        match call.procedure {
            PROC_NULL => {}
            PROC_GETPORT => {
                let (program, version, protocol) = mapping(call.arguments).map_err(|_| Refusal::GarbageArguments)?;
                let served = protocol == PROTOCOL_TCP && SERVED.contains(&(program, version));
                // Zero says that the program is not registered.
                w.u32(if served { u32::from(self.port) } else { 0 });
            }
            PROC_DUMP => {
                for (program, version) in SERVED {
                    w.bool(true);
                    [program, version, PROTOCOL_TCP, u32::from(self.port)].into_iter().for_each(|word| w.u32(word));
                }
                w.bool(false);
            }
            _ => return Err(Refusal::ProcedureUnavailable),
        }
        Ok(w.finish())
    }
}

fn mapping(arguments: Bytes) -> Result<(u32, u32, u32), XdrError> {
    let mut reader = Reader::new(arguments);
    let mapping = (reader.u32()?, reader.u32()?, reader.u32()?);
    let _port = reader.u32()?;
    Ok(mapping)
}
