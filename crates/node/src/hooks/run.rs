//! Runs one command of an operator: bounded in time and output, in a process group of its own that is killed whole. It is made for
//! commands that hang, lie, print without end, are not there, or leave children behind.
//!
//! A thread waits for each, because there are few and they are rare; nothing of the daemon waits for that thread.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, set_parent_process_death_signal, waitid};
use std::fmt;
use std::io::{PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Output that is kept for people to read, bytes: the beginning, where errors usually are.
pub const OUTPUT_BYTES_MAX: usize = 4 << 10;
/// Output after which the command is killed, bytes: it is out of its mind, and its exit code is worth nothing.
pub const FLOOD_BYTES_MAX: u64 = 16 << 20;
/// How often a command is looked at: whether it ended, and whether somebody wants it to.
const LOOK: Duration = Duration::from_millis(20);
/// Read at a time, bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Set by whoever wants the command to end.
pub type Stop = Arc<AtomicBool>;

/// A command, as an operator wrote it, with what it is to know.
#[derive(Clone, Debug)]
pub struct Errand {
    pub command: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
    pub deadline: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal(i32),
    /// It was killed at the deadline.
    TimedOut,
    /// It was killed because somebody wanted it to end.
    Stopped,
    /// It was killed for its output.
    Flooded,
    NotStarted(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exit(code) => write!(f, "exit code {code}"),
            Ended::Signal(signal) => write!(f, "killed by signal {signal}"),
            Ended::TimedOut => f.write_str("it did not end in time"),
            Ended::Stopped => f.write_str("it was called off"),
            Ended::Flooded => write!(f, "it printed more than {} MiB", FLOOD_BYTES_MAX >> 20),
            Ended::NotStarted(why) => write!(f, "it could not be started: {why}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub ended: Ended,
    /// The beginning of what it printed, on both outputs, as printable text.
    pub output: String,
}

impl Outcome {
    pub fn succeeded(&self) -> bool {
        self.ended == Ended::Exit(0)
    }

    /// `exit code 1 ("no such host")`
    pub fn text(&self) -> String {
        let line = self.output.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let line: String = line.trim().chars().take(LINE_CHARS_MAX).collect();
        if line.is_empty() { self.ended.to_string() } else { format!("{} ({line:?})", self.ended) }
    }
}

/// Of its output, what goes into one line for people, characters.
const LINE_CHARS_MAX: usize = 120;

/// Blocks until it has ended or been killed, a little after the deadline at the latest.
pub fn run(errand: &Errand, stop: &Stop) -> Outcome {
    match start(errand) {
        Ok((child, output)) => attend(child, output, errand.deadline, stop),
        Err(why) => Outcome { ended: Ended::NotStarted(why), output: String::new() },
    }
}

fn start(errand: &Errand) -> Result<(Child, PipeReader), String> {
    let (program, arguments) = errand.command.split_first().ok_or("the command is empty")?;
    let (reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(arguments).envs(errand.environment.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::null()).process_group(0);
    command.stdout(writer.try_clone().map_err(|error| error.to_string())?).stderr(writer);
    // SAFETY: between fork and exec only this one system call is made; it allocates nothing and takes no lock.
    unsafe {
        // A daemon that dies must not leave something behind that switches machines off.
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    // `command` holds the writing ends and is dropped here, so that the pipe ends with the child.
    Ok((child, reader))
}

fn attend(mut child: Child, mut reader: PipeReader, deadline: Instant, stop: &Stop) -> Outcome {
    let mut output = Output::default();
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let killed = loop {
        output.take(&mut reader, LOOK);
        match () {
            () if is_over(group) => break None,
            () if output.bytes > FLOOD_BYTES_MAX => break Some(Ended::Flooded),
            () if stop.load(Ordering::Relaxed) => break Some(Ended::Stopped),
            () if Instant::now() >= deadline => break Some(Ended::TimedOut),
            () => {}
        }
    };
    // Also after a good end: what it left running in the background goes with it. The child is not reaped yet, so the group's number
    // cannot be somebody else's.
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait();
    output.rest(&mut reader);
    let ended = killed.unwrap_or_else(|| status.map_or_else(|error| Ended::NotStarted(error.to_string()), ended));
    Outcome { ended, output: printable(&output.kept) }
}

/// Without reaping it.
fn is_over(child: Option<Pid>) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    child.is_none_or(|child| !matches!(waitid(WaitId::Pid(child), look), Ok(None)))
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exit(code),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}

/// What came so far: counted, and the beginning kept.
#[derive(Default)]
struct Output {
    kept: Vec<u8>,
    bytes: u64,
    over: bool,
}

impl Output {
    /// Waits for something to read, at most so long. False: there was nothing.
    fn take(&mut self, reader: &mut PipeReader, wait: Duration) -> bool {
        if self.over {
            std::thread::sleep(wait);
            return false;
        }
        let mut ready = [PollFd::new(&*reader, PollFlags::IN)];
        let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as i64 };
        if !matches!(poll(&mut ready, Some(&wait)), Ok(1..)) {
            return false;
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        match reader.read(&mut chunk) {
            Ok(0) | Err(_) => self.over = true,
            Ok(count) => {
                self.bytes += count as u64;
                let room = OUTPUT_BYTES_MAX.saturating_sub(self.kept.len());
                self.kept.extend_from_slice(&chunk[..count.min(room)]);
            }
        }
        !self.over
    }

    /// What lies in the pipe when all is over: a pipe holds a bounded number of bytes, and nobody writes any more.
    fn rest(&mut self, reader: &mut PipeReader) {
        while self.kept.len() < OUTPUT_BYTES_MAX && !self.over && self.take(reader, Duration::ZERO) {}
    }
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}
