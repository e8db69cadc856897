//! Everything that reads what NFS clients and servers send. See `../README.md`.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstay_nfs::client;
use mainstay_nfs::rpc::{self, Credential};
use mainstay_nfs::{
    Access, Call, ClientRule, Export, Front, HandleKey, MOUNT_PROGRAM, MountProcedure, NFS_PROGRAM, Network, PORTMAP_PROGRAM,
    Procedure, RecordReader, Squash,
};
use mainstay_protocol::{ClusterId, FileError, FileId, VolumeId};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const VOLUME: VolumeId = VolumeId(1);

fn front() -> &'static Front {
    static FRONT: OnceLock<Front> = OnceLock::new();
    FRONT.get_or_init(|| {
        let clients = vec![ClientRule { network: Network::ALL_V4, access: Access::ReadWrite }];
        let export = Export { clients, squash: Squash::Root, ..Export::new("/files", VOLUME) };
        Front::new(ClusterId([1; 16]), HandleKey([2; 16]), vec![export], 2049).expect("a sound export")
    })
}

fn serve(record: Bytes) {
    if let Call::File { context, .. } = front().call(CLIENT, record) {
        front().reply(context, Err(FileError::TryLater.into()));
    }
}

/// The bytes as a stream with record marks.
fn stream(bytes: &[u8]) {
    let mut reader = RecordReader::new();
    for chunk in bytes.chunks(100) {
        reader.space().extend_from_slice(chunk);
        while let Ok(Some(record)) = reader.next_record() {
            serve(record);
        }
    }
}

/// Stands for a genuine handle in arguments, so that RENAME and LINK get past their second one.
const MARKER: [u8; 4] = *b"HNDL";

fn with_handles(bytes: &[u8], handle: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + handle.len());
    for word in bytes.chunks(4) {
        out.extend_from_slice(if *word == MARKER { handle } else { word });
    }
    out
}

/// The bytes as arguments behind a good header; for NFS also behind a genuine handle.
fn arguments(number: u8, bytes: &[u8]) {
    let credential = Credential::Sys { uid: 1, gid: 1, groups: vec![1] };
    let (program, version, procedure) = match number {
        0..128 => (NFS_PROGRAM, 3, number % 22),
        128..192 => (MOUNT_PROGRAM, 3, number % 6),
        _ => (PORTMAP_PROGRAM, 2, number % 5),
    };
    let mut writer = rpc::write_call(1, program, version, procedure.into(), &credential, "fuzz");
    let mut handle = Vec::from(40u32.to_be_bytes());
    handle.extend_from_slice(&front().handles().encode(VOLUME, FileId::ROOT));
    if program == NFS_PROGRAM {
        writer.fixed(&handle);
    }
    let record = [&writer.finish().concat()[4..], &with_handles(bytes, &handle)].concat();
    serve(Bytes::from(record));
}

/// The bytes as the results of a successful reply.
fn results(number: u8, bytes: &[u8]) {
    let record = Bytes::from([&rpc::write_success(1).finish().concat()[4..], bytes].concat());
    let _ = client::decode(Procedure::ALL[usize::from(number) % Procedure::ALL.len()], record.clone());
    let _ = client::decode_mount(MountProcedure::ALL[usize::from(number) % MountProcedure::ALL.len()], record);
}

fuzz_target!(|bytes: &[u8]| {
    let [how, number, bytes @ ..] = bytes else { return };
    match how % 5 {
        0 => stream(bytes),
        1 => serve(Bytes::copy_from_slice(bytes)),
        2 => {
            let _ = client::decode(Procedure::ALL[usize::from(*number) % Procedure::ALL.len()], Bytes::copy_from_slice(bytes));
        }
        3 => arguments(*number, bytes),
        _ => results(*number, bytes),
    }
});
