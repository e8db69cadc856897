//! `nfs://HOST[:PORT]/EXPORT[?mountport=N&uid=N&gid=N&nconnect=N]`

use super::Options;
use mainstay_nfs::rpc::Credential;
use std::fmt;
use std::str::FromStr;

/// As Linux bounds `nconnect`.
const CONNECTIONS_MAX: usize = 16;

/// An export of a server, as users write it. Without a port the server's portmapper is asked for both ports; with one it is not
/// needed, and MOUNT is expected there too unless `mountport` says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name or address; IPv6 without its brackets.
    pub host: String,
    pub port: Option<u16>,
    /// Starts with a slash.
    pub export: String,
    pub mount_port: Option<u16>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub connections: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("{0:?} is no NFS address: nfs://HOST[:PORT]/EXPORT[?mountport=N] is expected")]
    Form(String),
    #[error("{given:?}: {part} must be a number from {low} to {high}")]
    Number { given: String, part: &'static str, low: u32, high: u32 },
    #[error("{given:?}: unknown option {option:?}; mountport, uid, gid and nconnect are known")]
    Option { given: String, option: String },
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(given: &str) -> Result<Target, TargetError> {
        let form = || TargetError::Form(given.to_owned());
        let rest = given.strip_prefix("nfs://").ok_or_else(form)?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let slash = place.find('/').ok_or_else(form)?;
        let (authority, export) = place.split_at(slash);
        let (host, port) = host_and_port(authority).ok_or_else(form)?;
        let port = port.map(|text| number(given, "the port", text, 1, 65_535)).transpose()?;
        let mut target = Target {
            host: host.to_owned(),
            port: port.map(|port| port as u16),
            export: export.to_owned(),
            mount_port: None,
            uid: None,
            gid: None,
            connections: None,
        };
        options.split('&').filter(|option| !option.is_empty()).try_for_each(|option| target.set(given, option))?;
        Ok(target)
    }
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn host_and_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest {
        "" => None,
        _ => Some(rest.strip_prefix(':')?),
    };
    (!host.is_empty()).then_some((host, port))
}

fn number(given: &str, part: &'static str, text: &str, low: u32, high: u32) -> Result<u32, TargetError> {
    let value = text.parse().ok().filter(|value| (low..=high).contains(value));
    value.ok_or_else(|| TargetError::Number { given: given.to_owned(), part, low, high })
}

impl Target {
    fn set(&mut self, given: &str, option: &str) -> Result<(), TargetError> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "mountport" => self.mount_port = Some(number(given, "mountport", value, 1, 65_535)? as u16),
            "uid" => self.uid = Some(number(given, "uid", value, 0, u32::MAX)?),
            "gid" => self.gid = Some(number(given, "gid", value, 0, u32::MAX)?),
            "nconnect" => self.connections = Some(number(given, "nconnect", value, 1, CONNECTIONS_MAX as u32)? as usize),
            _ => return Err(TargetError::Option { given: given.to_owned(), option: name.to_owned() }),
        }
        Ok(())
    }

    /// `options` with what this address says itself.
    pub(super) fn refine(&self, mut options: Options) -> Options {
        options.mount_port = self.mount_port.or(options.mount_port);
        options.connections = self.connections.unwrap_or(options.connections);
        if let Credential::Sys { uid, gid, .. } = &mut options.credential {
            *uid = self.uid.unwrap_or(*uid);
            *gid = self.gid.unwrap_or(*gid);
        }
        options
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nfs://")?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.export)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let target: Target = "nfs://10.0.0.1:12049/a/b?mountport=12048&uid=0&gid=7&nconnect=4".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port, target.export.as_str()), ("10.0.0.1", Some(12049), "/a/b"));
        assert_eq!((target.mount_port, target.uid, target.gid, target.connections), (Some(12048), Some(0), Some(7), Some(4)));
        let target: Target = "nfs://[fd00::1]/files".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("fd00::1", None));
        assert_eq!(target.to_string(), "nfs://[fd00::1]/files");
        let target: Target = "nfs://server/".parse().unwrap();
        assert_eq!((target.host.as_str(), target.export.as_str()), ("server", "/"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for bad in ["", "10.0.0.1:/files", "nfs://", "nfs:///files", "nfs://host", "nfs://[fd00::1/x", "nfs://[fd00::1]x/y"] {
            assert_eq!(bad.parse::<Target>(), Err(TargetError::Form(bad.to_owned())), "{bad}");
        }
        for bad in
            ["nfs://h:0/f", "nfs://h:65536/f", "nfs://h:/f", "nfs://h/f?mountport", "nfs://h/f?uid=-1", "nfs://h/f?nconnect=17"]
        {
            assert!(matches!(bad.parse::<Target>(), Err(TargetError::Number { .. })), "{bad}");
        }
        let error = "nfs://h/f?vers=4".parse::<Target>().unwrap_err();
        assert!(error.to_string().contains("\"vers\""), "{error}");
    }
}
