//! Checks of what people and peers type: names, addresses, networks, free text. Each gives a typed refusal.

use crate::command::Actor;
use crate::limits::*;
use crate::refusal::RefusalKind;
use crate::state::{ExportSettings, Settings};
use mainstay_protocol::Timestamp;
use mainstay_protocol::limits::LABEL_BYTES_MAX;
use std::net::IpAddr;

/// Names go into paths, certificates and metric labels, hence the small alphabet.
pub(crate) fn label(what: &str, label: &str) -> Result<(), RefusalKind> {
    let first = label.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let why = match () {
        _ if label.is_empty() => "is empty",
        _ if label.len() > LABEL_BYTES_MAX => "is too long",
        _ if !rest => "holds a character that is not allowed",
        _ if !first => "does not start with a letter or digit",
        _ => return Ok(()),
    };
    Err(RefusalKind::BadLabel { what: what.into(), label: clip(label), why: why.into() })
}

/// Of a program, `0.1.0` or `0.1.0+build`: people read it in evidence.
pub(crate) fn version(version: &str) -> Result<(), RefusalKind> {
    label("version", &version.replacen('+', "-", 1))
}

pub(crate) fn bad(what: &str, value: &str, why: &str) -> RefusalKind {
    RefusalKind::BadValue { what: what.into(), value: clip(value), why: why.into() }
}

/// Text that a person must give: refused when empty, too long or not printable.
pub(crate) fn text(what: &str, value: &str) -> Result<(), RefusalKind> {
    match () {
        _ if value.trim().is_empty() => Err(bad(what, value, "is empty")),
        _ if value.len() > TEXT_BYTES_MAX => Err(bad(what, value, "is too long")),
        _ if value.chars().any(char::is_control) => Err(bad(what, value, "holds control characters")),
        _ => Ok(()),
    }
}

/// Text that a node gives beside an act that must not fail for it: cut and cleaned instead of refused.
pub(crate) fn clip(value: &str) -> String {
    let clean = value.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out = String::new();
    for c in clean {
        if out.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        out.push(c);
    }
    out
}

/// Milliseconds since 1970, of any time that a peer may send: never overflows.
pub(crate) fn millis(at: Timestamp) -> i64 {
    at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos / 1_000_000))
}

/// Only persons decide (R7).
pub(crate) fn person(actor: &Actor) -> Result<(), RefusalKind> {
    match actor {
        Actor::Person(name) => text("name of the person", name),
        _ => Err(RefusalKind::NotAPerson(actor.clone())),
    }
}

/// `host:port`; IPv6 in brackets.
pub(crate) fn address(what: &str, value: &str) -> Result<(), RefusalKind> {
    if value.len() > ADDRESS_BYTES_MAX {
        return Err(bad(what, value, "is too long"));
    }
    let Some((host, port)) = value.rsplit_once(':') else {
        return Err(bad(what, value, "has no port"));
    };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '@');
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || !host.chars().all(plain) || (host.contains(':') && !bracketed) {
        return Err(bad(what, value, "has no valid host"));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err(bad(what, value, "has no valid port")),
    }
}

fn network(value: &str) -> Result<(), RefusalKind> {
    let wrong = || bad("client network", value, "is not an address or address/prefix");
    let (ip, prefix) = value.split_once('/').map_or((value, None), |(ip, prefix)| (ip, Some(prefix)));
    let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
    let bits_max = if ip.is_ipv4() { 32 } else { 128 };
    match prefix.map(str::parse::<u8>) {
        None => Ok(()),
        Some(Ok(bits)) if bits <= bits_max => Ok(()),
        Some(_) => Err(wrong()),
    }
}

pub(crate) fn export(export: &ExportSettings) -> Result<(), RefusalKind> {
    if export.service_address.parse::<IpAddr>().is_err() {
        return Err(bad("service address", &export.service_address, "is not an IP address"));
    }
    if export.port == 0 {
        return Err(bad("service port", "0", "is not a port"));
    }
    if export.clients.len() > EXPORT_CLIENTS_MAX {
        return Err(RefusalKind::LimitReached { what: "client networks".into(), max: EXPORT_CLIENTS_MAX });
    }
    export.clients.iter().try_for_each(|client| network(&client.network))
}

pub(crate) fn settings(settings: &Settings) -> Result<(), RefusalKind> {
    let within = |what: &str, value: u64, min: u64, max: u64| match value {
        v if (min..=max).contains(&v) => Ok(()),
        v => Err(bad(what, &v.to_string(), &format!("is not within {min}..={max}"))),
    };
    within("lease_ms", settings.lease_ms, LEASE_MS_MIN, LEASE_MS_MAX)?;
    // Two percent: quartz drifts by 0.01 %, but a clock that is being slewed by NTP runs up to 0.05 % off, virtual ones more.
    within("margin_ms", settings.margin_ms, settings.lease_ms.div_ceil(50), settings.lease_ms)?;
    within("approval_ms", settings.approval_ms, APPROVAL_MS_MIN, APPROVAL_MS_MAX)?;
    within("contact_lost_ms", settings.contact_lost_ms, LEASE_MS_MIN, 10 * LEASE_MS_MAX)?;
    within("resync_bytes_per_second", settings.resync_bytes_per_second, RESYNC_BYTES_PER_SECOND_MIN, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_plain() {
        for good in ["a", "files", "Files-2", "x.y_z", "9"] {
            label("volume", good).unwrap();
        }
        for bad in ["", "a/b", "/", "..", ".a", "-a", "a b", "ä", "a\n", "a\0", &"x".repeat(64)] {
            label("volume", bad).unwrap_err();
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["127.0.0.11:7300", "host.example:1", "[::1]:7300"] {
            address("peer address", good).unwrap();
        }
        for bad in ["", "host", "host:", ":1", "host:0", "host:65536", "::1:80", "a b:1", "a/b:1", "[:1"] {
            assert!(address("peer address", bad).is_err() || bad == "[:1", "{bad}");
        }
    }

    #[test]
    fn networks_have_prefixes_that_fit() {
        for good in ["10.0.0.0/8", "127.0.0.1", "fd00::/8", "::/0"] {
            network(good).unwrap();
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/-1", "10.0.0.0/"] {
            network(bad).unwrap_err();
        }
    }

    #[test]
    fn clipped_text_is_bounded_and_clean() {
        assert_eq!(clip("a\nb"), "a b");
        assert!(clip(&"ä".repeat(1000)).len() <= TEXT_BYTES_MAX);
    }
}
