//! sd_notify(3) by hand: a datagram to the socket that systemd names. Silent outside of systemd.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Tells the service manager; failures are not worth stopping for.
pub fn notify(message: &str) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(path.as_encoded_bytes(), message)
    {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

fn send(path: &[u8], message: &str) -> std::io::Result<()> {
    let address = match path.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::new(&String::from_utf8_lossy(path).into_owned())))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}

/// How often `WATCHDOG=1` is due: half of what systemd waits, when it waits for this process.
pub fn watchdog_period() -> Option<Duration> {
    let for_us = std::env::var("WATCHDOG_PID").ok().is_none_or(|pid| pid == std::process::id().to_string());
    let period = std::env::var("WATCHDOG_USEC").ok()?.parse::<u64>().ok()?;
    (for_us && period > 0).then(|| Duration::from_micros(period / 2))
}

/// Lives on the runtime, so a runtime that hangs is noticed. A volume's recovery may take long and is no hang.
pub async fn feed_watchdog() {
    let Some(period) = watchdog_period() else { return };
    loop {
        notify("WATCHDOG=1");
        tokio::time::sleep(period).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_at_path_and_abstract_sockets() {
        let dir = crate::test_dir::TestDir::new("notify");
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("mainstay-test-{}", std::process::id());
        let abstract_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, address) in [(by_path, path.to_str().unwrap().to_string()), (abstract_name, format!("@{name}"))] {
            send(address.as_bytes(), "READY=1").unwrap();
            let mut buffer = [0; 32];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
        }
        assert!(send(b"/nonexistent/socket", "READY=1").is_err());
    }
}
