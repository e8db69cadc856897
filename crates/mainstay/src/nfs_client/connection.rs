//! One TCP connection without blocking: records out, records in, and when to connect again.

use super::Options;
use bytes::Bytes;
use mainstay_nfs::RecordReader;
use rustix::event::{PollFd, PollFlags};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes taken from the socket at once. The buffer is zeroed first, which costs little while it stays in the cache.
const READ_BYTES: usize = 128 << 10;
/// Parts given to the kernel in one `writev`.
const PARTS_MAX: usize = 64;
/// Pause before the second attempt to connect; doubled from there.
const RECONNECT_DELAY: Duration = Duration::from_millis(20);
/// Ports that need root, from the upper end as `bindresvport` takes them.
const RESERVED_PORTS: std::ops::RangeInclusive<u16> = 600..=1023;

pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    reader: RecordReader,
    outbox: VecDeque<Bytes>,
    /// Not before this may it be opened again.
    retry_at: Instant,
    failures: u32,
    /// When bytes last came, or the connection was opened.
    heard: Instant,
    last_error: Option<io::Error>,
}

impl Connection {
    /// Not yet open.
    pub fn new(address: SocketAddr, now: Instant) -> Connection {
        Connection {
            address,
            stream: None,
            reader: RecordReader::new(),
            outbox: VecDeque::new(),
            retry_at: now,
            failures: 0,
            heard: now,
            last_error: None,
        }
    }

    pub fn is_open(&self) -> bool {
        self.stream.is_some()
    }
    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }
    pub fn heard(&self) -> Instant {
        self.heard
    }
    /// Why the connection broke or could not be opened, most recently.
    pub fn last_error(&self) -> Option<&io::Error> {
        self.last_error.as_ref()
    }

    /// Waits for at most `timeout`, so one dead server holds up the calling thread for no longer.
    pub fn open(&mut self, options: &Options, timeout: Duration) -> io::Result<()> {
        let opened = dial(self.address, timeout, options.reserved_port).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            // Closing discards what was not sent yet. Else the kernel would go on sending it, and a call could arrive behind its
            // own retry and what followed that.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                self.stream = Some(stream);
                self.heard = Instant::now();
                Ok(())
            }
            Err(error) => {
                let again = io::Error::new(error.kind(), error.to_string());
                self.close(error, options.reconnect_delay_max);
                Err(again)
            }
        }
    }

    /// Everything queued or half received is dropped: the driver queues unanswered calls again after the next `open`.
    pub fn close(&mut self, why: io::Error, delay_max: Duration) {
        let delay = match self.failures {
            0 => Duration::ZERO,
            failures => RECONNECT_DELAY.saturating_mul(1 << (failures - 1).min(16)).min(delay_max),
        };
        self.stream = None;
        self.reader = RecordReader::new();
        self.outbox.clear();
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Instant::now() + delay;
        self.last_error = Some(why);
    }

    /// Nothing is sent before [`Connection::flush`], so that calls made together leave together.
    pub fn queue(&mut self, record: &[Bytes]) {
        self.outbox.extend(record.iter().cloned());
    }

    /// Gives the kernel what it takes now.
    pub fn flush(&mut self) -> io::Result<()> {
        while let (Some(stream), false) = (&mut self.stream, self.outbox.is_empty()) {
            let parts: Vec<IoSlice> = self.outbox.iter().take(PARTS_MAX).map(|part| IoSlice::new(part)).collect();
            match stream.write_vectored(&parts) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => advance(&mut self.outbox, written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what has arrived; whole records are added to `records`, also when the connection turns out to be broken.
    pub fn receive(&mut self, records: &mut Vec<Bytes>) -> io::Result<()> {
        while let Some(stream) = &mut self.stream {
            let space = self.reader.space();
            let (filled, room) = (space.len(), (space.capacity() - space.len()).min(READ_BYTES));
            space.resize(filled + room, 0);
            let read = stream.read(&mut space[filled..]);
            space.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(ErrorKind::ConnectionReset.into()),
                Ok(_) => {
                    self.heard = Instant::now();
                    // It works: the next break may be mended at once.
                    self.failures = 0;
                    self.take_records(records)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take_records(&mut self, records: &mut Vec<Bytes>) -> io::Result<()> {
        while let Some(record) = self.reader.next_record().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))? {
            records.push(record);
        }
        Ok(())
    }

    /// What to wait for; `None` while it is closed.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        let interest = if self.outbox.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        self.stream.as_ref().map(|stream| PollFd::new(stream, interest))
    }
}

/// Drops `bytes` off the front.
fn advance(outbox: &mut VecDeque<Bytes>, mut bytes: usize) {
    while let Some(front) = outbox.front_mut() {
        if bytes < front.len() {
            let _ = front.split_to(bytes);
            return;
        }
        bytes -= front.len();
        outbox.pop_front();
    }
}

/// Connects, blocking for at most `timeout`.
pub fn dial(address: SocketAddr, timeout: Duration, reserved_port: bool) -> io::Result<TcpStream> {
    if reserved_port {
        for port in RESERVED_PORTS.rev() {
            match dial_from(address, timeout, port) {
                // Taken, or a connection of before still lingers on it.
                Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) => {}
                other => return other,
            }
        }
    }
    TcpStream::connect_timeout(&address, timeout)
}

fn dial_from(address: SocketAddr, timeout: Duration, port: u16) -> io::Result<TcpStream> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(any, port).into())?;
    socket.connect_timeout(&address.into(), timeout)?;
    Ok(socket.into())
}
