//! In a network namespace of the test's own, which takes root; a test that cannot run says so, and fails where all are demanded.

use super::*;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::process::Command;

/// Runs `test` on a thread in a namespace of its own, with `veth` pair `left` and `right`, both up. The namespace ends with the thread.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let demanded = std::env::var_os("MAINSTAY_REQUIRE_ALL").is_some();
    let thread = std::thread::spawn(move || {
        // SAFETY: only the network namespace of this thread changes, and nothing that another thread shares depends on that.
        if let Err(error) = unsafe { unshare_unsafe(UnshareFlags::NEWNET) } {
            assert!(!demanded, "no network namespace: {error}");
            return eprintln!("SKIPPED: no network namespace ({error})");
        }
        let made = ip("link add left type veth peer name right") && ip("link set left up") && ip("link set right up");
        if !made {
            assert!(!demanded, "no pair of interfaces");
            return eprintln!("SKIPPED: `ip` is not here, or may not make interfaces");
        }
        test();
    });
    thread.join().expect("the test in the namespace holds");
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success())
}

fn shown(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("`ip` is here");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn config(interface: &str) -> ServiceConfig {
    ServiceConfig { interface: interface.into(), prefix: 24, prefix6: 64 }
}

#[test]
fn addresses_come_and_go() {
    in_namespace(|| {
        for (address, text) in [("192.0.2.7", "inet 192.0.2.7/24"), ("2001:db8::7", "inet6 2001:db8::7/64")] {
            let address: IpAddr = address.parse().unwrap();
            let config = config("left");
            assert!(!remove(&config, address).unwrap(), "what is not there is not removed");
            let interface = add(&config, address).unwrap();
            assert!(interface.hardware.is_some(), "a veth has a hardware address");
            assert_eq!(add(&config, address).unwrap(), interface, "it is there already");
            let listed = shown("addr show dev left");
            let line = listed.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{listed}"));
            assert!(!line.contains("tentative"), "{line}");
            std::net::TcpListener::bind((address, 0)).expect("it can be bound at once");
            assert!(remove(&config, address).unwrap());
            assert!(!shown("addr show dev left").contains(text));
            assert!(std::net::TcpListener::bind((address, 0)).is_err(), "it is gone");
        }
    });
}

#[test]
fn an_interface_that_is_not_there_is_named_as_such() {
    in_namespace(|| {
        let error = add(&config("nowhere"), "192.0.2.7".parse().unwrap()).unwrap_err();
        assert_eq!(explained(&error), "there is no such interface");
    });
}

/// Another machine on the same wire; its namespace has a name, which goes with this.
struct Neighbour(String);

impl Neighbour {
    fn new() -> Neighbour {
        let neighbour = Neighbour(format!("mainstay-test-{}", std::process::id()));
        assert!(ip(&format!("netns add {}", neighbour.0)) && ip(&format!("link set right netns {}", neighbour.0)));
        neighbour.ip("link set right up");
        neighbour
    }

    fn ip(&self, arguments: &str) {
        assert!(ip(&format!("-n {} {arguments}", self.0)), "{arguments}");
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.0));
    }
}

#[test]
fn neighbours_are_told() {
    in_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let neighbour = Neighbour::new();
        // Whoever was the primary before: the neighbour's caches say so.
        let old = "02:00:00:00:00:01";
        neighbour.ip("addr add 192.0.2.1/24 dev right");
        neighbour.ip("-6 addr add 2001:db8::1/64 dev right nodad");
        for address in ["192.0.2.7", "2001:db8::7"] {
            neighbour.ip(&format!("neigh replace {address} lladdr {old} dev right nud stale"));
            let address: IpAddr = address.parse().unwrap();
            let interface = add(&config("left"), address).unwrap();
            let hardware = interface.hardware.expect("a veth has one").map(|byte| format!("{byte:02x}")).join(":");
            let known = || shown(&format!("-n {} neigh show {address} dev right", neighbour.0));
            // Until it is known, or everything was said.
            runtime.block_on(async {
                let mut telling = tokio::spawn(announce::tell_neighbours(interface, address));
                while !known().contains(&hardware) {
                    if tokio::time::timeout(Duration::from_millis(50), &mut telling).await.is_ok() {
                        break;
                    }
                }
            });
            assert!(known().contains(&hardware), "{address} should be at {hardware} by now: {}", known());
        }
    });
}

/// What a service was asked to do after a crash of its node.
#[test]
fn what_an_earlier_life_left_is_removed_once() {
    in_namespace(|| {
        let mut state = crate::host::tests::cluster_of_one();
        let volume = state.volumes.values_mut().next().expect("it has a volume");
        volume.export.service_address = "192.0.2.7".into();
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        add(&config("left"), address).unwrap();
        let mut addresses = Addresses::new(Some(config("left")));
        addresses.clear(&state);
        assert!(!shown("addr show dev left").contains("192.0.2.7"));
        // From now on it is this life's own.
        add(&config("left"), address).unwrap();
        addresses.clear(&state);
        assert!(shown("addr show dev left").contains("192.0.2.7"));
    });
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    assert!(understood(&[]).is_err() && understood(&[1, 2, 3]).is_err());
    let huge = [&u32::MAX.to_ne_bytes()[..], &[0; 12]].concat();
    assert!(understood(&huge).is_err());
    let denied = [&20u32.to_ne_bytes()[..], &ERROR.to_ne_bytes(), &[0; 10], &(-1i32).to_ne_bytes()].concat();
    assert_eq!(understood(&denied).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert!(link(&[0; 8]).is_none());
    // An attribute that claims no length must not make it loop.
    assert!(link(&[[0; 16].as_slice(), &[0; 8]].concat()).is_none());
}
