//! Volumes that nobody could store here, rehearsed by size and rate.

use mainstay_simulator::queue::SECOND;
use mainstay_simulator::sizing::{Sizing, SizingError};
use mainstay_simulator::{Options, run, scenarios};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const LARGE: Sizing = Sizing {
    volume_bytes: 20 * TIB,
    changed_bytes: 200 * GIB,
    link_bytes_per_s: 125_000_000,
    disk_bytes_per_s: 2_000_000_000,
    rtt_ns: 500_000,
};

fn close(found: u64, wanted: u64, percent: u64) -> bool {
    found.abs_diff(wanted) <= wanted * percent / 100
}

/// The outage that all this is about: a volume so large that copying it timed out.
#[test]
fn the_incident_with_twenty_tebibytes_moves_what_changed_and_nobody_notices() {
    for seed in 0..2 {
        let outcome = run(
            seed,
            &scenarios::named("the-incident").expect("it is in the library"),
            Options { sizing: Some(LARGE), ..Options::default() },
        );
        assert!(outcome.ok(), "{}", outcome.report());
        let numbers = &outcome.numbers;
        assert!(outcome.stats.resyncs_by_change > 0, "the log of a gibibyte cannot hold what changed");
        assert!(close(numbers.bytes_changed, LARGE.changed_bytes, 10), "{} bytes changed", numbers.bytes_changed);
        assert!(close(numbers.bytes_moved, LARGE.changed_bytes, 10), "{} bytes moved", numbers.bytes_moved);
        let wire = LARGE.moves_within(u64::MAX);
        assert!(close(numbers.in_sync_after_ns, wire, 20), "in sync after {} s", numbers.in_sync_after_ns / SECOND);
        assert_eq!((numbers.role_changes, numbers.promotions, numbers.client_errors), (0, 0, 0));
        assert!(numbers.outage_ns < 4 * SECOND, "{numbers:?}");
    }
}

/// As anybody would ask for it first: nothing said but the volume and the link, so a tenth of it changed on a disk of 500 MB/s.
/// Here a simulated byte is worth most, and a wait must still be one.
#[test]
fn two_tebibytes_changed_are_moved_without_a_client_that_waits() {
    let sizing = Sizing { changed_bytes: 2 * TIB, disk_bytes_per_s: 500_000_000, ..LARGE };
    let scenario = scenarios::named("the-incident").expect("it is in the library");
    let outcome = run(0, &scenario, Options { sizing: Some(sizing), ..Options::default() });
    assert!(outcome.ok(), "{}", outcome.report());
    let numbers = &outcome.numbers;
    assert!(close(numbers.bytes_changed, 2 * TIB, 5) && close(numbers.bytes_moved, 2 * TIB, 5), "{numbers:?}");
    assert_eq!((numbers.role_changes, numbers.promotions, numbers.client_errors, numbers.outage()), (0, 0, 0, 0), "{numbers:?}");
}

/// The throttle is real, too: it bounds the resync when it is slower than the link.
#[test]
fn twice_the_link_is_half_the_time_up_to_the_throttle() {
    let after = |link_bytes_per_s| {
        let sizing = Sizing { changed_bytes: 50 * GIB, link_bytes_per_s, ..LARGE };
        let outcome = run(
            1,
            &scenarios::named("the-incident").expect("it is in the library"),
            Options { sizing: Some(sizing), ..Options::default() },
        );
        assert!(outcome.ok(), "{}", outcome.report());
        outcome.numbers.in_sync_after_ns
    };
    let (slow, fast, unbounded) = (after(50_000_000), after(100_000_000), after(10_000_000_000));
    assert!(close(slow, 2 * fast, 15), "{slow} {fast}");
    let throttle = Sizing { changed_bytes: 50 * GIB, link_bytes_per_s: 10_000_000_000, ..LARGE }.moves_within(200_000_000);
    assert!(throttle < fast && close(unbounded, throttle, 30), "{unbounded} {throttle}");
}

#[test]
fn what_cannot_be_is_refused() {
    assert_eq!(LARGE.check(), Ok(()));
    let refused = |sizing: Sizing| sizing.check().expect_err("impossible");
    assert_eq!(refused(Sizing { changed_bytes: 21 * TIB, ..LARGE }), SizingError::ChangedMoreThanVolume);
    assert_eq!(refused(Sizing { changed_bytes: 0, ..LARGE }), SizingError::NothingChanged);
    assert_eq!(refused(Sizing { link_bytes_per_s: 0, ..LARGE }), SizingError::NoLink);
    assert_eq!(refused(Sizing { disk_bytes_per_s: 0, ..LARGE }), SizingError::NoDisk);
    assert_eq!(refused(Sizing { volume_bytes: u64::MAX, ..LARGE }), SizingError::VolumeTooLarge);
    assert_eq!(refused(Sizing { link_bytes_per_s: 1, ..LARGE }), SizingError::TooSlow);
    let fast = Sizing { volume_bytes: 400 * TIB, changed_bytes: 200 * TIB, link_bytes_per_s: 2_000_000_000, ..LARGE };
    let coarse = Sizing { disk_bytes_per_s: 200_000_000, ..fast };
    assert_eq!(refused(coarse), SizingError::TooCoarse);
    assert_eq!(fast.check(), Ok(()));
    assert!(SizingError::TooSlow.to_string().contains("30 days"));
}

/// Nobody leaves, but the two are cut apart: the change is written meanwhile, as when one of them is off. The file says the sizes.
#[test]
fn a_file_with_its_sizes_is_rehearsed_by_them() {
    let text = "scenario apart\nlasts 60s\nvolume 1TiB changed 2GiB link 1Gbit/s disk 500MB/s rtt 500us\nsoft 0%\n\
                at 10s: measure\nat 10s: cut a b\nat 30s: heal a b\n";
    let script = mainstay_simulator::script::parse("apart", text).unwrap_or_else(|error| panic!("{error}"));
    let outcome = run(1, &mainstay_simulator::Scenario::from(script), Options::default());
    assert!(outcome.ok(), "{}", outcome.report());
    let numbers = &outcome.numbers;
    assert!(close(numbers.bytes_changed, 2 * GIB, 10), "{numbers:?}");
    assert!(numbers.bytes_moved < 4 * GIB && numbers.bytes_moved > GIB, "{numbers:?}");
    assert_eq!((numbers.role_changes, numbers.promotions), (0, 0));
    assert!(numbers.without_redundancy_ns > 15 * SECOND, "{numbers:?}");
}
