//! `mainstay recover`, state by state: what was seen goes in, and what a person would read is compared with the files in
//! `tests/recover/`. Written anew with `MAINSTAY_WRITE_TRANSCRIPTS=1`; then read what changed.

use mainstay_cluster::{Actor, Basis, Check, Digest, Evidence, Explanation, FencingProof, Loss, Observed, Proposal, ProposalState};
use mainstay_cluster::{Rule, Settings, Verdict};
use mainstay_node::admin::api::{
    ChangeStatus, ClusterStatus, EvidenceLine, Explained, MaintenanceStatus, NodeStatus, ProposalDetails, Quarantine,
    ReplicaStatus, ResyncProgress, VolumeStatus,
};
use mainstay_node::recover::{Finding, Seen, findings, meant, render};
use mainstay_protocol::{Epoch, Incarnation, LogPoint, NodeId, Timestamp, VolumeId};
use mainstay_volume::quarantine::Summary;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const NOW: i64 = 1_800_000_000;

fn node(name: &str, kind: &str, state: &str) -> NodeStatus {
    NodeStatus {
        name: name.into(),
        id: 1,
        kind: kind.into(),
        state: state.into(),
        incarnation: 9,
        peer_address: "10.0.0.1:7001".into(),
        admin_address: "10.0.0.1:7002".into(),
        coordination: None,
        left: None,
        problems: vec![],
        free_bytes: None,
        software: "0.1.0".into(),
        set_back: None,
    }
}

fn copy(node: &str, state: &str, position: u64) -> ReplicaStatus {
    ReplicaStatus {
        node: node.into(),
        state: state.into(),
        position,
        durable: position,
        applied: position,
        ..ReplicaStatus::default()
    }
}

/// All is well: a serves, b follows.
fn well() -> Seen {
    let volume = VolumeStatus {
        name: "files".into(),
        id: 1,
        epoch: 3,
        primary: Some("a".into()),
        state: "serving".into(),
        in_sync: vec!["a".into(), "b".into()],
        replicas: vec![copy("a", "primary", 120), copy("b", "in-sync", 120)],
        commit: 120,
        commit_durable: 120,
        lease_ms: 1_900,
        service_address: "10.0.0.10:2049".into(),
        breaker_open: false,
        policy: "manual".into(),
        without_primary: "serve-reads".into(),
        alone: "serve".into(),
        waits_for_second_copy: false,
        hold: None,
        breaker_reason: None,
    };
    let status = ClusterStatus {
        cluster: "shop".into(),
        id: "0".into(),
        version: 41,
        answered_by: "w".into(),
        quorum: true,
        nodes: vec![node("a", "file-server", "up"), node("b", "file-server", "up"), node("w", "witness", "up")],
        volumes: vec![volume],
        proposals: vec![],
        maintenance: vec![],
        settings: Some(Settings::default()),
        hold: None,
        changes: vec![],
    };
    Seen { status: Some(status), now: NOW, ..Seen::default() }
}

/// What is different from a healthy cluster.
fn sick(edit: impl FnOnce(&mut ClusterStatus)) -> Seen {
    let mut seen = well();
    edit(seen.status.as_mut().expect("somebody answers"));
    seen
}

fn gone(status: &mut ClusterStatus, name: &str) {
    status.nodes.iter_mut().filter(|node| node.name == name).for_each(|node| node.state = "unreachable".into());
    let lost = |replica: &&mut ReplicaStatus| replica.node == name;
    status.volumes[0].replicas.iter_mut().filter(lost).for_each(|replica| *replica = copy(name, "unreachable", 0));
}

fn proposed(loss: Loss) -> ProposalDetails {
    let basis = Basis {
        volume: VolumeId(1),
        candidate: NodeId(2),
        candidate_incarnation: Incarnation(9),
        parent_epoch: Epoch(3),
        old_primary: Some((NodeId(1), Incarnation(8))),
        in_sync: BTreeMap::from([(NodeId(1), Incarnation(8)), (NodeId(2), Incarnation(7))]),
        left_in_sync: BTreeMap::new(),
        maintenance: BTreeSet::new(),
        loss,
        loss_epoch: 0,
        software: BTreeMap::new(),
        config: Digest::of(b"config"),
    };
    let evidence = Evidence {
        basis,
        observed: Observed::default(),
        fencing: FencingProof::LeaseLapse { wait_ms: 2_100 },
        loss: None,
        forced: None,
    };
    let proposal = Proposal {
        volume: VolumeId(1),
        candidate: NodeId(2),
        parent_epoch: Epoch(3),
        evidence_hash: Digest::of(b"evidence"),
        evidence,
        proposer: Actor::Node(NodeId(2)),
        at: Timestamp::new(NOW - 60, 0),
        expires_at: Timestamp::new(NOW + 840, 0),
        state: ProposalState::Pending,
        approval: None,
        lapsed: BTreeMap::new(),
        granted: None,
        drained: None,
        by_hand: None,
        fence: None,
    };
    ProposalDetails {
        id: 7,
        volume: "files".into(),
        candidate: "b".into(),
        state: "pending".into(),
        evidence_hash: proposal.evidence_hash.to_string(),
        reason: None,
        next: "look at it".into(),
        proposal,
        evidence: [
            ("old primary", "a, boot i8; last heard: by b 3.0 s ago, by w 3.1 s ago"),
            ("its copy", "complete up to e3/p120, synced up to p120, committed up to p120, boot i9, told 0.0 s ago"),
            ("its health", "room for 1.2 TiB, no damage found"),
            ("other copy", "a: UNKNOWN"),
            ("needs", "one approver (policy manual)"),
        ]
        .map(|(name, value)| EvidenceLine { name: name.into(), value: value.into() })
        .to_vec(),
    }
}

fn no_primary() -> Seen {
    sick(|status| {
        gone(status, "a");
        status.volumes[0].state = "read-only".into();
        status.volumes[0].primary = None;
        status.volumes[0].replicas[1].state = "in-sync".into();
    })
}

fn explained() -> Explained {
    let check = |verdict, value: &str, clears: &str| Check {
        rule: Rule::R13,
        claim: "the old primary is silent".into(),
        verdict,
        value: value.into(),
        clears: clears.into(),
    };
    let checks = vec![
        check(Verdict::Holds, "all is known", ""),
        check(Verdict::Fails, "w heard a 300 ms ago", "Wait until it is silent"),
        check(Verdict::Unknown, "nobody knows what a holds", ""),
    ];
    let explanation = Explanation {
        volume: VolumeId(1),
        volume_name: "files".into(),
        candidate: NodeId(2),
        candidate_name: "b".into(),
        checks,
        guards: vec![],
    };
    Explained { node: "b".into(), volume: "files".into(), promotable: false, steps: Vec::new(), explanation }
}

fn quarantine() -> Quarantine {
    let base = LogPoint { epoch: Epoch(1), ..LogPoint::default() };
    let summary = Summary {
        id: "v1-n1-e3-121-130".into(),
        file: "quarantine-n1-e3-121-130.log".into(),
        bytes: 40_960,
        base,
        epoch: 3,
        first: 121,
        last: 130,
        damage: None,
    };
    Quarantine { node: "a".into(), volume: "files".into(), set_aside_at: Some(NOW - 600), summary }
}

/// The name of the file, and what was seen.
fn cases() -> Vec<(&'static str, Seen)> {
    let mut cases = vec![("all-well", well())];
    let silent = vec![("10.0.0.1:7002".to_string(), "connection refused".to_string())];
    cases.push(("no-answer", Seen { status: None, silent, now: NOW, ..Seen::default() }));
    cases.push((
        "quorum-lost",
        sick(|status| {
            status.quorum = false;
            gone(status, "a");
            gone(status, "w");
            status.answered_by = "b".into();
            status.volumes[0].state = "unknown".into();
        }),
    ));
    for (name, loss) in [("approval-pending", Loss::None), ("approval-pending-after-restart", Loss::Unsynced)] {
        cases.push((name, Seen { proposals: vec![proposed(loss)], ..no_primary() }));
    }
    let under_way = ProposalDetails { state: "fencing".into(), next: "approved; waiting".into(), ..proposed(Loss::None) };
    cases.push(("promotion-under-way", Seen { proposals: vec![under_way], ..no_primary() }));
    cases.push(("no-primary", Seen { explained: vec![explained()], ..no_primary() }));
    let no =
        ProposalDetails { state: "denied".into(), reason: Some("olga: a comes back in a minute".into()), ..proposed(Loss::None) };
    cases.push(("no-primary-denied", Seen { proposals: vec![no], ..no_primary() }));
    cases.push((
        "both-down",
        sick(|status| {
            gone(status, "a");
            gone(status, "b");
            status.volumes[0].state = "unknown".into();
        }),
    ));
    cases.push(("stale-copy-only", stale()));
    let changed = |seen: &Seen, edit: &dyn Fn(&mut ClusterStatus)| {
        let mut seen = seen.clone();
        edit(seen.status.as_mut().expect("somebody answers"));
        seen
    };
    let on_purpose = |status: &mut ClusterStatus| {
        status.maintenance = vec![MaintenanceStatus { ends_at: NOW + 3_600, overdue: false, ..maintenance("active") }];
    };
    cases.push(("stale-copy-only-maintained", changed(&stale(), &on_purpose)));
    cases.push((
        "member-empty",
        changed(&stale(), &|status| {
            status.nodes[0].state = "up".into();
            status.volumes[0].replicas[0] = copy("a", "empty", 0);
        }),
    ));
    cases.push((
        "all-well-in-maintenance",
        sick(|status| {
            gone(status, "b");
            status.volumes[0].in_sync = vec!["a".into()];
            on_purpose(status);
        }),
    ));
    cases.push(("breaker-open", sick(|status| status.volumes[0].breaker_open = true)));
    cases.extend(copies());
    cases.extend(nodes());
    cases.extend(wishes());
    cases
}

/// What people set, and what of it waits.
fn wishes() -> Vec<(&'static str, Seen)> {
    let by = || Some("ann: the storage network is being rebuilt".to_string());
    let hold = Seen { explained: vec![explained()], ..no_primary() };
    let set = |seen: &Seen, edit: &dyn Fn(&mut ClusterStatus)| {
        let mut seen = seen.clone();
        edit(seen.status.as_mut().expect("somebody answers"));
        seen
    };
    let alone = sick(|status| {
        gone(status, "b");
        status.volumes[0].in_sync = vec!["a".into()];
        (status.volumes[0].alone, status.volumes[0].waits_for_second_copy) = ("read-only".into(), true);
    });
    let comes = set(&alone, &|status| {
        status.nodes[1].state = "up".into();
        status.volumes[0].replicas[1] = copy("b", "catching-up", 88);
    });
    let change = ChangeStatus {
        id: 3,
        what: "let volume files be promoted as `guarded` says, not `manual`".into(),
        reason: "nobody is here at night".into(),
        asked_by: "ann".into(),
        state: "pending".into(),
        text: "pending".into(),
        digest: Digest::of(b"change").to_string(),
        expires_at: NOW + 600,
        next: "look at it".into(),
    };
    let unbound = "clients cannot come to 10.0.0.10:2049: Cannot assign requested address (os error 99)";
    vec![
        ("on-hold", set(&hold, &|status| status.hold = by())),
        ("on-hold-of-a-volume", set(&hold, &|status| status.volumes[0].hold = by())),
        ("second-copy-wanted", alone),
        ("second-copy-wanted-and-on-its-way", comes),
        ("change-pending", sick(|status| status.changes = vec![change])),
        ("address-unbound", sick(|status| status.nodes[0].problems = vec![unbound.into()])),
    ]
}

/// Both were down; only the one that had left the in-sync set before is back.
fn stale() -> Seen {
    sick(|status| {
        gone(status, "a");
        status.volumes[0].in_sync = vec!["a".into()];
        status.volumes[0].state = "closed".into();
        status.volumes[0].replicas[1] = copy("b", "catching-up", 88);
    })
}

fn copies() -> Vec<(&'static str, Seen)> {
    let fail = |status: &mut ClusterStatus| {
        status.volumes[0].replicas[1].state = "failed".into();
        status.volumes[0].replicas[1].failure = Some("sync log-00000004.seg: input/output error".into());
    };
    let last = sick(|status| {
        fail(status);
        gone(status, "a");
        status.volumes[0].state = "closed".into();
        status.volumes[0].primary = None;
    });
    let behind = sick(|status| {
        status.volumes[0].in_sync = vec!["a".into()];
        status.volumes[0].state = "read-only".into();
        status.volumes[0].primary = None;
        status.volumes[0].replicas[0].state = "failed".into();
        status.volumes[0].replicas[0].failure = Some("sync log-00000004.seg: input/output error".into());
        status.volumes[0].replicas[1] = copy("b", "catching-up", 88);
    });
    let full = sick(|status| status.volumes[0].replicas[1].waits_for_space = true);
    let resync = Some(ResyncProgress { since: 3, base: 120, inode: 40, inodes_total: 90, bytes_done: 1_000 });
    let stuck = sick(|status| {
        status.volumes[0].in_sync = vec!["a".into()];
        status.volumes[0].replicas[1] = ReplicaStatus { resync, bytes_received: 5_000, ..copy("b", "resyncing", 3) };
    });
    vec![
        ("copy-failed", sick(fail)),
        ("last-copy-failed", last),
        ("last-copy-failed-and-one-behind", behind),
        ("disk-full", Seen { quarantines: vec![Quarantine { node: "b".into(), ..quarantine() }], ..full }),
        ("resync-stuck", Seen { earlier: stuck.status.clone(), ..stuck }),
        ("records-set-aside", Seen { quarantines: vec![quarantine()], ..well() }),
    ]
}

fn maintenance(state: &str) -> MaintenanceStatus {
    MaintenanceStatus {
        id: 4,
        node: "b".into(),
        owner: "ann".into(),
        reason: "new disks".into(),
        state: state.into(),
        began_at: NOW - 7_200,
        ends_at: NOW - 1_800,
        overdue: true,
    }
}

fn nodes() -> Vec<(&'static str, Seen)> {
    let overdue = sick(|status| {
        gone(status, "b");
        status.volumes[0].in_sync = vec!["a".into()];
        status.maintenance = vec![maintenance("active")];
    });
    let alone = sick(|status| {
        gone(status, "b");
        status.volumes[0].in_sync = vec!["a".into()];
    });
    let set_back = sick(|status| {
        let witness = status.nodes.iter_mut().find(|node| node.name == "w").unwrap();
        witness.set_back = Some("2027-01-15 07:50:00 UTC".into());
    });
    vec![
        ("witness-away", sick(|status| gone(status, "w"))),
        ("file-server-away", alone),
        ("maintenance-overdue", overdue),
        ("node-set-back", set_back),
    ]
}

#[test]
fn every_state_reads_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recover");
    let write = std::env::var_os("MAINSTAY_WRITE_TRANSCRIPTS").is_some();
    let mut wrong = Vec::new();
    for (name, seen) in cases() {
        let (path, text) = (dir.join(format!("{name}.txt")), render(&findings(&seen), &meant(&seen)));
        assert!(text.lines().all(|line| line.chars().count() <= 160), "{name}: a line is too long for a terminal");
        if write {
            std::fs::write(&path, &text).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "not as written; MAINSTAY_WRITE_TRANSCRIPTS=1 writes them anew:\n{}", wrong.join("\n"));
    let files = std::fs::read_dir(&dir).unwrap().count();
    assert_eq!(files, cases().len(), "a file of a state that is gone");
}

fn states(seen: &Seen) -> Vec<&'static str> {
    findings(seen).iter().map(|finding| finding.state).collect()
}

/// The case's name is its state's, and the runbook has a page for each.
#[test]
fn every_state_is_found_first_and_has_a_page_in_the_runbook() {
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/OPERATIONS.md");
    let runbook = std::fs::read_to_string(runbook).unwrap();
    for (name, seen) in cases() {
        let found = findings(&seen);
        let Some(first) = found.first() else {
            assert!(name.starts_with("all-well"), "{name}");
            continue;
        };
        let variants = ["-maintained", "-after-restart", "-of-a-volume", "-and-on-its-way", "-and-one-behind", "-denied"];
        let expected = variants.iter().find_map(|variant| name.strip_suffix(variant)).unwrap_or(name);
        let maintained = expected == "maintenance-overdue";
        assert!(first.state == expected || maintained && states(&seen).contains(&expected), "{name}: {:?}", states(&seen));
        if name == expected {
            let shown =
                found.iter().find(|finding| finding.state == expected).map(|finding| render(std::slice::from_ref(finding), &[]));
            let shown = shown.as_deref().and_then(|text| text.split("\n\n").next()).unwrap_or_default();
            assert!(runbook.contains(shown), "docs/OPERATIONS.md shows something else than:\n{shown}");
        }
        for finding in &found {
            assert!(runbook.contains(&format!("\n## {}\n", finding.state)), "docs/OPERATIONS.md lacks a section {}", finding.state);
        }
    }
}

#[test]
fn every_finding_offers_a_way_and_says_what_it_costs() {
    for (name, seen) in cases() {
        for Finding { state, known, choices, .. } in findings(&seen) {
            assert!(!known.is_empty() || state == "no-answer", "{name}: {state} knows nothing");
            assert!(!choices.is_empty(), "{name}: {state} offers nothing");
            for choice in choices {
                assert!(
                    !choice.loss.is_empty() && !choice.command.is_empty() && !choice.command.contains('…'),
                    "{name}: {choice:?}"
                );
            }
        }
    }
}

#[test]
fn a_promotion_of_what_is_not_in_sync_is_never_among_the_choices() {
    let commands: Vec<String> =
        findings(&stale()).into_iter().flat_map(|finding| finding.choices).map(|choice| choice.command).collect();
    assert!(!commands.iter().any(|command| command.contains("approve")), "{commands:?}");
    assert!(commands.contains(&"mainstay node".to_string()));
}

#[test]
fn a_node_that_stopped_in_order_is_not_taken_for_one_that_vanished() {
    let mut seen = sick(|status| gone(status, "b"));
    assert_eq!(findings(&seen)[0].unknown.len(), 1);
    let node = &mut seen.status.as_mut().unwrap().nodes[1];
    (node.state, node.left) = ("stopped".into(), Some("asked to stop at noon".into()));
    let found = findings(&seen);
    assert!(found[0].title.ends_with("b has stopped") && found[0].unknown.is_empty(), "{found:?}");
    assert!(found[0].known.contains(&"it stopped in order: asked to stop at noon".to_string()), "{found:?}");
}

#[test]
fn what_moves_is_left_alone() {
    let (_, mut seen) = copies().into_iter().find(|(name, _)| *name == "resync-stuck").unwrap();
    assert_eq!(states(&seen), ["resync-stuck"]);
    let earlier = seen.earlier.as_mut().unwrap();
    earlier.volumes[0].replicas[1].bytes_received -= 1;
    assert_eq!(states(&seen), Vec::<&str>::new(), "it received something in between");
    seen.earlier = None;
    assert_eq!(states(&seen), Vec::<&str>::new(), "one look cannot tell");
}

#[test]
fn the_copy_is_set_aside_only_while_another_is_sound() {
    let moving = |seen: &Seen| {
        findings(seen).iter().flat_map(|finding| &finding.choices).any(|choice| choice.command.contains("copy set-aside"))
    };
    let cases = copies();
    let of = |name: &str| &cases.iter().find(|(case, _)| *case == name).unwrap().1;
    assert!(moving(of("copy-failed")));
    assert!(!moving(of("last-copy-failed")));
}

#[test]
fn a_hold_needs_nobody_while_everything_is_served() {
    let mut seen = well();
    seen.status.as_mut().unwrap().hold = Some("ann: a quiet week".into());
    assert_eq!(states(&seen), Vec::<&str>::new());
}
