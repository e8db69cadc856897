use super::super::file::parse;
use super::*;

/// a, b and w; volume files on a (primary) and b.
fn live() -> Live {
    let node = |kind| LiveNode { kind, up: true, booted: true, free_bytes: None };
    let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    let volume = LiveVolume {
        replicas: set(&["a", "b"]),
        in_sync: set(&["a", "b"]),
        primary: Some("a".into()),
        serving: true,
        ..LiveVolume::default()
    };
    Live {
        cluster: "shop".into(),
        nodes: [("a", Kind::FileServer), ("b", Kind::FileServer), ("w", Kind::Witness)]
            .map(|(name, kind)| (name.into(), node(kind)))
            .into(),
        volumes: [("files".to_string(), volume)].into(),
    }
}

fn with_d() -> Live {
    let mut live = live();
    live.nodes.insert("d".into(), LiveNode { kind: Kind::FileServer, up: true, booted: true, free_bytes: None });
    live
}

/// The steps as people read them.
fn steps(live: &Live, edit: impl FnOnce(&mut Desired)) -> Vec<String> {
    let mut desired = export(live);
    edit(&mut desired);
    plan(live, &desired).unwrap().steps.iter().map(Step::text).collect()
}

fn on(desired: &mut Desired, replicas: &[&str]) {
    desired.volumes.get_mut("files").unwrap().replicas = replicas.iter().map(|name| name.to_string()).collect();
}

#[test]
fn what_is_exported_is_what_is() {
    for live in [live(), with_d()] {
        let text = to_text(&export(&live));
        let again = parse("cluster.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(again, export(&live));
        let plan = plan(&live, &again).unwrap();
        assert!(plan.same() && plan.steps.is_empty(), "{plan:?}");
    }
    let mut odd = live();
    let volume = odd.volumes.remove("files").unwrap();
    odd.volumes.insert("fi.les".into(), volume);
    assert_eq!(parse("cluster.toml", &to_text(&export(&odd))).unwrap(), export(&odd));
}

#[test]
fn a_copy_for_which_there_is_no_room_is_not_planned() {
    let mut live = with_d();
    live.volumes.get_mut("files").unwrap().live_bytes = Some(11);
    let mut first = |free| {
        live.nodes.get_mut("d").unwrap().free_bytes = free;
        steps(&live, |desired| on(desired, &["a", "b", "d"])).remove(0)
    };
    assert_eq!(first(Some(11)), "add a replica of files on d");
    assert_eq!(first(None), "add a replica of files on d", "nobody knows");
    let blocked = first(Some(10));
    assert!(blocked.starts_with("cannot add a replica of files yet: files holds 11 bytes, and d has room for 10"), "{blocked}");
}

#[test]
fn a_replica_moves_by_adding_waiting_and_removing() {
    let mut live = with_d();
    let moved = |live: &Live| steps(live, |desired| on(desired, &["a", "d"]));
    assert_eq!(moved(&live)[0], "add a replica of files on d");
    live.volumes.get_mut("files").unwrap().replicas.insert("d".into());
    assert_eq!(moved(&live)[0], "wait until d is in sync for files", "it goes on where it stopped");
    live.volumes.get_mut("files").unwrap().in_sync.insert("d".into());
    assert_eq!(moved(&live), ["remove the replica of files on b; its copy is set aside there"]);
    live.volumes.get_mut("files").unwrap().replicas.remove("b");
    assert!(moved(&live).is_empty());
}

#[test]
fn the_primary_hands_over_before_its_copy_goes_and_a_node_goes_last() {
    let mut live = with_d();
    let files = live.volumes.get_mut("files").unwrap();
    files.replicas.insert("d".into());
    files.in_sync.insert("d".into());
    let found = steps(&live, |desired| {
        on(desired, &["b", "d"]);
        desired.nodes.remove("a");
    });
    let expected = [
        "hand files over to b (switchover)",
        "remove the replica of files on a; its copy is set aside there",
        "remove a from the cluster",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_would_break_redundancy_or_the_majority_is_refused_and_says_why() {
    let single = steps(&live(), |desired| on(desired, &["a"]));
    assert!(single[0].contains("one copy") && single[0].contains("(R4)") && single[0].contains("--accept-single"), "{single:?}");
    let mut live = live();
    live.nodes.get_mut("b").unwrap().up = false;
    let majority = steps(&live, |desired| desired.nodes.retain(|name, _| name != "w"));
    assert!(majority[0].contains("only 1 answer, and 2 must (R13)"), "{majority:?}");
    live.volumes.get_mut("files").unwrap().serving = false;
    live.nodes.insert("d".into(), LiveNode { kind: Kind::FileServer, up: true, booted: true, free_bytes: None });
    let unserved = steps(&live, |desired| on(desired, &["a", "d"]));
    assert!(unserved.iter().any(|step| step.contains("mainstay recover")), "{unserved:?}");
    assert!(!unserved.iter().any(|step| step.starts_with("remove the replica")), "{unserved:?}");
}

#[test]
fn what_only_a_person_can_do_is_said() {
    let found = steps(&live(), |desired| {
        desired.nodes.insert("d".into(), Kind::FileServer);
        on(desired, &["a", "d"]);
    });
    assert_eq!(found[0], "join d (file-server): a person, at that machine");
    assert!(found[1].contains("d must have joined and started first"), "{found:?}");
    let mut live = with_d();
    live.nodes.get_mut("d").unwrap().booted = false;
    assert_eq!(steps(&live, |_| {})[0], "start d: it joined, and never ran");
}

#[test]
fn a_volume_that_the_file_does_not_name_stays_and_holds_its_node() {
    let live = with_d();
    let mut desired = export(&live);
    desired.volumes.clear();
    let plan_of = plan(&live, &desired).unwrap();
    assert!(plan_of.same() && plan_of.notes[0].contains("files is not in the file"), "{plan_of:?}");
    desired.nodes.remove("b");
    let steps: Vec<String> = plan(&live, &desired).unwrap().steps.iter().map(Step::text).collect();
    assert!(steps[0].contains("cannot remove b: it holds volume files"), "{steps:?}");
}

#[test]
fn settings_are_set_and_contradictions_are_errors() {
    let found = steps(&live(), |desired| {
        desired.volumes.get_mut("files").unwrap().wish.policy = Some(mainstay_cluster::Policy::Hold);
    });
    assert_eq!(found, ["set files: policy manual → hold"]);
    let mut desired = export(&live());
    desired.nodes.insert("w".into(), Kind::FileServer);
    assert!(plan(&live(), &desired).unwrap_err().contains("a node's kind does not change"));
    desired.cluster = Some("other".into());
    assert!(plan(&live(), &desired).unwrap_err().contains("for cluster \"other\""));
    let mut four = export(&live());
    four.nodes.insert("e".into(), Kind::Witness);
    assert!(plan(&live(), &four).unwrap().notes[0].starts_with("4 nodes vote, 3 must answer"));
}
