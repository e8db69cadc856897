//! The questions.

use crate::cluster::{Cluster, Told, init, note, notes};
use mainstay_cluster::RefusalKind;
use mainstay_protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// More than the snapshot interval of the backends under test, so that the log of it is gone.
const MANY: usize = 60;
/// A member that the leader does not reach has its command decided within this. It takes some election times (a second or two
/// each); the rest is for busy machines.
const GOES_ON_MAX: Duration = Duration::from_secs(30);
/// For so long it is watched who leads, and as many changes are too many: one is needed. Leadership that went to and fro as fast as
/// the pauses between two moves let it would change more often.
const WATCHED: Duration = Duration::from_secs(15);
const LEADERS_MAX: usize = 3;

pub fn an_accepted_command_is_seen_by_everybody_in_one_order(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    let nodes = cluster.nodes();
    let mut tickets = Vec::new();
    for nth in 0..8 {
        for node in &nodes {
            tickets.push(cluster.begin(*node, note(&format!("{node} says {nth}"))));
        }
    }
    let mut versions = BTreeSet::new();
    for ticket in tickets {
        let mut told = None;
        cluster.until("an answer", |cluster| {
            told = cluster.answer(ticket);
            told.is_some()
        });
        match told {
            Some(Told::Accepted(version)) => assert!(versions.insert(version), "two commands made version {version}"),
            other => panic!("nothing is wrong, yet {other:?}"),
        }
    }
    cluster.agree(*versions.last().expect("some were accepted"));
    let seen = notes(&cluster.view(nodes[0]));
    assert_eq!(seen.len(), nodes.len() * 8, "each exactly once");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
}

pub fn a_refusal_comes_back_typed_and_changes_nothing_but_the_audit_log(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    for node in cluster.nodes() {
        let Told::Refused(refusal) = cluster.propose(node, init()) else { panic!("a second init must be refused") };
        assert!(matches!(*refusal.kind, RefusalKind::AlreadyInitialised(_)), "{refusal:?}");
    }
    let before = cluster.view(NodeId(1));
    cluster.agree(before.version);
    assert_eq!(cluster.view(NodeId(1)).nodes.len(), 1);
}

pub fn without_a_majority_nothing_is_decided(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    cluster.agree(1);
    let version = cluster.view(NodeId(1)).version;
    cluster.isolate(NodeId(1));
    cluster.isolate(NodeId(2));
    for node in cluster.nodes() {
        let told = cluster.propose(node, note(&format!("alone {node}")));
        assert!(matches!(told, Told::Unknown | Told::Unavailable), "{node} alone was told {told:?}");
        assert_eq!(cluster.view(node).version, version, "{node} alone shows something new");
    }
    cluster.heal();
    cluster.decide(NodeId(3), note("together"));
    cluster.agree(version + 1);
}

pub fn a_minority_sees_nothing_new_until_it_returns(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    cluster.agree(1);
    for lost in cluster.nodes() {
        cluster.isolate(lost);
        // What the node before it had proposed alone may have been decided after its return; and one that led may still see that.
        cluster.until("that another leads", |cluster| cluster.leader().is_some_and(|leader| leader != lost));
        let version = cluster.view(lost).version;
        let other = cluster.nodes().into_iter().find(|node| *node != lost).expect("three nodes");
        cluster.decide(other, note(&format!("without {lost}")));
        let told = cluster.propose(lost, note(&format!("from {lost} alone")));
        assert!(matches!(told, Told::Unknown | Told::Unavailable), "{lost} alone was told {told:?}");
        assert_eq!(cluster.view(lost).version, version);
        cluster.heal();
        cluster.agree(version + 1);
    }
}

pub fn a_restart_keeps_the_state(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    for node in cluster.nodes() {
        cluster.decide(node, note("before"));
        cluster.agree(2);
        let before = cluster.view(node);
        cluster.crash(node);
        cluster.start(node);
        assert!(cluster.view(node).version >= before.version, "{node} went back from {}", before.version);
        cluster.decide(node, note("after"));
    }
    cluster.agree(7);
}

pub fn all_nodes_restarting_keep_the_state(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    cluster.decide(NodeId(2), note("kept"));
    cluster.agree(2);
    let before = cluster.view(NodeId(1));
    let nodes = cluster.nodes();
    nodes.iter().for_each(|node| cluster.crash(*node));
    nodes.iter().for_each(|node| cluster.start(*node));
    cluster.decide(NodeId(3), note("and on"));
    cluster.agree(before.version + 1);
    assert!(notes(&cluster.view(NodeId(2))).contains(&"kept".to_string()));
}

pub fn a_node_that_lagged_far_behind_catches_up(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    cluster.agree(1);
    cluster.crash(NodeId(3));
    let tickets: Vec<u64> = (0..MANY).map(|nth| cluster.begin(NodeId(1), note(&format!("{nth}")))).collect();
    for ticket in tickets {
        cluster.until("an answer", |cluster| cluster.answer(ticket).is_some());
    }
    cluster.decide(NodeId(2), note("last"));
    cluster.start(NodeId(3));
    cluster.agree(2);
    assert!(notes(&cluster.view(NodeId(3))).contains(&"last".to_string()));
}

pub fn a_leader_that_dies_between_proposals_loses_no_accepted_one(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    for round in 0..3 {
        cluster.until("a leader", |cluster| cluster.leader().is_some());
        let leader = cluster.leader().expect("just seen");
        let mut asked = BTreeMap::new();
        for nth in 0..6 {
            for node in cluster.nodes() {
                let text = format!("round {round}, {node}, {nth}");
                asked.insert(cluster.begin(node, note(&text)), text);
            }
            if nth == 3 {
                cluster.crash(leader);
            }
        }
        cluster.start(leader);
        let mut told = BTreeMap::new();
        cluster.until("all answers but the dead leader's", |cluster| {
            for (ticket, text) in &asked {
                if let Some(answer) = cluster.answer(*ticket) {
                    told.insert(text.clone(), answer);
                }
            }
            let waited_for = |text: &&String| !text.contains(&format!(" {leader},"));
            asked.values().filter(waited_for).all(|text| told.contains_key(text))
        });
        cluster.decide(NodeId(2), note(&format!("after round {round}")));
        cluster.agree(2);
        let seen = notes(&cluster.view(NodeId(1)));
        for (text, answer) in &told {
            let times = seen.iter().filter(|seen| *seen == text).count();
            match answer {
                Told::Accepted(_) => assert_eq!(times, 1, "accepted, yet there {times} times: {text}"),
                Told::Unavailable => assert_eq!(times, 0, "surely not decided, yet there: {text}"),
                Told::Unknown => assert!(times <= 1, "there {times} times: {text}"),
                Told::Refused(refusal) => panic!("{text}: {refusal}"),
            }
        }
    }
}

/// The story: the two file servers lost sight of each other, both saw the witness, and the one that was no primary led. The primary
/// could not have the other taken out of the in-sync set, and writes stopped until the cable was mended.
pub fn a_member_that_only_the_leader_does_not_reach_goes_on(mut cluster: impl Cluster) {
    goes_round(&mut cluster, |leader, lost| vec![(leader, lost), (lost, leader)]);
}

pub fn a_link_that_carries_one_way_only_stops_nobody(mut cluster: impl Cluster) {
    goes_round(&mut cluster, |leader, lost| vec![(leader, lost)]);
    goes_round(&mut cluster, |leader, lost| vec![(lost, leader)]);
}

fn goes_round(cluster: &mut impl Cluster, cut: impl Fn(NodeId, NodeId) -> Vec<(NodeId, NodeId)>) {
    cluster.decide(NodeId(1), init());
    let before = cluster.view(NodeId(1)).version;
    cluster.agree(before);
    cluster.until("a leader", |cluster| cluster.leader().is_some());
    let leader = cluster.leader().expect("just seen");
    let lost = cluster.nodes().into_iter().find(|node| *node != leader).expect("three nodes");
    let began = cluster.elapsed();
    cut(leader, lost).into_iter().for_each(|(from, to)| cluster.cut(from, to));
    cluster.decide(lost, note("round the cut"));
    cluster.until("that the proposer knows it", |cluster| notes(&cluster.view(lost)).contains(&"round the cut".to_string()));
    let took = cluster.elapsed() - began;
    println!("decided and known after {} ms", took.as_millis());
    assert!(took <= GOES_ON_MAX, "it took {took:?}");
    let changes = leader_changes(cluster, began + WATCHED);
    assert!(changes <= LEADERS_MAX, "leadership changed {changes} times");
    assert_ne!(cluster.leader(), Some(leader), "the third member reaches more");
    cluster.heal();
    cluster.decide(lost, note("all together"));
    cluster.decide(leader, note("all together"));
    cluster.agree(before + 3);
}

/// How often somebody else leads, until then.
fn leader_changes(cluster: &mut impl Cluster, until: Duration) -> usize {
    let (mut seen, mut changes) = (cluster.leader(), 0);
    while cluster.elapsed() < until {
        cluster.run();
        let now = cluster.leader();
        if now.is_some() && now != seen {
            seen = now;
            changes += 1;
        }
    }
    changes
}

pub fn a_node_that_is_added_learns_everything_and_counts(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    (0..MANY).for_each(|nth| cluster.decide(NodeId(1), note(&format!("{nth}"))));
    cluster.add(NodeId(4));
    cluster.agree(MANY as u64 + 1);
    // Four voters: two are no majority, three are.
    cluster.isolate(NodeId(1));
    cluster.decide(NodeId(4), note("three of four"));
    cluster.crash(NodeId(2));
    let told = cluster.propose(NodeId(4), note("two of four"));
    assert!(matches!(told, Told::Unknown | Told::Unavailable), "two of four decided: {told:?}");
    cluster.heal();
    cluster.start(NodeId(2));
    cluster.decide(NodeId(1), note("all"));
    cluster.agree(MANY as u64 + 3);
}

/// Its vote is one to wait for as long as it is there.
pub fn a_dead_member_is_replaced_and_counts_no_more(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    cluster.crash(NodeId(3));
    cluster.decide(NodeId(1), note("without the third"));
    cluster.add(NodeId(4));
    cluster.decide(NodeId(4), note("three of four"));
    cluster.remove(NodeId(3));
    // Two of three are a majority again.
    cluster.isolate(NodeId(2));
    cluster.decide(NodeId(1), note("two of three"));
    cluster.heal();
    cluster.agree(4);
}

pub fn five_shrink_to_three(mut cluster: impl Cluster) {
    cluster.decide(NodeId(1), init());
    cluster.crash(NodeId(4));
    cluster.crash(NodeId(5));
    cluster.decide(NodeId(1), note("three of five"));
    cluster.remove(NodeId(4));
    cluster.decide(NodeId(2), note("three of four"));
    cluster.remove(NodeId(5));
    cluster.isolate(NodeId(3));
    cluster.decide(NodeId(1), note("two of three"));
    cluster.heal();
    cluster.agree(4);
}
