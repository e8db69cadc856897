//! From a cluster's status to an answer: the state is taken over, and the step is judged as its operator would.

use super::*;
use mainstay_node::admin::api::{ClusterStatus, MaintenanceStatus, VolumeStatus};
use mainstay_protocol::NodeId;
use mainstay_simulator::scenario::{A, Action, B};

const NOW: i64 = 1_800_000_000;
const MINUTE: u64 = 60_000_000_000;

/// A healthy cluster: a reigns, 50 GiB are in use, clients change 1 MB/s.
pub fn status() -> ClusterStatus {
    serde_json::from_str(include_str!("../fixtures/status.json")).unwrap()
}

fn volume(status: &mut ClusterStatus) -> &mut VolumeStatus {
    &mut status.volumes[0]
}

fn fork(status: &ClusterStatus) -> Fork {
    Fork::of(status, None, None, NOW).unwrap()
}

/// b runs and is not in sync; 3 GiB of it are not there yet.
fn behind() -> ClusterStatus {
    let mut status = status();
    let volume = volume(&mut status);
    volume.in_sync.retain(|node| node == "a");
    volume.replicas[1].state = "catching-up".into();
    volume.replicas[1].lag_bytes = Some(3 << 30);
    status
}

fn maintained(status: &mut ClusterStatus, node: &str, seconds: i64) {
    let one = MaintenanceStatus {
        id: 1,
        node: node.into(),
        owner: "olga".into(),
        reason: "disks".into(),
        state: "active".into(),
        began_at: NOW - 60,
        ends_at: NOW + seconds,
        overdue: false,
    };
    status.maintenance.push(one);
}

fn ask(status: &ClusterStatus, words: &str) -> Answer {
    let fork = fork(status);
    let words = step::words(&[words.into()]);
    let step = step::parse(&words, &fork.names).unwrap();
    // One seed: this is about the answer, not about chance.
    usual(&fork, &step, step.lasts, 1, &|| false).unwrap().unwrap()
}

fn has(list: &[String], part: &str) -> bool {
    list.iter().any(|line| line.contains(part))
}

fn told(answer: &Answer, part: &str) -> bool {
    answer.told.story.iter().any(|moment| moment.text.contains(part))
}

#[test]
fn the_state_of_the_cluster_is_taken_over() {
    let mut status = status();
    maintained(&mut status, "b", 600);
    status.nodes[2].state = "unreachable".into();
    let volume = volume(&mut status);
    (volume.primary, volume.breaker_open, volume.without_primary) = (Some("b".into()), true, "close".into());
    let settings = status.settings.as_mut().unwrap();
    (settings.lease_ms, settings.resync_bytes_per_second) = (5_000, 50_000_000);
    let fork = fork(&status);
    let step = Step { kind: Kind::Stop(A), lasts: MINUTE, guessed: false };
    let thought = Thought { rules: fork.rules, sizing: Default::default(), change_rate: 1_000_000, approve_after: MINUTE };
    let plan = world::plan(&fork, &step, &thought).unwrap();
    assert_eq!((plan.cluster.primary, plan.cluster.breaker_open, plan.lease_ms), (B, true, 5_000));
    assert_eq!(plan.cluster.without_primary, mainstay_cluster::WithoutPrimary::Close);
    assert_eq!(plan.resync_bytes_per_second, 50_000_000);
    let sizing = plan.sizing.unwrap();
    assert_eq!((sizing.volume_bytes, sizing.changed_bytes), (50 << 30, 60_000_000));
    let does = |wanted: &dyn Fn(&Action) -> bool| plan.script.iter().any(|(_, action)| wanted(action));
    assert!(does(&|action| matches!(action, Action::PlanMaintenance { node, .. } if *node == B)));
    assert!(does(&|action| matches!(action, Action::Crash(NodeId(3), _))), "the witness is away");
    // What is kept can be replayed.
    let printed = script::print_as(NAME, "A story.", &plan);
    let again = Scenario::from(script::parse("kept", &printed).unwrap());
    assert_eq!(mainstay_simulator::plan(3, &again), plan);
}

#[test]
fn maintenance_of_the_secondary_is_noticed_by_nobody() {
    let answer = ask(&status(), "maintenance b 5m");
    assert!(answer.good(), "{:?}", answer.reasons());
    let numbers = &answer.told.numbers;
    assert_eq!((numbers.promotions, numbers.role_changes), (0, 0));
    assert!((280..330).contains(&(numbers.without_redundancy_ns / 1_000_000_000)), "{numbers:?}");
    // From the log, in which the stream may send a part twice; never the size of the volume.
    assert!((300_000_000..600_000_000).contains(&numbers.bytes_moved), "{numbers:?}");
    assert_eq!(answer.roles, "a stays the primary");
    assert_eq!(answer.told.pages, Vec::<String>::new());
    let text = text::render(&answer, output::Style { colour: false });
    for part in [
        "what if: maintenance of b for 5 min   cluster shop   volume files",
        "good: nobody would notice",
        "50.0 GiB in the volume",
        "clients change 1 MB/s, on average since a started 1 h ago",
        "link 125 MB/s",
        "b leaves the in-sync set",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn the_loss_of_the_primary_waits_for_a_person() {
    let answer = ask(&status(), "crash a 10m");
    assert!(!answer.good());
    assert!(answer.reasons()[0].contains("nothing could be written"), "{:?}", answer.reasons());
    let numbers = &answer.told.numbers;
    assert_eq!(numbers.promotions, 1);
    assert!((300..330).contains(&(numbers.outage_ns / 1_000_000_000)), "{numbers:?}");
    assert!(told(&answer, "b becomes the primary") && told(&answer, "a person approves b as primary"), "{:?}", answer.told.story);
    for page in ["writes are not answered", "a promotion of b waits for approval", "node a is unreachable"] {
        assert!(has(&answer.told.pages, page), "{page}: {:?}", answer.told.pages);
    }
}

#[test]
fn an_open_breaker_and_a_living_primary_refuse() {
    let mut open = status();
    volume(&mut open).breaker_open = true;
    let answer = ask(&open, "crash a 7m");
    assert!(!answer.good() && answer.told.promotions == 0, "{:?}", answer.told);
    assert!(answer.reasons()[0].starts_with("nothing could be written any more"), "{:?}", answer.reasons());
    assert!(has(&answer.begins_with, "the breaker is open") && has(&answer.told.pages, "before a person resets it"));
    let answer = ask(&status(), "promote b");
    assert!(answer.good() && told(&answer, "refused: promotion of b") && told(&answer, "R13"), "{:?}", answer.told.story);
}

#[test]
fn what_is_not_whole_begins_so() {
    let mut away = status();
    away.nodes[1].state = "unreachable".into();
    volume(&mut away).in_sync.retain(|node| node == "a");
    let answer = ask(&away, "maintenance w 2m");
    assert_eq!(answer.one_copy_only, "the whole time: b is away now, and this does not bring it back");
    assert!(has(&answer.told.pages, "node b is unreachable") && has(&answer.begins_with, "away b"));

    let behind = behind();
    assert_eq!(fork(&behind).missing_bytes, Some(3 << 30));
    let answer = ask(&behind, "stop a 2m");
    // Nobody can take over from a copy that is not whole.
    assert_eq!(answer.told.numbers.promotions, 1, "{:?}", answer.told.story);
    assert!(told(&answer, "a becomes the primary") && !told(&answer, "b becomes the primary"), "{:?}", answer.told.story);
    assert!(has(&answer.measured, "b still misses 3.0 GiB"), "{:?}", answer.measured);
}

#[test]
fn a_standing_maintenance_stands() {
    let mut status = status();
    maintained(&mut status, "b", 60);
    let answer = ask(&status, "maintenance b 3m");
    assert!(answer.good() && told(&answer, "b is in maintenance already"), "{:?}", answer.told.story);
    assert!(has(&answer.told.pages, "still open at its end, in 60.0 s"), "{:?}", answer.told.pages);
}

#[test]
fn nodes_have_their_own_names() {
    let mut status = status();
    for (node, name) in status.nodes.iter_mut().zip(["fs1", "fs2", "tie"]) {
        node.name = name.into();
    }
    let volume = volume(&mut status);
    (volume.primary, volume.in_sync) = (Some("fs2".into()), vec!["fs1".into(), "fs2".into()]);
    for (replica, name) in volume.replicas.iter_mut().zip(["fs1", "fs2"]) {
        replica.node = name.into();
    }
    let answer = ask(&status, "stop fs1 1m");
    assert!(answer.good() && told(&answer, "fs1 leaves the in-sync set"), "{:?}", answer.told.story);
    assert_eq!(answer.roles, "fs2 stays the primary");
    assert!(has(&answer.begins_with, "in the simulation a is fs1, b is fs2 and w is tie"));
}

#[test]
fn what_cannot_be_forked_is_said() {
    let error = |status: &ClusterStatus, volume: Option<&str>| Fork::of(status, volume, None, NOW).err().unwrap().to_string();
    let mut two = status();
    two.nodes.remove(2);
    assert_eq!(error(&two, None), "cluster shop has 2 file servers and 0 witnesses; two and one can be rehearsed");
    let mut empty = status();
    empty.volumes.clear();
    assert!(error(&empty, None).contains("has no volume yet"));
    assert_eq!(error(&status(), Some("flies")), "--volume flies: the volumes of shop are files");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\"cluster\": \"shop\",\n \"id\": 7}").unwrap();
    let error = fork::saved(file.path()).err().unwrap().to_string();
    assert!(error.contains("not what `mainstay status -o json` prints") && error.contains("line 2 column"), "{error}");
}

#[test]
fn of_several_volumes_the_one_in_most_danger_is_taken() {
    let mut several = status();
    let mut other = several.volumes[0].clone();
    (other.name, other.primary) = ("mail".into(), Some("b".into()));
    several.volumes.push(other);
    let chosen = |about: &str| Fork::of(&several, None, Some(about), NOW).unwrap();
    assert_eq!((chosen("a").volume.as_str(), chosen("b").volume.as_str()), ("files", "mail"));
    assert_eq!(text::left_out(&chosen("a")), ["the other volumes: mail (--volume)"]);
}
