//! Exports: which clients may use which volume, and as whom.

use crate::rpc::Credential;
use mainstay_protocol::{Caller, VolumeId};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// MNTPATHLEN (RFC 1813 section 5.1.1).
pub(crate) const PATH_BYTES_MAX: usize = 1024;
/// MNTNAMLEN.
pub(crate) const MACHINE_BYTES_MAX: usize = 255;
/// Who nobody is on Linux.
pub const ANONYMOUS: u32 = 65_534;

/// A configuration that cannot be served. One clear line for the operator each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    #[error("client network {0:?}: an address like 10.1.2.3, or a network like 10.1.0.0/16 or fd00:1::/64, is expected")]
    Network(String),
    #[error("client network {given}: bits below the prefix are set; did you mean {meant}?")]
    HostBits { given: String, meant: Network },
    #[error("export path {0:?}: an absolute path of at most 1024 bytes without empty, `.` or `..` parts is expected, like /files")]
    Path(String),
    #[error("two exports have the path {0}")]
    SamePath(String),
    #[error("two exports have the volume {0}: a file handle could not tell them apart")]
    SameVolume(VolumeId),
}

/// A network in CIDR notation; a single address is a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    pub const ALL_V4: Network = Network { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    pub const ALL_V6: Network = Network { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// The network of `prefix` bits that `address` lies in; `None` when the address has fewer bits. Bits below are cleared.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Network> {
        let (bits, width) = bits(address);
        if u32::from(prefix) > width {
            return None;
        }
        let kept = bits & mask(prefix, width);
        let address = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(kept as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(kept)),
        };
        Some(Network { address, prefix })
    }

    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Addresses of IPv4 clients on an IPv6 socket count as IPv4.
    pub fn contains(&self, client: IpAddr) -> bool {
        let (own, own_width) = bits(self.address);
        let (other, width) = bits(client.to_canonical());
        width == own_width && other & mask(self.prefix, width) == own
    }
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits() as u128, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// The highest `prefix` of `width` bits.
fn mask(prefix: u8, width: u32) -> u128 {
    let low = width - u32::from(prefix);
    u128::MAX.checked_shl(low).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = ExportError;

    /// Host bits that are set are refused, because either the address or the prefix is then not what was meant.
    fn from_str(text: &str) -> Result<Network, ExportError> {
        let unclear = || ExportError::Network(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| unclear())?;
        let width = bits(address).1 as u8;
        let prefix = match prefix {
            // `parse` would take "+8" too.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| unclear())?,
            Some(_) => return Err(unclear()),
            None => width,
        };
        let network = Network::new(address, prefix).ok_or_else(unclear)?;
        if network.address != address {
            return Err(ExportError::HostBits { given: text.to_owned(), meant: network });
        }
        Ok(network)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRule {
    pub network: Network,
    pub access: Access,
}

/// Whose word is taken. AUTH_SYS proves nothing, so the default trusts everybody but root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Squash {
    None,
    /// uid 0 and gid 0 become the anonymous ones.
    #[default]
    Root,
    /// Everybody becomes anonymous.
    All,
}

/// One volume as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// What clients mount: absolute, like `/files`.
    pub path: String,
    pub volume: VolumeId,
    /// The rule with the longest prefix that contains the client counts; without one the client is not allowed.
    pub clients: Vec<ClientRule>,
    pub squash: Squash,
    pub anonymous_uid: u32,
    pub anonymous_gid: u32,
    /// Nobody may write, whatever the client's rule says.
    pub read_only: bool,
}

impl Export {
    /// An export with the defaults: root squashed to nobody, read-write, no client allowed yet.
    pub fn new(path: impl Into<String>, volume: VolumeId) -> Export {
        Export {
            path: path.into(),
            volume,
            clients: Vec::new(),
            squash: Squash::default(),
            anonymous_uid: ANONYMOUS,
            anonymous_gid: ANONYMOUS,
            read_only: false,
        }
    }

    /// What `client` may do; `None` when it is not allowed at all.
    pub fn access(&self, client: IpAddr) -> Option<Access> {
        let rules = self.clients.iter().filter(|rule| rule.network.contains(client));
        // Of equal rules the stricter counts: `min` keeps it whatever their order.
        let longest = rules.min_by_key(|rule| (u8::MAX - rule.network.prefix, rule.access))?;
        Some(if self.read_only { Access::ReadOnly } else { longest.access })
    }

    /// Who the volume sees. A call without a credential is anonymous.
    pub fn caller(&self, credential: Credential) -> Caller {
        let Credential::Sys { uid, gid, groups } = credential else { return self.anonymous() };
        match self.squash {
            Squash::None => Caller { uid, gid, groups },
            Squash::All => self.anonymous(),
            Squash::Root => {
                let group = |gid| if gid == 0 { self.anonymous_gid } else { gid };
                Caller {
                    uid: if uid == 0 { self.anonymous_uid } else { uid },
                    gid: group(gid),
                    groups: groups.into_iter().map(group).collect(),
                }
            }
        }
    }

    fn anonymous(&self) -> Caller {
        Caller { uid: self.anonymous_uid, gid: self.anonymous_gid, groups: Vec::new() }
    }

    fn check(&self) -> Result<(), ExportError> {
        let parts = self.path.strip_prefix('/').map(|rest| rest.split('/'));
        let fine = parts.is_some_and(|mut parts| parts.all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0')));
        let fine = (fine || self.path == "/") && self.path.len() <= PATH_BYTES_MAX;
        if fine { Ok(()) } else { Err(ExportError::Path(self.path.clone())) }
    }
}

/// Every export in itself, and that no two can be confused.
pub(crate) fn check(exports: &[Export]) -> Result<(), ExportError> {
    for (index, export) in exports.iter().enumerate() {
        export.check()?;
        let earlier = &exports[..index];
        if earlier.iter().any(|other| other.path == export.path) {
            return Err(ExportError::SamePath(export.path.clone()));
        }
        if earlier.iter().any(|other| other.volume == export.volume) {
            return Err(ExportError::SameVolume(export.volume));
        }
    }
    Ok(())
}
