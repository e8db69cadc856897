//! A network of its own for every scenario: one network namespace per node and one for the clients, and a cable between any two of
//! them that can be cut in either direction by itself.
//!
//! Everything lives in a private mount namespace of the scenario's thread, names included. So every scenario uses the same names
//! and addresses, and nothing is left behind whatever happens: when the last thread and process are gone, so is the network.

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::{Command, Output, Stdio};

/// A place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    A,
    B,
    W,
    /// All clients, and the operators.
    Clients,
}
pub use At::{A, B, Clients, W};

pub const EVERYWHERE: [At; 4] = [A, B, W, Clients];
pub const NODES: [At; 3] = [A, B, W];

const NFS_PORT: u16 = 2049;
const ADMIN_PORT: u16 = 7400;
const PEER_PORT: u16 = 7401;
/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";
/// What a slow link holds back before it drops, bytes; and the longest that a packet waits in it.
const BURST: &str = "32kb";
const QUEUE: &str = "400ms";

impl At {
    pub fn name(self) -> &'static str {
        match self {
            A => "a",
            B => "b",
            W => "w",
            Clients => "clients",
        }
    }

    pub fn address(self) -> IpAddr {
        Ipv4Addr::new(10, 77, 0, 1 + self as u8).into()
    }

    pub fn admin(self) -> SocketAddr {
        SocketAddr::new(self.address(), ADMIN_PORT)
    }

    pub fn peer(self) -> SocketAddr {
        SocketAddr::new(self.address(), PEER_PORT)
    }

    /// The end of the cable to here, seen from elsewhere.
    pub fn cable(self) -> String {
        format!("to-{}", self.name())
    }
}

/// The volume's address. Both file servers have it, as they must; who listens on it is Mainstay's decision.
pub fn service() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 77, 0, 100).into(), NFS_PORT)
}

pub struct Network {
    /// In the order of [`EVERYWHERE`].
    namespaces: Vec<File>,
}

impl Network {
    /// Makes the network and moves this thread, with everything that it starts later, to where the clients are.
    pub fn enter() -> Result<Network, String> {
        enter_private_mounts()?;
        run("mkdir", &["-p", NAMES])?;
        run("mount", &["-t", "tmpfs", "none", NAMES])?;
        for at in EVERYWHERE {
            run("ip", &["netns", "add", at.name()])?;
        }
        for (index, one) in EVERYWHERE.into_iter().enumerate() {
            for other in &EVERYWHERE[index + 1..] {
                let (from, to) = (one.cable(), other.cable());
                run(
                    "ip",
                    &["link", "add", &to, "netns", one.name(), "type", "veth", "peer", "name", &from, "netns", other.name()],
                )?;
            }
        }
        EVERYWHERE.into_iter().try_for_each(configure)?;
        let open = |at: At| File::open(format!("{NAMES}/{}", at.name())).map_err(|error| error.to_string());
        let network = Network { namespaces: EVERYWHERE.into_iter().map(open).collect::<Result<_, _>>()? };
        network.check()?;
        network.go(Clients);
        Ok(network)
    }

    /// Whether this kernel can do what the scenarios need.
    fn check(&self) -> Result<(), String> {
        self.try_cut(A, B)?;
        self.join(A, B);
        self.try_slow(A, B, 8)?;
        self.join(A, B);
        Ok(())
    }

    fn go(&self, to: At) {
        let namespace = &self.namespaces[to as usize];
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("the namespace is ours");
    }

    /// Does something there: what it starts stays there.
    pub fn inside<T>(&self, at: At, work: impl FnOnce() -> T) -> T {
        self.go(at);
        let done = work();
        self.go(Clients);
        done
    }

    /// Nothing that `from` sends arrives at `to` any more. Silently: nobody is told.
    pub fn cut(&self, from: At, to: At) {
        self.try_cut(from, to).expect("the kernel could when the network was made");
    }

    fn try_cut(&self, from: At, to: At) -> Result<(), String> {
        run("tc", &["-n", from.name(), "qdisc", "replace", "dev", &to.cable(), "root", "blackhole"])
    }

    pub fn join(&self, from: At, to: At) {
        // Fails when there is nothing to take away.
        let _ = run("tc", &["-n", from.name(), "qdisc", "del", "dev", &to.cable(), "root"]);
    }

    /// Bytes that have arrived at `to` from `from`, as the kernel counts them: everything that moved, whatever for.
    pub fn carried(&self, from: At, to: At) -> u64 {
        let table = self.inside(to, || std::fs::read_to_string("/proc/thread-self/net/dev")).expect("the kernel counts");
        let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{}:", from.cable())));
        let received = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        received.expect("the cable is there")
    }

    pub fn slow(&self, from: At, to: At, megabit: u32) {
        self.try_slow(from, to, megabit).expect("the kernel could when the network was made");
    }

    fn try_slow(&self, from: At, to: At, megabit: u32) -> Result<(), String> {
        let rate = format!("{megabit}mbit");
        let place = ["-n", from.name(), "qdisc", "replace", "dev", &to.cable(), "root"];
        run("tc", &[&place[..], &["tbf", "rate", &rate, "burst", BURST, "latency", QUEUE]].concat())
    }

    /// All cables are whole and fast again.
    pub fn heal(&self) {
        for from in EVERYWHERE {
            for to in EVERYWHERE.into_iter().filter(|to| *to != from) {
                self.join(from, to);
            }
        }
    }
}

/// The clients' packets for the volume's address go to `node` from now on. For a thread among the clients.
pub fn route_clients(node: At) -> Result<(), String> {
    let (address, cable) = (service().ip().to_string(), node.cable());
    let source = Clients.address().to_string();
    run("ip", &["-n", Clients.name(), "route", "replace", &address, "dev", &cable, "src", &source])
}

fn enter_private_mounts() -> Result<(), String> {
    // SAFETY: what other threads see of files does not change by it; this one has not opened any that it keeps.
    let entered = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) };
    entered.map_err(|error| format!("a mount namespace of its own needs root: {error}"))?;
    run("mount", &["--make-rprivate", "/"])
}

/// Addresses are on the loopback, and a route to each other place is its cable.
fn configure(at: At) -> Result<(), String> {
    let own = at.address();
    let mut lines = vec!["link set lo up".to_string(), format!("addr add {own}/32 dev lo")];
    if matches!(at, A | B) {
        lines.push(format!("addr add {}/32 dev lo", service().ip()));
    }
    for other in EVERYWHERE.into_iter().filter(|other| *other != at) {
        let cable = other.cable();
        lines.push(format!("link set {cable} up"));
        lines.push(format!("route add {} dev {cable} src {own}", other.address()));
    }
    if at == Clients {
        let volume = service().ip();
        lines.push(format!("route add {volume} dev {} src {own}", A.cable()));
        // Found only by who asks for this very cable: the question whether somebody listens there.
        let ask =
            |(number, node): (usize, At)| format!("route add {volume} dev {} src {own} metric {}", node.cable(), 100 + number);
        lines.extend([A, B].into_iter().enumerate().map(ask));
    }
    batch(at, &lines.join("\n"))
}

fn batch(at: At, lines: &str) -> Result<(), String> {
    let mut child = Command::new("ip")
        .args(["-n", at.name(), "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("ip: {error}; it is in the package iproute2"))?;
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).map_err(|error| error.to_string())?;
    judge("ip -batch", child.wait_with_output())
}

/// Runs a program of the system; what it says when it fails is the error.
pub fn run(program: &str, args: &[&str]) -> Result<(), String> {
    judge(&format!("{program} {}", args.join(" ")), Command::new(program).args(args).stdin(Stdio::null()).output())
}

fn judge(what: &str, output: std::io::Result<Output>) -> Result<(), String> {
    let output = output.map_err(|error| format!("{what}: {error}; iproute2, util-linux and e2fsprogs are needed"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
