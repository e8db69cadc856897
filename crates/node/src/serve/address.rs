//! Service addresses on an interface: added when this node begins to serve a volume, removed when it ends, and at its start what an
//! earlier life has left. By rtnetlink, the kernel's own protocol, of which this needs three messages.
//!
//! Whoever sets `[service]` leaves the volumes' addresses on that interface to Mainstay. Without the permission (CAP_NET_ADMIN) nothing
//! is added, which is said, and an address that is there anyway is served as ever.

use super::announce;
use super::service_address;
use crate::config::ServiceConfig;
use mainstay_cluster::ClusterState;
use mainstay_protocol::VolumeId;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Longest wait for the kernel's answer; it answers at once.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// An answer about one interface, bytes: a few thousand with all its counters.
const ANSWER_BYTES_MAX: usize = 64 << 10;

// rtnetlink(7) and netlink(7).
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE_ONLY: u16 = 0x400 | 0x200;
const HEADER_BYTES: usize = 16;
const LINK_HEADER_BYTES: usize = 16;
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_FLAGS: u16 = 8;
/// Used at once: duplicate address detection would take a second, and its answer could only be the old primary's, which is fenced.
const NO_DUPLICATE_DETECTION: u32 = 2;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
const ETHERNET: u16 = 1;

/// An interface of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub index: u32,
    /// Of Ethernet and what looks like it; others know no neighbours to tell.
    pub hardware: Option<[u8; 6]>,
}

/// The service addresses of this node's interface.
pub struct Addresses {
    config: Option<ServiceConfig>,
    /// Volumes whose address was looked at since the start.
    cleared: BTreeSet<VolumeId>,
}

impl Addresses {
    pub fn new(config: Option<ServiceConfig>) -> Addresses {
        Addresses { config, cleared: BTreeSet::new() }
    }

    /// Before anything is served: addresses that an earlier life of this node left on the interface are somebody else's by now.
    pub fn clear(&mut self, state: &ClusterState) {
        let Some(config) = self.config.clone() else { return };
        for (id, volume) in &state.volumes {
            if !self.cleared.insert(*id) {
                continue;
            }
            let Some(address) = service_address(&volume.export).map(|address| address.ip()) else { continue };
            match remove(&config, address) {
                Ok(true) => {
                    tracing::warn!(%address, interface = config.interface, "removed a service address that an earlier life left")
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%address, interface = config.interface, %error, "cannot look after a service address")
                }
            }
        }
    }

    /// Adds the address and tells the neighbours. Why not, if not.
    pub fn take_up(&self, address: IpAddr) -> Option<String> {
        let config = self.config.as_ref()?;
        match add(config, address) {
            Ok(interface) => {
                tracing::info!(%address, interface = config.interface, "service address added");
                tokio::spawn(announce::tell_neighbours(interface, address));
                None
            }
            Err(error) => {
                let why = format!("it cannot be added to {}: {}", config.interface, explained(&error));
                tracing::error!(%address, why, "the service address is missing: clients cannot come, unless it is there by other means");
                Some(why)
            }
        }
    }

    pub fn give_up(&self, address: IpAddr) {
        let Some(config) = self.config.as_ref() else { return };
        match remove(config, address) {
            Ok(_) => tracing::info!(%address, interface = config.interface, "service address removed"),
            Err(error) => {
                let why = explained(&error);
                tracing::error!(%address, interface = config.interface, why, "cannot remove the service address: remove it, another node has it next")
            }
        }
    }
}

fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{error}; give the service CAP_NET_ADMIN and CAP_NET_RAW"),
        io::ErrorKind::NotFound => "there is no such interface".into(),
        _ => error.to_string(),
    }
}

/// An address that is there already is fine.
pub(super) fn add(config: &ServiceConfig, address: IpAddr) -> io::Result<Interface> {
    let kernel = Kernel::open()?;
    let interface = kernel.interface(&config.interface)?;
    let body = address_message(config, interface.index, address);
    match kernel.ask(NEW_ADDRESS, CREATE_ONLY | ACKNOWLEDGE, &body) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(interface),
    }
}

/// False: it was not there.
pub(super) fn remove(config: &ServiceConfig, address: IpAddr) -> io::Result<bool> {
    let kernel = Kernel::open()?;
    let interface = kernel.interface(&config.interface)?;
    match kernel.ask(DELETE_ADDRESS, ACKNOWLEDGE, &address_message(config, interface.index, address)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) => Err(error),
    }
}

/// `struct ifaddrmsg` and its attributes.
fn address_message(config: &ServiceConfig, index: u32, address: IpAddr) -> Vec<u8> {
    let (family, prefix, bytes) = match address {
        IpAddr::V4(address) => (FAMILY_V4, config.prefix, address.octets().to_vec()),
        IpAddr::V6(address) => (FAMILY_V6, config.prefix6, address.octets().to_vec()),
    };
    let mut body = vec![family, prefix, 0, 0];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, ADDRESS_LOCAL, &bytes);
    attribute(&mut body, ADDRESS, &bytes);
    if address.is_ipv6() {
        attribute(&mut body, ADDRESS_FLAGS, &NO_DUPLICATE_DETECTION.to_ne_bytes());
    }
    body
}

/// Length, type, value, padded to four bytes.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A socket to the kernel, for one question after the other.
struct Kernel(std::os::fd::OwnedFd);

impl Kernel {
    fn open() -> io::Result<Kernel> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIME_MAX))?;
        Ok(Kernel(socket))
    }

    fn interface(&self, name: &str) -> io::Result<Interface> {
        let mut body = vec![0; LINK_HEADER_BYTES];
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        attribute(&mut body, LINK_NAME, &text);
        let answer = self.ask(GET_LINK, 0, &body).map_err(|error| match error.raw_os_error() {
            Some(NO_DEVICE) => io::ErrorKind::NotFound.into(),
            _ => error,
        })?;
        link(&answer).ok_or_else(|| io::Error::other("the kernel's answer about the interface makes no sense"))
    }

    /// The body of the answer; empty for an acknowledgement.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
        message.extend(((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        // Sequence and port: each socket asks one thing at a time.
        message.extend([0; 8]);
        message.extend(body);
        sendto(&self.0, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        let (_, length) = recv(&self.0, &mut answer[..], RecvFlags::empty())?;
        answer.truncate(length);
        understood(&answer)
    }
}

/// ENODEV
const NO_DEVICE: i32 = 19;

/// The first message of an answer; an error in it is ours.
fn understood(answer: &[u8]) -> io::Result<Vec<u8>> {
    let nonsense = || io::Error::other("the kernel's answer is cut off");
    let length = u32::from_ne_bytes(part(answer, 0).ok_or_else(nonsense)?) as usize;
    let kind = u16::from_ne_bytes(part(answer, 4).ok_or_else(nonsense)?);
    let body = answer.get(HEADER_BYTES..length).ok_or_else(nonsense)?;
    if kind != ERROR {
        return Ok(body.to_vec());
    }
    match i32::from_ne_bytes(part(body, 0).ok_or_else(nonsense)?) {
        0 => Ok(vec![]),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// `struct ifinfomsg`: family, type, index, and attributes.
fn link(body: &[u8]) -> Option<Interface> {
    let kind = u16::from_ne_bytes(part(body, 2)?);
    let index = u32::from_ne_bytes(part(body, 4)?);
    let mut rest = body.get(LINK_HEADER_BYTES..)?;
    let mut hardware = None;
    while let (Some(length), Some(name)) = (part(rest, 0), part(rest, 2)) {
        let length = usize::from(u16::from_ne_bytes(length));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes(name) == LINK_ADDRESS && kind == ETHERNET {
            hardware = value.try_into().ok();
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Interface { index, hardware })
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
