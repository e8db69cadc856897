//! The tier itself: that it can fail. A wire that lies to the clients of a healthy cluster, and watches and logs that show what
//! must not be.

use super::clients::{Crowd, Lie};
use super::cluster::Setup;
use super::network::{A, At, B};
use super::verdict::{NOTHING_CHANGED, judge_promotions, judged};
use super::watch::{Judge, Look};
use mainstay_cluster::{Actor, AuditEvent, Digest, Event};
use mainstay_protocol::{Epoch, NodeId, ProposalId, Timestamp};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Told a few times, should the first not matter: what was bent may be overwritten before anybody looks.
const TOLD: usize = 3;

fn is_noticed(lie: Lie) {
    let crowd = Crowd { soft: 0, registers: 3, think_ms_max: 1, ..Crowd::default() };
    let setup = Setup { seed: 70 + lie as u64, crowd, lies: vec![lie; TOLD], ..Setup::default() };
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
        judged(setup, |cluster| {
            cluster.answered(1_000);
            NOTHING_CHANGED
        })
    }));
    let said = match played {
        Ok(None) => return,
        Ok(Some(problems)) => problems.join("\n"),
        // The scenario was not played on when the first worker complained.
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    };
    assert!(said.contains("P2"), "{lie:?} was not noticed: {said:?}");
}

#[test]
fn other_bytes_than_were_acknowledged_are_noticed() {
    is_noticed(Lie::OtherBytes);
}

#[test]
fn a_removal_that_did_not_happen_is_noticed() {
    is_noticed(Lie::ForgetRemoval);
}

#[test]
fn an_old_answer_given_as_a_present_one_is_noticed() {
    is_noticed(Lie::StaleRead);
}

#[test]
fn one_bit_that_differs_is_noticed() {
    is_noticed(Lie::FlippedBit);
}

#[test]
fn two_who_serve_are_noticed() {
    let began = Instant::now();
    let look = |node: At, epoch, from_ms, to_ms| {
        let at = |ms| began + Duration::from_millis(ms);
        Look { node, asked: at(from_ms), answered: at(to_ms), epoch, writes: true }
    };
    let judge = |looks: &[Look]| {
        let mut judge = Judge::default();
        looks.iter().for_each(|look| judge.look(*look));
        judge.problems
    };
    assert_eq!(judge(&[look(A, 1, 0, 1), look(A, 1, 5, 6), look(B, 2, 10, 11), look(B, 2, 20, 21)]), Vec::<String>::new());
    // Asked before the other was seen: that answer may be older than it looks.
    assert_eq!(judge(&[look(A, 1, 0, 1), look(B, 2, 10, 11), look(A, 1, 9, 12)]), Vec::<String>::new());
    assert_eq!(judge(&[look(A, 1, 0, 1), look(B, 1, 10, 11)]).len(), 1, "two in one epoch");
    assert_eq!(judge(&[look(A, 1, 0, 1), look(B, 2, 10, 11), look(A, 1, 12, 13)]).len(), 1, "a fenced one serves on");
    let silent = Look { writes: false, ..look(A, 1, 12, 13) };
    assert_eq!(judge(&[look(A, 1, 0, 1), look(B, 2, 10, 11), silent]), Vec::<String>::new());
}

#[test]
fn promotions_without_approval_are_noticed() {
    let event = |event, actor| {
        let (number, at, volume, text, hash) = (1, Timestamp::default(), None, String::new(), Digest([0; 32]));
        Arc::new(AuditEvent { number, at, actor, volume, event, text, hash })
    };
    let approved = |id, hash, actor| event(Event::Approved { proposal: ProposalId(id), evidence_hash: Digest([hash; 32]) }, actor);
    let granted = |id, hash, epoch| {
        let (proposal, epoch, primary, evidence_hash) = (ProposalId(id), Epoch(epoch), NodeId(2), Digest([hash; 32]));
        event(Event::Granted { proposal, epoch, primary, evidence_hash }, Actor::Cluster)
    };
    let person = || Actor::Person("admin".into());
    assert_eq!(judge_promotions(&[approved(1, 7, person()), granted(1, 7, 2)], 1, 1), Vec::<String>::new());
    assert_eq!(judge_promotions(&[granted(1, 7, 2)], 1, 1).len(), 1, "nobody approved");
    assert_eq!(judge_promotions(&[approved(1, 7, Actor::Node(NodeId(2))), granted(1, 7, 2)], 1, 1).len(), 1, "no person did");
    let denied = event(Event::Denied { proposal: ProposalId(1) }, person());
    assert_eq!(judge_promotions(&[approved(1, 7, person()), denied, granted(1, 7, 2)], 1, 1).len(), 1, "it was denied again");
    assert_eq!(judge_promotions(&[approved(1, 7, person()), granted(1, 8, 2)], 1, 1).len(), 1, "other evidence was approved");
    assert_eq!(judge_promotions(&[approved(1, 7, person()), granted(1, 7, 3)], 1, 1).len(), 1, "an epoch was left out");
    assert_eq!(judge_promotions(&[approved(1, 7, person()), granted(1, 7, 2)], 0, 1).len(), 1, "none was expected");
}
