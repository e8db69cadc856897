//! The client itself: calls to connections, records to completions, and time.

use super::calls::{Call, Calls, later};
use super::connection::Connection;
use super::{Answer, CallError, ConnectError, Handle, Options, Request, Target, mount};
use bytes::Bytes;
use mainstay_nfs::client::{Reply, Session, SessionError};
use mainstay_protocol::{FileError, FileFailure};
use rustix::event::{PollFd, Timespec, poll};
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Where NFS is when nobody says otherwise (RFC 1813 section 1.1).
const NFS_PORT: u16 = 2049;
/// A single answer that is missing while others come is waited for so many times longer: it may be slow, or lost.
const OVERDUE: u32 = 3;

/// Stands for one submitted call, whatever becomes of its transaction number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    pub(super) const MAX: Ticket = Ticket(u64::MAX);
}

/// What became of a call.
#[derive(Debug)]
pub struct Completion {
    pub ticket: Ticket,
    pub result: Result<Answer, CallError>,
    /// From `submit` until the answer was read, retries included.
    pub latency: Duration,
    /// Times that it was sent again after a broken connection.
    pub resent: u32,
    /// Times that the server said "try later" first.
    pub delayed: u32,
}

/// Counts since the client was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub calls: u64,
    /// Connections opened after one had broken.
    pub reconnects: u64,
    /// Calls sent again under their number.
    pub resent: u64,
    /// Answers "try later".
    pub delayed: u64,
    pub timed_out: u64,
}

pub struct Client {
    root: Handle,
    options: Options,
    session: Session,
    connections: Vec<Connection>,
    calls: Calls,
    done: VecDeque<Completion>,
    next_ticket: u64,
    /// No timer fires before this.
    timers_at: Instant,
    stats: Stats,
}

impl Client {
    /// Mounts `target`, trying each address of its host.
    pub fn open(target: &Target, options: Options) -> Result<Client, ConnectError> {
        let options = target.refine(options);
        let host = || target.host.clone();
        let resolve = |source| ConnectError::Resolve { host: host(), source };
        let addresses = (target.host.as_str(), target.port.unwrap_or(NFS_PORT)).to_socket_addrs().map_err(resolve)?;
        let mut error = resolve(ErrorKind::NotFound.into());
        for mut address in addresses {
            let mut options = options.clone();
            let opened = find_ports(target, &mut address, &mut options);
            match opened.and_then(|()| Client::connect(address, &target.export, options)) {
                Ok(client) => return Ok(client),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    /// Mounts `export` of the server whose NFS is at `address`.
    pub fn connect(address: SocketAddr, export: &str, mut options: Options) -> Result<Client, ConnectError> {
        let root = mount::mount(address, export, &mut options)?;
        let mut client = Client::with_root(address, root, options);
        // An unreachable NFS port shall be known now, not when the first call's deadline has passed.
        let timeout = client.options.connect_timeout;
        let opened = client.connections[0].open(&client.options, timeout);
        opened.map_err(|source| ConnectError::Unreachable { address, what: "NFS", source })?;
        Ok(client)
    }

    /// A client of an export that was mounted before. Connects with its first call.
    pub fn with_root(address: SocketAddr, root: Handle, options: Options) -> Client {
        let now = Instant::now();
        let first_xid = options.first_xid.unwrap_or_else(random);
        Client {
            root,
            session: Session::new(options.credential.clone(), first_xid),
            connections: (0..options.connections.max(1)).map(|_| Connection::new(address, now)).collect(),
            options,
            calls: Calls::default(),
            done: VecDeque::new(),
            next_ticket: 0,
            timers_at: now,
            stats: Stats::default(),
        }
    }

    /// The export's root directory.
    pub fn root(&self) -> Handle {
        self.root.clone()
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Calls whose completion has not been taken yet.
    pub fn in_flight(&self) -> usize {
        self.calls.len() + self.done.len()
    }

    /// Queues a call. It is sent, together with all others that were queued, by the next `complete` or `call`.
    pub fn submit(&mut self, request: Request) -> Ticket {
        let now = Instant::now();
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.stats.calls += 1;
        let connection = (ticket.0 % self.connections.len() as u64) as usize;
        let deadline = later(now, self.options.call_timeout);
        let call =
            Call { ticket, request, record: Vec::new(), connection, submitted: now, sent: None, deadline, resent: 0, delayed: 0 };
        self.start(call, now);
        ticket
    }

    /// The next completion, in the order in which answers come; `None` when there is none within `wait`, or nothing in flight.
    pub fn complete(&mut self, wait: Duration) -> Option<Completion> {
        let until = later(Instant::now(), wait);
        while self.done.is_empty() && self.calls.len() > 0 {
            self.pump(until);
            if Instant::now() >= until {
                break;
            }
        }
        self.done.pop_front()
    }

    /// One call, waited for. Completions of other calls stay for `complete`.
    pub fn call(&mut self, request: Request) -> Result<Answer, CallError> {
        let ticket = self.submit(request);
        loop {
            if let Some(at) = self.done.iter().position(|completion| completion.ticket == ticket) {
                return self.done.remove(at).expect("the position was just found").result;
            }
            // Ends at the latest with the call's own deadline.
            self.pump(later(Instant::now(), Duration::MAX));
        }
    }

    /// Gives the call a (new) number and its connection.
    fn start(&mut self, mut call: Call, now: Instant) {
        let (xid, record) = self.session.call(&call.request);
        let connection = &mut self.connections[call.connection];
        if connection.is_open() {
            connection.queue(&record);
            call.sent = Some(now);
            self.timers_at = self.timers_at.min(call.deadline).min(now + self.options.silence);
        } else {
            // `timers` connects, and sends whatever is owed then.
            self.timers_at = now;
        }
        call.record = record;
        self.calls.insert(xid, call);
    }

    /// Sends what is queued, waits for something to happen (no longer than `until`), and takes it in.
    fn pump(&mut self, until: Instant) {
        let now = Instant::now();
        if now >= self.timers_at {
            self.timers(now);
        }
        for index in 0..self.connections.len() {
            if let Err(error) = self.connections[index].flush() {
                self.broken(index, error);
            }
        }
        // A timer may just have completed the call that the caller waits for.
        let until = if self.done.is_empty() { until.min(self.timers_at) } else { now };
        let ready = self.wait(until);
        let mut records = Vec::new();
        for index in ready {
            let received = self.connections[index].receive(&mut records);
            let understood = records.drain(..).try_for_each(|record| self.take(record));
            if let Err(error) = received.and(understood) {
                self.broken(index, error);
            }
        }
    }

    /// Indices of the connections that have something to say.
    fn wait(&self, until: Instant) -> Vec<usize> {
        let (indices, mut fds): (Vec<usize>, Vec<PollFd>) =
            self.connections.iter().enumerate().filter_map(|(index, c)| Some((index, c.poll_fd()?))).unzip();
        let wait = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            // Whatever the error, reading tells what is the matter with a connection.
            Err(error) if error != rustix::io::Errno::INTR => indices,
            Err(_) | Ok(0) => Vec::new(),
            Ok(_) => indices.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(index, _)| index).collect(),
        }
    }

    fn take(&mut self, record: Bytes) -> io::Result<()> {
        match self.session.reply(record) {
            Ok(Reply { xid, result }) => self.answered(xid, result),
            // The answer to an earlier sending of a call that has been answered, or given up, since.
            Err(SessionError::Unknown(_)) => {}
            Err(SessionError::Reply { xid, error }) => {
                if let Some(call) = self.calls.remove(xid) {
                    let procedure = call.request.procedure().name();
                    self.finish(call, Err(CallError::Rpc { procedure, error }));
                }
            }
            Err(error @ SessionError::Short) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
        Ok(())
    }

    fn answered(&mut self, xid: u32, result: Result<Answer, FileFailure>) {
        let Some(mut call) = self.calls.remove(xid) else { return };
        match result {
            Err(FileFailure { error: FileError::TryLater, .. }) => {
                call.delayed += 1;
                self.stats.delayed += 1;
                let due = Instant::now() + self.options.jukebox_delay;
                self.timers_at = self.timers_at.min(due);
                self.calls.delay(due, call);
            }
            Err(FileFailure { error, .. }) => {
                let procedure = call.request.procedure().name();
                self.finish(call, Err(CallError::Refused { procedure, error }));
            }
            Ok(answer) => self.finish(call, Ok(answer)),
        }
    }

    fn finish(&mut self, call: Call, result: Result<Answer, CallError>) {
        let Call { ticket, submitted, resent, delayed, .. } = call;
        self.done.push_back(Completion { ticket, result, latency: submitted.elapsed(), resent, delayed });
    }

    fn broken(&mut self, index: usize, why: io::Error) {
        self.connections[index].close(why, self.options.reconnect_delay_max);
        self.timers_at = self.timers_at.min(self.connections[index].retry_at());
    }

    /// Does everything that is due, and finds out when it is needed next.
    fn timers(&mut self, now: Instant) {
        for (xid, call) in self.calls.take_expired(now) {
            self.expire(xid, call);
        }
        for call in self.calls.take_due(now) {
            // A new number: the call was refused, not executed, and is a new one as Linux sees it too.
            self.start(call, now);
        }
        let silence = self.options.silence;
        for index in 0..self.connections.len() {
            let silent_at = self.silent_at(index);
            if self.connections[index].is_open() && silent_at.is_some_and(|at| at <= now) {
                let why = format!("owed an answer, and silent for {} s", silence.as_secs_f32());
                self.broken(index, io::Error::new(ErrorKind::TimedOut, why));
            }
            if !self.connections[index].is_open() && self.calls.is_owed(index) && self.connections[index].retry_at() <= now {
                self.reopen(index, now);
            }
        }
        self.timers_at = self.next_timer(now);
    }

    fn expire(&mut self, xid: Option<u32>, call: Call) {
        if let Some(xid) = xid {
            self.session.forget(xid);
        }
        self.stats.timed_out += 1;
        let later = (call.delayed > 0).then(|| FileError::TryLater.to_string());
        let last = self.connections[call.connection].last_error().map(ToString::to_string).or(later);
        let (procedure, after) = (call.request.procedure().name(), self.options.call_timeout);
        self.finish(call, Err(CallError::TimedOut { procedure, after, last }));
    }

    /// When the connection will have owed an answer, and said nothing, for too long; or said other things, for much too long.
    fn silent_at(&self, index: usize) -> Option<Instant> {
        let owed = self.calls.owed_since(index)?;
        let silent = owed.max(self.connections[index].heard()) + self.options.silence;
        Some(silent.min(owed + self.options.silence * OVERDUE))
    }

    /// Connects and sends every unanswered call of this connection (again), each under its number.
    fn reopen(&mut self, index: usize, now: Instant) {
        let left = self.calls.next_timer().map(|at| at.saturating_duration_since(now)).unwrap_or(Duration::MAX);
        // Zero is no timeout that the system would take, and calls that are due now must not wait for a dead server.
        let timeout = self.options.connect_timeout.min(left).max(Duration::from_millis(1));
        let connection = &mut self.connections[index];
        let again = connection.last_error().is_some();
        if connection.open(&self.options, timeout).is_err() {
            return;
        }
        self.stats.reconnects += u64::from(again);
        let now = Instant::now();
        for call in self.calls.on_connection(index) {
            if call.sent.replace(now).is_some() {
                call.resent += 1;
                self.stats.resent += 1;
            }
            connection.queue(&call.record);
        }
    }

    fn next_timer(&self, now: Instant) -> Instant {
        let of_connection = |index: usize| {
            let connection = &self.connections[index];
            if connection.is_open() { self.silent_at(index) } else { self.calls.is_owed(index).then(|| connection.retry_at()) }
        };
        let connections = (0..self.connections.len()).filter_map(of_connection);
        connections.chain(self.calls.next_timer()).min().unwrap_or_else(|| later(now, Duration::MAX))
    }
}

/// Fills in the ports that the target leaves open.
fn find_ports(target: &Target, address: &mut SocketAddr, options: &mut Options) -> Result<(), ConnectError> {
    if target.port.is_none() {
        let (nfs, mount) = mount::ports(*address, options)?;
        address.set_port(nfs);
        options.mount_port = options.mount_port.or(Some(mount));
    }
    Ok(())
}

/// Differs from run to run: the standard library's hash seed.
fn random() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}
