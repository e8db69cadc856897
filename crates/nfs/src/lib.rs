//! Translates NFSv3, MOUNT and portmap (RFC 1813, RFC 5531, RFC 1833) to file requests and back. Decides nothing: what a
//! request does is the volume's matter, whether this node may answer at all is the replica's.
//!
//! Sans-IO. A socket loop feeds a [`RecordReader`], hands each record to [`Front::call`], and gets either a finished reply or a
//! file request with a [`Context`] that [`Front::reply`] later turns into the reply's bytes. The [`client`] module is the other
//! side of the same wire, for benchmarks, the demo and the simulator.
//!
//! Architecture invariant: no length that a peer sends leads to an allocation of that length before as many bytes have
//! arrived, and no decoder panics.
//!
//! Architecture invariant: no role, lease or epoch appears here.

mod arguments;
pub mod client;
mod directory;
pub mod export;
mod framing;
mod front;
pub mod handle;
mod mount;
mod portmap;
mod procedure;
mod reply;
pub mod rpc;
mod wire;
pub mod xdr;

pub use export::{Access, ClientRule, Export, ExportError, Network, Squash};
pub use framing::{FramingError, RECORD_BYTES_MAX, RecordReader};
pub use front::{Call, Context, Front};
pub use handle::{HANDLE_BYTES, HandleKey};
pub use procedure::{MOUNT_PROGRAM, MountProcedure, NFS_PROGRAM, PORTMAP_PROGRAM, Procedure};
