//! sd_notify(3) by hand: a datagram to the socket that systemd names. Silent outside of systemd.

use mainstay_cluster::StopCause;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// Why this process was asked to stop: whether the machine goes down with it. Asked of systemd where it runs, in at most
/// [`ASK_TIME_MAX`]; what cannot be told is a plain request.
pub fn stop_cause() -> StopCause {
    match Path::new("/run/systemd/system").is_dir() && system_state().as_deref() == Some("stopping") {
        true => StopCause::HostShutdown,
        false => StopCause::Asked,
    }
}

/// A machine that shuts down gives nobody much time.
const ASK_TIME_MAX: Duration = Duration::from_millis(500);

/// One word, such as `running` or `stopping`.
fn system_state() -> Option<String> {
    let mut command = Command::new("systemctl");
    command.arg("is-system-running").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let begun = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if begun.elapsed() >= ASK_TIME_MAX {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut word = String::new();
    child.stdout?.take(WORD_BYTES_MAX).read_to_string(&mut word).ok()?;
    Some(word.trim().to_string())
}

/// Of what `systemctl` says.
const WORD_BYTES_MAX: u64 = 64;

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
