//! Encodings, bounds and the audit chain: what a transcript cannot show.

mod runner;

use mainstay_cluster::limits::*;
use mainstay_cluster::*;
use mainstay_protocol::*;
use runner::Runner;

/// A cluster in the middle of a promotion, with something of everything in its state.
fn busy() -> ClusterState {
    let mut runner = Runner::new();
    let script = "> three\n> mint t1\n> maintain b reason=\"new disk\"\n> end m1\n> propose b\n> deny #1\n> propose b by=ann\n> approve #2\n\
                  > lapsed #2 w copy=no\n> propose w\n";
    runner.run(script);
    assert!(runner.state.open_proposal(VolumeId(1)).is_some());
    runner.state
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_700_000_000 + seconds, 0)
}

fn ann() -> Actor {
    Actor::Person("ann".into())
}

fn note(text: &str) -> Command {
    Command::Note { volume: None, text: text.into(), actor: ann(), at: at(0) }
}

#[test]
fn a_state_survives_both_encodings() {
    let state = busy();
    assert_eq!(ClusterState::decode(&state.encode()).unwrap(), state);
    let json = serde_json::to_value(&state).unwrap();
    assert_eq!(json["volumes"]["1"]["name"], "files");
    assert_eq!(json["id"], "07".repeat(16));
    assert_eq!(serde_json::from_value::<ClusterState>(json).unwrap(), state);
}

#[test]
fn a_command_survives() {
    let command = note("hello");
    assert_eq!(Command::decode(&command.encode()).unwrap(), command);
}

#[test]
fn damaged_bytes_are_refused() {
    let good = busy().encode();
    for cut in [0, 1, 2, 100, good.len() - 1] {
        assert!(ClusterState::decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    let newer = [&[9], &good[1..]].concat();
    assert_eq!(ClusterState::decode(&newer), Err(DecodeError::Version { what: "cluster state", found: 9, known: 6 }));
    let longer = [&good[..], &[0]].concat();
    assert_eq!(ClusterState::decode(&longer), Err(DecodeError::Damaged("cluster state")));
    assert!(matches!(Command::decode(&vec![1; COMMAND_BYTES_MAX + 1]), Err(DecodeError::Length { .. })));
    for seed in 0..2_000u64 {
        let mut bad = good.clone();
        let place = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % bad.len();
        bad[place] ^= 1 << (seed % 8);
        // No panic; and whatever is still accepted is a state that holds together.
        if let Ok(state) = ClusterState::decode(&bad) {
            state.validate().unwrap();
        }
    }
}

#[test]
fn a_contradictory_state_is_refused() {
    let mut state = busy();
    state.volumes.get_mut(&VolumeId(1)).unwrap().in_sync.clear();
    assert!(matches!(ClusterState::decode(&state.encode()), Err(DecodeError::Invariant(..))));
    let mut state = busy();
    state.proposals.get_mut(&ProposalId(2)).unwrap().approval = None;
    assert!(matches!(ClusterState::decode(&state.encode()), Err(DecodeError::Invariant(..))));
}

#[test]
fn the_audit_chain_notices_every_change() {
    let state = busy();
    state.audit.verify().unwrap();
    let count = state.audit.events.len();
    assert!(count > 10);
    for place in 0..count {
        let mut audit = state.audit.clone();
        let mut changed = AuditEvent::clone(&audit.events[place]);
        changed.actor = Actor::Person("eve".into());
        audit.events[place] = changed.into();
        assert_eq!(audit.verify(), Err(AuditError::Broken(place as u64 + 1)));
        let mut audit = state.audit.clone();
        audit.events.remove(place);
        assert!(audit.verify().is_err(), "event {place} was removed");
    }
}

#[test]
fn the_audit_tail_is_bounded_and_still_verified() {
    let mut state = busy();
    let before = state.audit.count;
    for number in 0..2 * AUDIT_EVENTS_MAX {
        state.apply(&note(&format!("note {number}"))).unwrap();
    }
    assert_eq!(state.audit.events.len(), AUDIT_EVENTS_MAX);
    assert_eq!(state.audit.count, before + 2 * AUDIT_EVENTS_MAX as u64);
    state.audit.verify().unwrap();
    assert_eq!(state.audit.after(state.audit.count - 3).count(), 3);
}

#[test]
fn a_refusal_that_repeats_is_recorded_once() {
    let mut state = busy();
    let before = state.audit.count;
    let approve =
        Command::Approve { proposal: ProposalId(1), evidence_hash: Digest::default(), actor: ann(), waited_ms: 0, at: at(1) };
    for _ in 0..10 {
        let refusal = state.apply(&approve).unwrap_err();
        assert_eq!(refusal.rule, Rule::R14);
    }
    assert_eq!(state.audit.count, before + 1);
    let event = state.audit.events.back().unwrap();
    assert_eq!(event.event, Event::Refused { rule: Rule::R14, command: "Approve".into() });
    assert_eq!((event.volume, &event.actor), (Some(VolumeId(1)), &ann()));
}

#[test]
fn an_epoch_never_wraps() {
    let mut state = busy();
    state.apply(&Command::Deny { proposal: ProposalId(2), reason: "test".into(), actor: ann(), at: at(2) }).unwrap();
    state.volumes.get_mut(&VolumeId(1)).unwrap().epoch = Epoch(u64::MAX);
    let observed = state.proposals[&ProposalId(2)].evidence.observed.clone();
    let evidence = state.evidence(NodeId(2), VolumeId(1), &observed).unwrap();
    let parent_epoch = Epoch(u64::MAX);
    let proposer = Actor::Node(NodeId(2));
    let propose = Command::Propose {
        volume: VolumeId(1),
        candidate: NodeId(2),
        parent_epoch,
        evidence: Box::new(evidence),
        proposer,
        at: at(3),
    };
    assert_eq!(*state.apply(&propose).unwrap_err().kind, RefusalKind::EpochExhausted);
}

#[test]
fn nodes_tokens_and_maintenance_are_bounded() {
    let mut state = busy();
    let limited = |refusal: Refusal| matches!(*refusal.kind, RefusalKind::LimitReached { .. });
    let add = |number: usize| Command::AddNode {
        name: format!("x{number}"),
        kind: NodeKind::Witness,
        peer_address: format!("10.0.0.{number}:1"),
        admin_address: format!("10.0.0.{number}:2"),
        actor: ann(),
        at: at(5),
    };
    (4..=NODES_MAX).for_each(|number| drop(state.apply(&add(number)).unwrap()));
    assert!(limited(state.apply(&add(NODES_MAX + 1)).unwrap_err()));

    let mint = |number: usize, seconds: i64| Command::MintToken {
        token: Digest::of(&number.to_le_bytes()),
        expires_at: at(seconds + 10),
        actor: ann(),
        at: at(seconds),
    };
    let live = state.tokens.len();
    (live..TOKENS_MAX).for_each(|number| drop(state.apply(&mint(number, 5)).unwrap()));
    assert!(limited(state.apply(&mint(TOKENS_MAX, 5)).unwrap_err()));
    // Tokens that are too old make room.
    state.apply(&mint(TOKENS_MAX, 100_000)).unwrap();
    assert_eq!(state.tokens.len(), 1);
}

#[test]
fn closed_proposals_are_forgotten_oldest_first() {
    let mut runner = Runner::new();
    runner.run("> three\n");
    for number in 1..=PROPOSALS_CLOSED_MAX + 10 {
        runner.run(&format!("> propose b by=ann\n> deny #{number} reason=again\n"));
    }
    assert_eq!(runner.state.proposals.len(), PROPOSALS_CLOSED_MAX);
    assert_eq!(runner.state.proposals.first_key_value().unwrap().0, &ProposalId(11));
}

#[test]
fn a_promise_is_asked_for_only_while_fencing() {
    let mut state = busy();
    assert_eq!(state.promise_floor(VolumeId(1)), Epoch(2));
    state.apply(&Command::Deny { proposal: ProposalId(2), reason: "a is back".into(), actor: ann(), at: at(2) }).unwrap();
    assert_eq!(state.promise_floor(VolumeId(1)), Epoch(1));
    assert_eq!(state.promise_floor(VolumeId(9)), Epoch(0));
}

#[test]
fn evidence_hashes_differ_with_every_piece() {
    let state = busy();
    let evidence = &state.proposals[&ProposalId(2)].evidence;
    let hash = evidence.hash();
    let changes: [fn(&mut Evidence); 9] = [
        |e| e.basis.candidate_incarnation = Incarnation(9),
        |e| e.basis.parent_epoch = Epoch(9),
        |e| e.basis.old_primary = None,
        |e| e.basis.in_sync.clear(),
        |e| e.basis.loss = Loss::Unsynced,
        |e| e.basis.config = Digest::default(),
        |e| e.observed.contacts.clear(),
        |e| e.observed.copies.clear(),
        |e| e.fencing = FencingProof::OwnDemotion,
    ];
    for change in changes {
        let mut other = evidence.clone();
        change(&mut other);
        assert_ne!(other.hash(), hash, "{other:?}");
    }
    assert_eq!(hash.to_string().parse::<Digest>().unwrap(), hash);
    assert!("abc".parse::<Digest>().is_err() && "zz".repeat(32).parse::<Digest>().is_err());
}

#[test]
fn times_that_no_clock_shows_do_no_harm() {
    for seconds in [i64::MIN, -1, i64::MAX] {
        let now = Timestamp::new(seconds, u32::MAX);
        let mut state = busy();
        let proposal = ProposalId(2);
        let lapsed = Command::Lapsed {
            proposal,
            node: NodeId(3),
            incarnation: Incarnation(1),
            promised: Epoch(2),
            last: None,
            waited_ms: 0,
            at: now,
        };
        drop(state.apply(&lapsed));
        drop(state.apply(&Command::Expire { proposal, approved: false, waited_ms: u64::MAX, at: now }));
        drop(state.apply(&Command::MintToken { token: Digest::of(b"t"), expires_at: now, actor: ann(), at: at(0) }));
        drop(state.apply(&Command::MintToken { token: Digest::of(b"u"), expires_at: at(0), actor: ann(), at: now }));
        drop(state.apply(&Command::Deny { proposal, reason: "test".into(), actor: ann(), at: now }));
        let observed = state.proposals[&proposal].evidence.observed.clone();
        let evidence = Box::new(state.evidence(NodeId(2), VolumeId(1), &observed).unwrap());
        let (volume, candidate, parent_epoch) = (VolumeId(1), NodeId(2), Epoch(1));
        state.apply(&Command::Propose { volume, candidate, parent_epoch, evidence, proposer: ann(), at: now }).unwrap();
        state.validate().unwrap();
    }
}

#[test]
fn times_are_readable() {
    let show = |seconds| refusal::instant(Timestamp::new(seconds, 0));
    assert_eq!(show(0), "1970-01-01 00:00:00 UTC");
    assert_eq!(show(951_782_400), "2000-02-29 00:00:00 UTC");
    assert_eq!(show(1_735_689_599), "2024-12-31 23:59:59 UTC");
    assert_eq!(show(-1), "1969-12-31 23:59:59 UTC");
    // A peer's nonsense does not overflow.
    show(i64::MAX);
    show(i64::MIN);
}

/// However long the paths are, the command that names a loss fits, and what is too much is said to be.
#[test]
fn what_is_lost_is_named_within_one_command() {
    let state = busy();
    let propose = |lengths: Vec<usize>| {
        let file = |bytes| LostFile { path: "p".repeat(bytes), bytes: 1, first: at(0), last: at(0) };
        let files = LostFiles::Known { files: lengths.into_iter().map(file).collect(), more: 0 };
        let mut evidence = state.proposals[&ProposalId(2)].evidence.clone();
        let reason = "the disk burnt".into();
        evidence.loss = Some(NamedLoss { after: LogPoint::default(), newest_kept: None, left: None, files, reason });
        let (volume, candidate, parent_epoch) = (VolumeId(1), NodeId(2), Epoch(1));
        Command::Propose { volume, candidate, parent_epoch, evidence: Box::new(evidence), proposer: ann(), at: at(1) }
    };
    let too_much = |command: &Command| {
        let refusal = state.clone().apply(command).expect_err("another proposal is open");
        matches!(*refusal.kind, refusal::RefusalKind::BadValue { .. })
    };
    let each = LOST_PATHS_BYTES_MAX / LOST_FILES_MAX;
    let most = propose(vec![each; LOST_FILES_MAX]);
    assert!(!too_much(&most) && most.encode().len() < COMMAND_BYTES_MAX / 2);
    assert!(too_much(&propose(vec![each + 10; LOST_FILES_MAX])), "too long together");
    assert!(too_much(&propose(vec![LOST_PATH_BYTES_MAX + 1])));
    assert!(too_much(&propose(vec![1; LOST_FILES_MAX + 1])));
}
