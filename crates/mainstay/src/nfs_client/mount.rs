//! From an address to the root's file handle: portmap (RFC 1833) where a port is not known, then MOUNT (RFC 1813 section 5).

use super::connection::dial;
use super::{ConnectError, Options};
use bytes::Bytes;
use mainstay_nfs::client::{Handle, MountAnswer, MountError, MountReply, MountRequest, decode_mount, encode_mount};
use mainstay_nfs::rpc::{self, Credential, ReplyError};
use mainstay_nfs::{MOUNT_PROGRAM, NFS_PROGRAM, PORTMAP_PROGRAM, RecordReader};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

const PORTMAP_PORT: u16 = 111;
const PORTMAP_VERSION: u32 = 2;
/// PMAPPROC_GETPORT (RFC 1833 section 3.2).
const GET_PORT: u32 = 3;
const PROTOCOL_TCP: u32 = 6;
/// Both NFS and MOUNT are asked for in this version.
const VERSION: u32 = 3;
/// Most exports that an error message lists.
const OFFERED_MAX: usize = 8;

/// MOUNT's answer, asked at `options.mount_port` of the server. A refusal is tried once more from a reserved port where this
/// process may use one, since that is what servers ask for that trust root's ports; `options` then says so.
pub fn mount(nfs: SocketAddr, export: &str, options: &mut Options) -> Result<Handle, ConnectError> {
    let address = SocketAddr::new(nfs.ip(), options.mount_port.unwrap_or(nfs.port()));
    let result = mount_once(address, export, options);
    let refused = matches!(
        &result,
        Err(ConnectError::Mount { error: MountError::AccessDenied, .. }
            | ConnectError::NotServed { error: ReplyError::Refused(rpc::Refusal::Auth(_)), .. })
    );
    if !refused || options.reserved_port || !rustix::process::geteuid().is_root() {
        return result;
    }
    options.reserved_port = true;
    // The first refusal is the better explanation when the port was not the reason.
    mount_once(address, export, options).or(result)
}

fn mount_once(address: SocketAddr, export: &str, options: &Options) -> Result<Handle, ConnectError> {
    let request = MountRequest::Mount { path: export.to_owned() };
    match ask(address, options, &request)?.result {
        Ok(MountAnswer::Mounted { root, .. }) => Ok(root),
        Ok(_) => Err(ConnectError::Garbled { address, what: "MOUNT" }),
        Err(error) => {
            let offered = offered(address, options).unwrap_or_default();
            Err(ConnectError::Mount { address, export: export.to_owned(), error, offered })
        }
    }
}

/// What the server exports, for the error message.
fn offered(address: SocketAddr, options: &Options) -> Result<Vec<String>, ConnectError> {
    let MountReply { result: Ok(MountAnswer::Exports(exports)), .. } = ask(address, options, &MountRequest::Exports)? else {
        return Ok(Vec::new());
    };
    Ok(exports.iter().take(OFFERED_MAX).map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect())
}

fn ask(address: SocketAddr, options: &Options, request: &MountRequest) -> Result<MountReply, ConnectError> {
    let call = encode_mount(std::process::id(), &options.credential, request);
    let record = exchange(address, options, "MOUNT", &call)?;
    decode_mount(request.procedure(), record).map_err(|error| ConnectError::NotServed { address, what: "MOUNT", error })
}

/// Where the server's portmapper says that NFS and MOUNT are.
pub fn ports(host: SocketAddr, options: &Options) -> Result<(u16, u16), ConnectError> {
    let address = SocketAddr::new(host.ip(), PORTMAP_PORT);
    let port = |program, what| match port_of(address, program, options)? {
        0 => Err(ConnectError::NotRegistered { address, what }),
        port => Ok(port),
    };
    Ok((port(NFS_PROGRAM, "NFS")?, port(MOUNT_PROGRAM, "MOUNT")?))
}

fn port_of(address: SocketAddr, program: u32, options: &Options) -> Result<u16, ConnectError> {
    let what = "portmap";
    let xid = std::process::id();
    let mut call = rpc::write_call(xid, PORTMAP_PROGRAM, PORTMAP_VERSION, GET_PORT, &Credential::None, "");
    [program, VERSION, PROTOCOL_TCP, 0].into_iter().for_each(|word| call.u32(word));
    let record = exchange(address, options, what, &call.finish())?;
    let (_, mut reader) = rpc::read_reply(record).map_err(|error| ConnectError::NotServed { address, what, error })?;
    let port = reader.u32().ok().and_then(|port| u16::try_from(port).ok());
    port.ok_or(ConnectError::Garbled { address, what })
}

/// One call on a connection of its own.
fn exchange(address: SocketAddr, options: &Options, what: &'static str, call: &[Bytes]) -> Result<Bytes, ConnectError> {
    let until = Instant::now() + options.connect_timeout;
    let unreachable = |source| ConnectError::Unreachable { address, what, source };
    let mut stream = dial(address, options.connect_timeout, options.reserved_port).map_err(unreachable)?;
    receive(&mut stream, &call.concat(), until).map_err(unreachable)
}

fn receive(stream: &mut TcpStream, call: &[u8], until: Instant) -> io::Result<Bytes> {
    stream.write_all(call)?;
    let mut reader = RecordReader::new();
    let mut buffer = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => reader.push(&buffer[..read]),
            // What a read timeout looks like.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
        if let Some(record) = reader.next_record().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))? {
            return Ok(record);
        }
    }
}
