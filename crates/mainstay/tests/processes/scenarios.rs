//! Scenarios of the drills that are real on processes, by their names there. What must hold is judged by `verdict` after each; what
//! is asserted here is what the scenario itself is about.

use super::clients::Crowd;
use super::cluster::{Cluster, LEASE, Setup, serves, volume};
use super::network::{A, At, B, Clients, W};
use super::verdict::{B_PROMOTED, Ending, NOTHING_CHANGED, play};
use mainstay_node::admin::api::{ClusterStatus, ErrorKind, NewMaintenance};
use mainstay_node::admin::client::ClientError;
use std::time::Duration;

/// Longest time without any answer, while the primary stays the primary: shrinking the in-sync set takes half a lease, and the
/// machine is busy.
const HICCUP: Duration = Duration::from_secs(4);
/// Bytes on the wire for a hundred bytes of file data, at most, for what a returning node is sent: heads, names, TLS, TCP.
const MOVED_PERCENT_MAX: u64 = 125;
/// What may be moved besides, bytes: decisions, and for each interruption what had left A and was not on B's disk yet.
const MOVED_SLACK_BYTES: u64 = 2 << 20;
const MIB: u64 = 1 << 20;

fn with(seed: u64, crowd: Crowd) -> Setup {
    Setup { seed, crowd, ..Setup::default() }
}

fn nobody_serves(status: &ClusterStatus) -> bool {
    volume(status).is_some_and(|volume| volume.state != "serving")
}

fn undisputed(status: &ClusterStatus, primary: At) -> bool {
    serves(status, primary) && status.proposals.is_empty()
}

/// P6: what moves is what changes, not the size of the volume.
struct Moved {
    carried: u64,
    written: u64,
}

impl Moved {
    fn since(cluster: &Cluster) -> Moved {
        Moved { carried: cluster.network.carried(A, B), written: cluster.clients().bytes_written() }
    }

    fn check(&self, cluster: &Cluster, interruptions: u64) {
        let moved = cluster.network.carried(A, B) - self.carried;
        let changed = cluster.clients().bytes_written() - self.written;
        cluster.note(&format!("{:.1} MB moved, {:.1} MB of file data changed", moved as f64 / 1e6, changed as f64 / 1e6));
        let most = changed * MOVED_PERCENT_MAX / 100 + MOVED_SLACK_BYTES * (1 + interruptions);
        assert!(moved <= most, "P6: {moved} bytes moved although {changed} changed; {}", cluster.describe());
    }
}

fn check_not_promotable(cluster: &Cluster, node: At) {
    let name = node.name();
    let explained = cluster.try_once(|admin| async move { admin.explain_promote(name, "files").await });
    // Whoever cannot be asked promotes nobody either.
    if let Ok(explained) = explained {
        assert!(!explained.promotable, "{name} must not be promotable: {explained:?}");
    }
}

fn check_unnoticed(cluster: &Cluster) {
    let clients = cluster.clients();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let noticed = (count(&clients.shared.retried), count(&clients.shared.given_up));
    assert_eq!(noticed, (0, 0), "clients asked again, or gave up; {}", cluster.describe());
    check_hiccup(cluster);
}

fn check_hiccup(cluster: &Cluster) {
    let longest = cluster.clients().longest_wait();
    assert!(longest <= HICCUP, "clients waited {:.1} s; {}", longest.as_secs_f64(), cluster.describe());
}

/// The day of the outage: B leaves for maintenance, clients write on, B comes back while a link blips. Nobody notices.
#[test]
fn s01_the_incident() {
    play(with(1, Crowd { large_writes: true, ..Crowd::default() }), |cluster| {
        cluster.answered(100);
        let maintenance = cluster.begin_maintenance(B);
        cluster.stop(B);
        cluster.until_in_sync(&[A]);
        let before = Moved::since(cluster);
        cluster.written(6 * MIB);
        cluster.boot(B);
        cluster.cut(A, W);
        std::thread::sleep(LEASE / 3);
        cluster.heal();
        cluster.until_in_sync(&[A, B]);
        before.check(cluster, 0);
        cluster.end_maintenance(maintenance);
        cluster.throughout("a serves and nothing is proposed", LEASE, |status| undisputed(status, A));
        check_unnoticed(cluster);
        NOTHING_CHANGED
    });
}

/// Everything is off, and only B boots, whose copy is old. It is not promoted, alone or with the witness.
#[test]
fn s02_stale_cold_boot() {
    play(with(2, Crowd::default()), |cluster| {
        cluster.answered(100);
        cluster.kill(B);
        cluster.until_in_sync(&[A]);
        cluster.answered(200);
        cluster.kill(A);
        cluster.kill(W);
        cluster.start_node(B);
        cluster.throughout("b alone serves nothing", 2 * LEASE, nobody_serves);
        check_not_promotable(cluster, B);
        cluster.boot(W);
        cluster.throughout("b is not even proposed", 2 * LEASE, |status| nobody_serves(status) && status.proposals.is_empty());
        check_not_promotable(cluster, B);
        cluster.boot(A);
        cluster.promote(A);
        Ending { primary: A, promotions: 1 }
    });
}

/// B goes, A is written to, A goes, and B is back first with an old copy. It waits for A.
#[test]
fn s03_see_saw() {
    play(with(3, Crowd::default()), |cluster| {
        for _ in 0..2 {
            cluster.answered(100);
            cluster.kill(B);
            cluster.until_in_sync(&[A]);
            cluster.answered(150);
            cluster.kill(A);
            cluster.boot(B);
            cluster.throughout("b is not promoted", LEASE * 3 / 2, |status| nobody_serves(status) && status.proposals.is_empty());
            check_not_promotable(cluster, B);
            cluster.boot(A);
            cluster.promote(A);
            cluster.until_whole(A);
        }
        Ending { primary: A, promotions: 2 }
    });
}

/// A dies, B is promoted, A returns: as a secondary, with clients that still know its address.
#[test]
fn s04_zombie_primary() {
    play(with(4, Crowd::default()), |cluster| {
        cluster.answered(150);
        cluster.kill(A);
        cluster.promote(B);
        cluster.answered(150);
        cluster.boot(A);
        cluster.until_whole(B);
        cluster.answered(150);
        B_PROMOTED
    });
}

/// A was the primary before. It comes back, and nothing goes back to it by itself.
#[test]
fn s05_auto_failback() {
    play(with(5, Crowd::default()), |cluster| {
        cluster.answered(100);
        cluster.stop(A);
        cluster.promote(B);
        cluster.written(2 * MIB);
        cluster.boot(A);
        check_not_promotable(cluster, A);
        cluster.until_whole(B);
        check_not_promotable(cluster, A);
        cluster.throughout("b serves on, nothing is proposed", 2 * LEASE, |status| undisputed(status, B));
        B_PROMOTED
    });
}

/// A and B lose sight of each other; W sees both. A goes on alone once the set has shrunk, and B stays what it is.
#[test]
fn s06_peer_link_cut() {
    play(with(6, Crowd::default()), |cluster| {
        cluster.answered(150);
        cluster.cut(A, B);
        cluster.until_in_sync(&[A]);
        cluster.throughout("a serves, nothing is proposed", 2 * LEASE, |status| undisputed(status, A));
        cluster.answered(150);
        cluster.heal();
        cluster.until_whole(A);
        check_hiccup(cluster);
        NOTHING_CHANGED
    });
}

/// The same while B leads coordination, so that A reaches no leader and could have nothing decided: leadership moves to W first.
#[test]
fn s06_peer_link_cut_while_b_leads() {
    play(with(6, Crowd::default()), |cluster| {
        cluster.answered(100);
        // Whoever of A and W leads loses the other, and only B reaches both.
        cluster.cut(A, W);
        cluster.until_leads(B);
        cluster.heal();
        cluster.until_whole(A);
        cluster.answered(100);
        cluster.cut(A, B);
        cluster.until_leads(W);
        cluster.until_in_sync(&[A]);
        cluster.throughout("a serves, nothing is proposed", 2 * LEASE, |status| undisputed(status, A));
        cluster.answered(150);
        cluster.heal();
        cluster.until_whole(A);
        check_hiccup(cluster);
        NOTHING_CHANGED
    });
}

/// A is cut off from the other nodes, not from its clients. Its lease ends before B can be granted anything.
#[test]
fn s07_isolated_primary() {
    play(with(7, Crowd { think_ms_max: 4, registers: 4, ..Crowd::default() }), |cluster| {
        cluster.answered(200);
        cluster.cut(A, B);
        cluster.cut(A, W);
        cluster.promote(B);
        cluster.answered(200);
        cluster.heal();
        cluster.until_whole(B);
        B_PROMOTED
    });
}

/// One direction of one link is lost, then another's. Nobody is promoted for it, and A goes on.
#[test]
fn s08_one_way() {
    play(with(8, Crowd::default()), |cluster| {
        cluster.answered(100);
        for (from, to) in [(A, W), (B, A), (A, B), (W, A)] {
            cluster.cut_one_way(from, to);
            cluster.throughout("a serves, nothing is proposed", 2 * LEASE, |status| {
                volume(status).and_then(|volume| volume.primary.as_deref()) == Some("a") && status.proposals.is_empty()
            });
            cluster.answered(50);
            cluster.heal();
            cluster.until_whole(A);
        }
        NOTHING_CHANGED
    });
}

/// The witness dies and returns. It votes and gates nothing.
#[test]
fn s09_witness_loss() {
    play(with(9, Crowd::default()), |cluster| {
        cluster.answered(100);
        for _ in 0..2 {
            cluster.kill(W);
            cluster.throughout("a serves", LEASE * 3 / 2, |status| undisputed(status, A));
            cluster.answered(200);
            cluster.boot(W);
            cluster.until_whole(A);
        }
        check_unnoticed(cluster);
        NOTHING_CHANGED
    });
}

/// W and B are lost together. A alone is no majority: it stops answering, and nobody promotes itself.
#[test]
fn s10_witness_and_secondary() {
    play(with(10, Crowd::default()), |cluster| {
        cluster.answered(150);
        cluster.kill(W);
        cluster.kill(B);
        cluster.until_silent();
        cluster.silent_for(2 * LEASE);
        cluster.boot(B);
        cluster.answered(100);
        cluster.boot(W);
        NOTHING_CHANGED
    });
}

/// The witness's disk is set back to what it held before B was promoted: its promise is forgotten, and its vote. Then B dies. No
/// epoch is given twice, because A and B, a majority, remember. (Set back while A does not know either, the decision would be lost
/// with the disk: docs/SAFETY.md, assumptions.)
#[test]
fn s11_witness_amnesia() {
    play(with(11, Crowd::default()), |cluster| {
        cluster.stop(W);
        cluster.keep_data(W);
        cluster.boot(W);
        cluster.until_whole(A);
        cluster.answered(100);
        cluster.kill(A);
        cluster.promote(B);
        cluster.boot(A);
        cluster.until_whole(B);
        cluster.kill(W);
        cluster.set_back_data(W);
        cluster.boot(W);
        cluster.until_whole(B);
        cluster.answered(100);
        cluster.kill(B);
        cluster.promote(A);
        cluster.boot(B);
        Ending { primary: A, promotions: 2 }
    });
}

/// A is stopped past its lease, with requests in its sockets, and wakes up when B serves. It answers nothing late.
#[test]
fn s12_pause() {
    play(with(12, Crowd { think_ms_max: 2, registers: 4, ..Crowd::default() }), |cluster| {
        cluster.answered(200);
        cluster.pause(A);
        cluster.promote(B);
        cluster.answered(100);
        cluster.resume(A);
        cluster.answered(200);
        cluster.until_whole(B);
        // And a secondary that sleeps is left behind, and caught up.
        cluster.pause(A);
        cluster.until_in_sync(&[B]);
        std::thread::sleep(2 * LEASE);
        cluster.resume(A);
        cluster.until_whole(B);
        B_PROMOTED
    });
}

/// The link between A and B comes and goes. A serves on, and nothing is promoted back and forth.
#[test]
fn s16_flapping_link() {
    play(with(16, Crowd::default()), |cluster| {
        cluster.answered(100);
        for (number, away) in [LEASE / 4, LEASE, LEASE * 2, LEASE / 2, LEASE].into_iter().enumerate() {
            match number % 3 {
                0 => cluster.cut(A, B),
                1 => cluster.cut_one_way(A, B),
                _ => cluster.cut_one_way(B, A),
            }
            std::thread::sleep(away);
            cluster.heal();
            std::thread::sleep(LEASE / 2);
        }
        let status = cluster.until_whole(A);
        assert!(status.proposals.is_empty());
        check_hiccup(cluster);
        NOTHING_CHANGED
    });
}

/// A dies while B is catching up. The partial copy is not promoted; A comes back, serves again, and B goes on.
#[test]
fn s19_sync_source_dies() {
    play(with(19, Crowd { large_writes: true, ..Crowd::default() }), |cluster| {
        cluster.kill(B);
        cluster.until_in_sync(&[A]);
        cluster.written(8 * MIB);
        cluster.slow(A, B, 8);
        cluster.boot(B);
        cluster.until_catching_up(B);
        cluster.kill(A);
        cluster.throughout("b is not promoted", LEASE * 3 / 2, |status| nobody_serves(status) && status.proposals.is_empty());
        check_not_promotable(cluster, B);
        cluster.boot(A);
        cluster.promote(A);
        cluster.heal();
        cluster.until_whole(A);
        Ending { primary: A, promotions: 1 }
    });
}

/// B is killed five times on its way back. It goes on where it was, and what moves is what changed.
#[test]
fn s20_sync_interrupted() {
    const KILLS: u64 = 5;
    play(with(20, Crowd { large_writes: true, ..Crowd::default() }), |cluster| {
        cluster.kill(B);
        cluster.until_in_sync(&[A]);
        let before = Moved::since(cluster);
        cluster.written(30 * MIB);
        cluster.clients().set_think(500);
        cluster.slow(A, B, 40);
        for _ in 0..KILLS {
            cluster.boot(B);
            cluster.until_moved(A, B, 5 * MIB);
            cluster.kill(B);
        }
        cluster.heal();
        cluster.boot(B);
        cluster.until_whole(A);
        before.check(cluster, KILLS);
        NOTHING_CHANGED
    });
}

/// One replica is rebooted under load, again and again. It is in sync each time soon after.
#[test]
fn s22_reboot_heal() {
    play(with(22, Crowd { think_ms_max: 4, ..Crowd::default() }), |cluster| {
        for round in 0..4 {
            cluster.answered(150);
            match round % 2 {
                0 => cluster.kill(B),
                _ => cluster.stop(B),
            }
            cluster.until_in_sync(&[A]);
            cluster.answered(150);
            cluster.boot(B);
            cluster.until_whole(A);
        }
        check_unnoticed(cluster);
        NOTHING_CHANGED
    });
}

/// A's disk fills up under load. Writes are refused and nothing is lost; when there is room, it goes on.
#[test]
fn s24_primary_disk_full() {
    let setup = Setup { small_disk_mib: Some(96), ..with(24, Crowd { large_writes: true, ..Crowd::default() }) };
    play(setup, |cluster| {
        cluster.answered(150);
        cluster.fill_disk();
        cluster.until_no_space();
        cluster.throughout("nobody else is promoted", 2 * LEASE, |status| {
            volume(status).is_some_and(|volume| volume.primary.as_deref() == Some("a"))
        });
        cluster.free_disk();
        cluster.answered(150);
        cluster.until_whole(A);
        NOTHING_CHANGED
    });
}

/// An operator takes the wrong node for maintenance: the primary. It is refused by name of the rule, and clients notice nothing.
#[test]
fn s32_wrong_node() {
    play(with(32, Crowd::default()), |cluster| {
        cluster.answered(100);
        let new = NewMaintenance {
            node: "a".into(),
            reason: "a slip".into(),
            owner: String::new(),
            seconds: 1_800,
            allow_primary: false,
            dry_run: false,
        };
        match cluster.try_once(|admin| async move { admin.begin_maintenance(&new).await }) {
            Err(ClientError::Answer(answer)) => {
                assert_eq!((answer.error, answer.rule.as_deref()), (ErrorKind::Refused, Some("R10")), "{answer}");
            }
            other => panic!("it should have been refused: {other:?}"),
        }
        cluster.throughout("a serves", LEASE, |status| undisputed(status, A) && status.maintenance.is_empty());
        check_unnoticed(cluster);
        NOTHING_CHANGED
    });
}

/// Somebody looks at a proposal, the primary is heard again, and only then the approval comes. It executes nothing.
#[test]
fn s36_approval_stale() {
    play(with(36, Crowd::default()), |cluster| {
        cluster.answered(100);
        cluster.pause(A);
        let proposal = cluster.proposal();
        cluster.resume(A);
        cluster.until_serves(A);
        let approved = cluster.try_approve(&proposal);
        cluster.note(&format!("the late approval: {approved:?}"));
        cluster.until("a serves, nothing is open", |status| undisputed(status, A));
        cluster.throughout("a serves on", 2 * LEASE, |status| undisputed(status, A));
        cluster.answered(100);
        NOTHING_CHANGED
    });
}

/// Two operators decide on one proposal at the same time, one for it and one against it. What is denied is not executed, whether
/// it was approved before or not; then the next proposal is.
#[test]
fn s37_double_approve() {
    play(with(37, Crowd::default()), |cluster| {
        cluster.answered(100);
        cluster.kill(A);
        let proposal = cluster.proposal();
        let (denier, id) = (cluster.admin(), proposal.id);
        let denied = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(denier.deny(id, "not now"))
        });
        let approved = cluster.try_approve(&proposal);
        let denied = denied.join().expect("it only asks");
        cluster.note(&format!("for it: {}; against it: {}", approved.is_ok(), denied.is_ok()));
        assert!(approved.is_ok() || denied.is_ok(), "both were refused: {approved:?} and {denied:?}");
        if denied.is_ok() {
            // After a person's no, nodes do not ask for the same again: a person does.
            cluster.propose(B);
            cluster.approve(B);
        }
        cluster.until_serves(B);
        cluster.boot(A);
        cluster.until_whole(B);
        B_PROMOTED
    });
}

/// A is cut off from the nodes, and the network leads its clients to it all the same. It tells them nothing; once they are led
/// elsewhere they go on with their old handles.
#[test]
fn s40_pinned_clients() {
    play(with(40, Crowd { think_ms_max: 4, registers: 4, ..Crowd::default() }), |cluster| {
        cluster.answered(200);
        cluster.router.pin(true);
        cluster.cut(A, B);
        cluster.cut(A, W);
        cluster.promote(B);
        cluster.silent_for(2 * LEASE);
        cluster.heal();
        cluster.until_whole(B);
        cluster.silent_for(LEASE);
        cluster.router.pin(false);
        cluster.answered(200);
        // And a client that loses the way to the primary while all is well finds it again.
        cluster.cut(B, Clients);
        std::thread::sleep(LEASE);
        cluster.heal();
        cluster.answered(100);
        B_PROMOTED
    });
}

/// Names change by the thousand while B is away and while it catches up. Both copies end the same.
#[test]
fn s42_mass_change() {
    play(with(42, Crowd { files: 5, think_ms_max: 1, mass_changes: true, ..Crowd::default() }), |cluster| {
        cluster.answered(200);
        cluster.kill(B);
        cluster.until_in_sync(&[A]);
        cluster.answered(2_000);
        cluster.boot(B);
        cluster.until_in_sync(&[A, B]);
        cluster.answered(500);
        NOTHING_CHANGED
    });
}
