//! Tells the neighbours who has an address now: gratuitous ARP (RFC 5227) for IPv4, unsolicited neighbour advertisements (RFC 4861)
//! for IPv6. Without it clients of the same network send to the old primary until their caches expire.

use super::address::Interface;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::time::Duration;

/// Times after the first, because packets get lost, and switches learn while links come up.
const AGAIN: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
const ARP: u16 = 0x0806;
const ARP_BYTES: usize = 28;
const ASK: u16 = 1;
const REPLY: u16 = 2;
const FAMILY_PACKET: u16 = 17;
const EVERYBODY: [u8; 6] = [0xff; 6];
const ADVERTISEMENT: u8 = 136;
/// Neighbours replace what they knew.
const OVERRIDE: u8 = 0x20;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Receivers drop what came through a router.
const HOPS: u32 = 255;

/// Some seconds long, and harmless when the address is gone by then: a node that gave it up tells nobody anything any more.
pub(super) async fn tell_neighbours(interface: Interface, address: IpAddr) {
    let Some(hardware) = interface.hardware else { return };
    let mut failed = false;
    for pause in std::iter::once(Duration::ZERO).chain(AGAIN) {
        tokio::time::sleep(pause).await;
        let told = match address {
            IpAddr::V4(address) => tell_v4(interface.index, hardware, address),
            IpAddr::V6(address) => tell_v6(interface.index, hardware, address),
        };
        match told {
            Ok(()) => {}
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return,
            Err(error) if !failed => {
                tracing::warn!(%address, %error, "cannot tell the neighbours about the service address; they learn of it by and by");
                failed = true;
            }
            Err(_) => {}
        }
    }
}

/// Kernels take either form; some ignore one of them.
fn tell_v4(index: u32, hardware: [u8; 6], address: Ipv4Addr) -> io::Result<()> {
    // Binding says whether the address is still here.
    drop(std::net::UdpSocket::bind((address, 0))?);
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    let to = link_address(index);
    for packet in [arp(ASK, hardware, address), arp(REPLY, hardware, address)] {
        socket.send_to(&packet, &to)?;
    }
    Ok(())
}

/// Sender and target are both the address: "it is here".
fn arp(operation: u16, hardware: [u8; 6], address: Ipv4Addr) -> [u8; ARP_BYTES] {
    let mut packet = [0; ARP_BYTES];
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation as u8]);
    packet[8..14].copy_from_slice(&hardware);
    packet[14..18].copy_from_slice(&address.octets());
    // Linux takes a reply for gratuitous only if the target's hardware address is the sender's, too.
    packet[18..24].copy_from_slice(if operation == REPLY { &hardware } else { &EVERYBODY });
    packet[24..28].copy_from_slice(&address.octets());
    packet
}

/// `struct sockaddr_ll`
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    index: i32,
    hardware_type: u16,
    packet_type: u8,
    length: u8,
    address: [u8; 8],
}

fn link_address(index: u32) -> SockAddr {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&EVERYBODY);
    let link = LinkAddress {
        family: FAMILY_PACKET,
        protocol: ARP.to_be(),
        index: index as i32,
        hardware_type: 0,
        packet_type: 0,
        length: EVERYBODY.len() as u8,
        address,
    };
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `LinkAddress` has the layout of `sockaddr_ll` (packet(7)), which is smaller than the storage and aligned less strictly; the
    // length is that of what was written.
    unsafe {
        *storage.view_as::<LinkAddress>() = link;
        SockAddr::new(storage, size_of::<LinkAddress>() as u32)
    }
}

fn tell_v6(index: u32, hardware: [u8; 6], address: Ipv6Addr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_hops_v6(HOPS)?;
    socket.bind(&SocketAddrV6::new(address, 0, 0, index).into())?;
    let mut packet = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    packet.extend(address.octets());
    // Target link-layer address, one unit of eight bytes. The kernel fills in the checksum.
    packet.extend([2, 1]);
    packet.extend(hardware);
    socket.send_to(&packet, &SocketAddrV6::new(ALL_NODES, 0, 0, index).into())?;
    Ok(())
}
