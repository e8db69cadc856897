//! Two double failures on real processes, resolved as a person would: with what `mainstay recover` prints, and nothing else.
//!
//! The first leaves records on the old primary that nobody was told about: they end in quarantine, are looked at, copied out and
//! dropped. The second leaves only a copy that lacks acknowledged writes: nothing promotes it, and the guide says whom to bring back.
//! Once more, and now the other is gone for good: two people name what is lost and promote it as it is; and when the other comes back
//! after all, its records are kept and its copy is made again.

mod rig;

use mainstay::nfs_client::{Client, Options};
use mainstay_cluster::Settings;
use mainstay_cluster::limits::AUDIT_EVENTS_MAX;
use mainstay_node::admin::api::{ClusterStatus, NewMaintenance};
use mainstay_node::pki::Role;
use mainstay_protocol::Stability;
use mainstay_protocol::file::CreateHow;
use rig::{PATIENCE, PAUSE, PROGRAM, all_in_sync, files, read, serves, write};
use serde_json::Value;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// What is asked of a primary that lost both others cannot be acknowledged; nobody waits longer for it.
const GIVE_UP: Duration = Duration::from_millis(400);

/// Driven from outside, as a person does.
struct Cluster {
    rig: rig::Cluster,
    runtime: tokio::runtime::Runtime,
}

impl Deref for Cluster {
    type Target = rig::Cluster;
    fn deref(&self) -> &rig::Cluster {
        &self.rig
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut rig::Cluster {
        &mut self.rig
    }
}

impl Cluster {
    fn found(net: &str) -> Cluster {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Cluster { rig: runtime.block_on(rig::Cluster::with_volume(net)), runtime }
    }

    fn until(&self, what: &str, holds: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
        self.runtime.block_on(self.rig.until(what, holds))
    }

    fn run(&self, args: &[&str]) -> Output {
        self.output(args)
    }

    fn text(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", said(&output.stderr), said(&output.stdout));
        said(&output.stdout)
    }

    /// What `recover` finds, once it finds `state`.
    fn recover(&self, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let output = self.run(&["recover", "-o", "json"]);
            let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(output.status.code(), Some(if found == Value::Array(vec![]) { 0 } else { 4 }));
            if let Some(one) = found.as_array().unwrap().iter().find(|one| one["state"] == state) {
                return one.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "recover does not find {state}: {found:#}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Does the first choice, by the very words of the guide.
    fn carry_out(&mut self, finding: &Value) {
        let choice = &finding["choices"][0];
        let words: Vec<&str> = choice["command"].as_str().unwrap().split(' ').collect();
        match (&words[..], choice["on"].as_str()) {
            (["mainstay", "node"], Some(node)) => self.spawn(node),
            (["mainstay", args @ ..], None) => drop(self.text(0, args)),
            other => panic!("what is this? {other:?}"),
        }
    }

    /// Waits until the node's view is on disk as far as its copy goes now.
    fn checkpointed(&self, name: &str) {
        let status = self.runtime.block_on(self.client.status()).unwrap();
        let written = files(&status).replicas.iter().find(|replica| replica.node == name).unwrap().position;
        let address = status.nodes.iter().find(|node| node.name == name).unwrap().admin_address.parse().unwrap();
        let begun = Instant::now();
        loop {
            let metrics = self.runtime.block_on(self.client.at(vec![address]).metrics()).unwrap();
            let lines = metrics.lines().filter(|line| line.contains("checkpoint_position{"));
            let newest = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).max();
            if newest.is_some_and(|newest| newest >= written) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no checkpoint of {written}: {newest:?}");
            std::thread::sleep(PAUSE);
        }
    }

    /// The evidence may change between the look and the approval (R14); then a person looks again.
    fn approve(&mut self) {
        let begun = Instant::now();
        loop {
            let finding = self.recover("approval-pending");
            let command = finding["choices"][0]["command"].as_str().unwrap().to_string();
            let words: Vec<&str> = command.split(' ').collect();
            let ["mainstay", args @ ..] = &words[..] else { panic!("{command}") };
            if self.run(args).status.code() == Some(0) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "cannot be approved: {finding:#}");
        }
    }
}

#[test]
fn two_double_failures_are_resolved_with_what_recover_prints() {
    let mut cluster = Cluster::found("127.0.72");
    assert_eq!(
        cluster.text(0, &["recover"]),
        "nothing to recover: every volume is served, every copy is in sync, nobody is awaited\n"
    );
    assert!(cluster.text(0, &["quarantine", "list"]).contains("nothing is set aside"));
    both_killed(&mut cluster);
    let id = what_nobody_was_told(&cluster);
    dropped(&cluster, &id);
    the_log(&cluster);
    only_the_stale_one_is_back(&mut cluster);
    two_people_give_up(&mut cluster);
}

/// Somebody puts last night's copy under the witness. Nothing stops, and nobody is left to find out by chance.
#[test]
fn a_witness_whose_directory_was_set_back_is_noticed_until_somebody_has_looked() {
    let mut cluster = Cluster::found("127.0.73");
    let directory = mainstay::launch::Place::of(cluster.dir.path(), "w").data;
    let backup = cluster.dir.path().join("last-night");
    let copied = |from: &Path, to: &Path| {
        let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(done.success(), "{} to {}", from.display(), to.display());
    };
    let up = |status: &ClusterStatus| status.quorum && status.nodes.iter().all(|node| node.state == "up");
    cluster.kill("w");
    copied(&directory, &backup);
    cluster.spawn("w");
    cluster.until("w is up", up);
    let (owner, reason) = (["--owner", "ann"], ["--reason", "new disks"]);
    for _ in 0..3 {
        cluster.text(0, &[&["maintenance", "begin", "b", "--for", "10m", "--yes"][..], &owner, &reason].concat());
        cluster.text(0, &["maintenance", "end", "b"]);
    }
    let written = cluster.until("b is back", |status| status.maintenance.is_empty()).version;
    // By then w has confirmed it: its own view shows it.
    let of_w = cluster.until("w is up", up).nodes.iter().find(|node| node.name == "w").unwrap().admin_address.parse().unwrap();
    let begun = Instant::now();
    while cluster.runtime.block_on(cluster.client.at(vec![of_w]).status()).unwrap().version < written {
        assert!(begun.elapsed() < PATIENCE, "w does not follow");
    }
    cluster.kill("w");
    std::fs::remove_dir_all(&directory).unwrap();
    copied(&backup, &directory);
    cluster.spawn("w");

    let finding = cluster.recover("node-set-back");
    assert!(finding["title"].as_str().unwrap().starts_with("w lacked decisions"), "{finding:#}");
    assert!(cluster.text(0, &["events"]).contains("w lacks decisions that it had confirmed to hold"));
    let status = cluster.until("w is up", up);
    assert!(serves(&status, "a", 2), "nobody else noticed");
    cluster.kill("w");
    cluster.spawn("w");
    cluster.until("w is up", up);
    assert_eq!(cluster.recover("node-set-back")["title"], finding["title"], "a boot clears nothing");
    let reason = ["--reason", "restored from last night's backup, the disk is good"];
    cluster.text(0, &[&["maintenance", "begin", "w", "--for", "10m", "--yes"][..], &owner, &reason].concat());
    cluster.text(0, &["maintenance", "end", "w"]);
    cluster.until("somebody has looked", |status| status.nodes.iter().all(|node| node.set_back.is_none()));
    assert!(cluster.text(0, &["recover"]).starts_with("nothing to recover"));
}

/// The only copy in sync comes back on an empty disk. Nobody is told that the files are gone, and the guide leads out.
#[test]
fn a_member_without_its_data_is_shown_to_nobody_and_recover_leads_out() {
    let mut cluster = Cluster::found("127.0.78");
    write(&mut cluster.nfs(), "kept", b"on both disks");
    cluster.text(0, &["maintenance", "begin", "b", "--for", "1h", "--reason", "new disks", "--yes"]);
    cluster.kill("b");
    cluster.until("a goes on alone", |status| serves(status, "a", 1));
    let meant = cluster.text(0, &["recover"]);
    assert!(meant.starts_with("meant: b is in maintenance m1 of ") && meant.contains("only a is in sync"), "{meant}");
    write(&mut cluster.nfs(), "lost", b"on one disk");
    cluster.kill("a");
    let volumes = mainstay::launch::Place::of(cluster.dir.path(), "a").data.join("volumes");
    std::fs::rename(&volumes, cluster.dir.path().join("the old disk")).unwrap();
    cluster.spawn("b");
    cluster.spawn("a");

    let empty = cluster.recover("member-empty");
    assert_eq!(empty["title"], "volume files: a came back WITHOUT its data");
    let state = |status: &ClusterStatus| files(status).state.clone();
    let status = cluster.until("a is shown as what it is", |status| files(status).replicas.iter().any(|one| one.state == "empty"));
    assert_ne!(state(&status), "read-only", "an empty copy is served");
    // Longer than any promise to a primary lasts, after which reads would be served.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(3 * Settings::default().lease_ms) {
        assert_ne!(state(&cluster.runtime.block_on(cluster.client.status()).unwrap()), "read-only", "an empty copy is served");
        std::thread::sleep(PAUSE);
    }
    let commands: Vec<&str> =
        empty["choices"].as_array().unwrap().iter().map(|choice| choice["command"].as_str().unwrap()).collect();
    let give_up = "mainstay propose files --candidate b --give-up \"WHY\"";
    assert_eq!(commands, ["findmnt", "mainstay maintenance end b", give_up], "{empty:#}");
    cluster.text(0, &["maintenance", "end", "b"]);
    let begun = Instant::now();
    while cluster.run(&["propose", "files", "--candidate", "b", "--give-up", "the disk of a is gone"]).status.code() != Some(4) {
        assert!(begun.elapsed() < PATIENCE, "nothing is proposed");
        std::thread::sleep(PAUSE);
    }
    let pending = cluster.recover("approval-pending");
    assert!(pending["choices"][0]["what"].as_str().unwrap().contains("another approver than"), "{pending:#}");
    let approve = pending["choices"][0]["command"].as_str().unwrap().strip_prefix("mainstay ").unwrap();
    let second = cluster.person("bob", &[Role::Viewer, Role::Approver]);
    let output = Command::new(PROGRAM).args(approve.split(' ')).arg("--config").arg(&second).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.until("b serves, and a is filled", |status| all_in_sync(status, "b"));
    let mut client = cluster.nfs();
    assert_eq!(read(&mut client, "kept"), b"on both disks");
    let root = client.root();
    assert!(client.lookup(&root, "lost").is_err(), "it was given up by name");
}

/// The others die, the primary takes requests that it cannot acknowledge any more, and dies too. The secondary comes back.
fn both_killed(cluster: &mut Cluster) {
    let mut client = cluster.nfs();
    write(&mut client, "kept", b"0123456789");
    write(&mut client, "small", b"0123");
    let impatient = Options { call_timeout: GIVE_UP, ..Options::default() };
    let mut hasty = [0, 1, 2].map(|_| Client::connect(cluster.service, "/files", impatient.clone()).unwrap());
    let root = hasty[0].root();
    let [file, small] = ["kept", "small"].map(|name| hasty[0].lookup(&root, name).unwrap());
    // Without a quorum b cannot be taken out of the in-sync set, so nothing is acknowledged from here on (R4).
    cluster.kill("w");
    cluster.kill("b");
    let [one, two, three] = &mut hasty;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(one.write(&file, 5, (&b"TAIL"[..]).into(), Stability::FileSync).is_err(), "acknowledged by one copy")
        });
        scope.spawn(|| {
            assert!(two.write(&small, 0, (&b"WXYZ"[..]).into(), Stability::FileSync).is_err(), "acknowledged by one copy")
        });
        let made = three.create(&root, "never-told", CreateHow::Unchecked(Default::default()));
        assert!(made.is_err(), "acknowledged by one copy");
    });
    cluster.kill("a");

    let nobody = cluster.recover("no-answer");
    assert_eq!(nobody["known"].as_array().unwrap().len(), 3, "{nobody:#}");
    cluster.spawn("w");
    let lost = cluster.recover("quorum-lost");
    assert!(lost["not_offered"].as_array().unwrap().is_empty(), "{lost:#}");
    let on: Vec<&str> = lost["choices"].as_array().unwrap().iter().filter_map(|choice| choice["on"].as_str()).collect();
    assert_eq!(on, ["a", "b"]);
    cluster.spawn("b");
    let shown = cluster.recover("approval-pending");
    assert!(shown["choices"][0]["loss"].as_str().unwrap().contains("unstable writes may be missing"), "{shown:#}");
    cluster.approve();
    cluster.until("b serves", |status| serves(status, "b", 1));
    assert_eq!(read(&mut client, "kept"), b"0123456789", "what was acknowledged is there, and no more");
    write(&mut client, "after", b"written after the first failure");

    let away = cluster.recover("file-server-away");
    cluster.carry_out(&away);
    cluster.until("a is back", |status| all_in_sync(status, "b"));
}

/// The old primary's records are set aside, and can be looked at from every side.
fn what_nobody_was_told(cluster: &Cluster) -> String {
    let listed: Value = serde_json::from_str(&cluster.text(0, &["quarantine", "list", "-o", "json"])).unwrap();
    let [one] = &listed["quarantines"].as_array().unwrap()[..] else { panic!("{listed:#}") };
    let id = one["id"].as_str().unwrap().to_string();
    assert_eq!((one["node"].as_str(), one["volume"].as_str(), one["damage"].is_null()), (Some("a"), Some("files"), true));
    assert!(cluster.text(0, &["quarantine", "list"]).contains(&id));
    let shown = cluster.text(0, &["quarantine", "show", &id]);
    assert!(shown.contains("write 4 bytes at 5 of /kept") && shown.contains("create file /never-told"), "{shown}");
    let lines = cluster.text(0, &["quarantine", "show", &id, "-o", "json"]);
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len() as u64, one["last"].as_u64().unwrap() + 1 - one["first"].as_u64().unwrap());

    let diff: Value = serde_json::from_str(&cluster.text(2, &["quarantine", "diff", &id, "-o", "json"])).unwrap();
    let of = |path: &str| {
        diff["files"].as_array().unwrap().iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("{diff:#}"))
    };
    assert_eq!((of("/kept")["verdict"].as_str(), &of("/kept")["differs"]), (Some("differs"), &serde_json::json!([[5, 4]])));
    assert_eq!(of("/never-told")["verdict"], "gone");
    assert_eq!(of("/small")["verdict"], "differs");
    exported(cluster, &id);
    restored(cluster, &id);
    // A client repeats what it got no answer for: then it is there.
    let mut client = cluster.nfs();
    let root = client.root();
    let kept = client.lookup(&root, "kept").unwrap();
    client.write(&kept, 5, (&b"TAIL"[..]).into(), Stability::FileSync).unwrap();
    write(&mut client, "small", b"WXYZ");
    client.create(&root, "never-told", CreateHow::Unchecked(Default::default())).unwrap();
    let begun = Instant::now();
    while cluster.run(&["quarantine", "diff", &id]).status.code() != Some(0) {
        // The copy that is compared with is the secondary's: it has the writes, but may be a moment from having applied them.
        assert!(begun.elapsed() < PATIENCE, "{}", cluster.text(0, &["quarantine", "diff", &id]));
    }
    assert_eq!(cluster.run(&["quarantine", "show", "v1-n9-e1-1-2"]).status.code(), Some(1));
    id
}

fn exported(cluster: &Cluster, id: &str) {
    let out = cluster.dir.path().join("exported");
    let out_text = out.display().to_string();
    cluster.text(0, &["quarantine", "export", id, "--out", &out_text]);
    assert_eq!(std::fs::read(out.join("files/kept")).unwrap(), b"\0\0\0\0\0TAIL\0");
    assert_eq!(std::fs::read(out.join("files/never-told")).unwrap(), b"");
    let manifest: Value = serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let kept = manifest["files"].as_array().unwrap().iter().find(|file| file["path"] == "/kept").unwrap();
    assert_eq!((kept["whole"].as_bool(), &kept["not_in_quarantine"]), (Some(false), &serde_json::json!([[0, 5], [9, 1]])));
    assert_eq!(cluster.run(&["quarantine", "export", id, "--out", &out_text]).status.code(), Some(1), "never over anything");
}

/// One whole file goes back under a new name; a partial one does not, and nothing is overwritten.
fn restored(cluster: &Cluster, id: &str) {
    let restore = |code: i32, path: &str, new: &str| {
        let output = cluster.run(&["quarantine", "restore", id, "--path", path, "--as", new]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{path} as {new}: {said}");
        said
    };
    restore(0, "/small", "/small.restored");
    let mut client = cluster.nfs();
    assert_eq!((read(&mut client, "small.restored"), read(&mut client, "small")), (b"WXYZ".to_vec(), b"0123".to_vec()));
    assert!(restore(1, "/small", "/kept").contains("is there already"));
    assert!(restore(1, "/kept", "/kept.restored").contains("6 of its 10 bytes were there before"));
    assert!(restore(1, "/nothing", "/new").contains("holds no file"));
    assert!(restore(1, "/small", "/no/such/directory").contains("nothing was changed"));
    restore(64, "/small", "new");
    let root = client.root();
    let names: Vec<String> =
        client.readdirplus(&root).unwrap().iter().map(|entry| String::from_utf8_lossy(&entry.name).into()).collect();
    assert!(!names.iter().any(|name| name.starts_with(".mainstay-restore")), "{names:?}");
    assert_eq!(read(&mut client, "kept"), b"0123456789");
}

fn dropped(cluster: &Cluster, id: &str) {
    assert_eq!(cluster.recover("records-set-aside")["choices"][0]["command"], format!("mainstay quarantine diff {id}"));
    assert_eq!(cluster.run(&["quarantine", "drop", id]).status.code(), Some(64), "a reason is needed");
    assert_eq!(cluster.run(&["quarantine", "drop", id, "--reason", " ", "--yes"]).status.code(), Some(64));
    assert_eq!(cluster.run(&["quarantine", "drop", id, "--reason", "all is there"]).status.code(), Some(64), "nobody typed the id");
    assert!(cluster.text(0, &["quarantine", "list"]).contains(id), "nothing was dropped by any of these");
    cluster.text(0, &["quarantine", "drop", id, "--reason", "all is there", "--yes"]);
    assert!(cluster.text(0, &["quarantine", "list"]).contains("nothing is set aside"));
    let events = cluster.text(0, &["events"]);
    assert!(events.contains("set aside") && events.contains(&format!("admin dropped quarantine {id}")), "{events}");
    assert!(cluster.text(0, &["recover"]).starts_with("nothing to recover"));
}

/// Taken away, the log proves itself; changed, it does not.
fn the_log(cluster: &Cluster) {
    let path = cluster.dir.path().join("events.jsonl");
    let path_text = path.display().to_string();
    cluster.text(0, &["events", "export", "--out", &path_text]);
    assert_eq!(cluster.run(&["events", "export", "--out", &path_text]).status.code(), Some(1), "never over anything");
    let alone = |code: i32, file: &Path| {
        let output = Command::new(PROGRAM).args(["events", "verify"]).arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(alone(0, &path).contains("the first one is the cluster's first"));
    assert!(cluster.text(0, &["events", "verify"]).contains("every one follows"));
    let good = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let other = cluster.dir.path().join("other.jsonl");
    let keep = |lines: &[&str]| std::fs::write(&other, lines.join("\n") + "\n").unwrap();
    let approved = lines.iter().position(|line| line.contains("approved")).unwrap();
    keep(&[&lines[..approved], &[&lines[approved].replace("approved", "denied")], &lines[approved + 1..]].concat());
    assert!(alone(2, &other).contains(&format!("event {} was changed", approved + 1)));
    keep(&[&lines[..approved], &lines[approved + 1..]].concat());
    assert!(alone(2, &other).contains(&format!("MISSING: event {}", approved + 1)));
    keep(&lines[approved..]);
    assert!(alone(0, &other).contains(&format!("event {} itself is taken as it is", approved + 1)));
    longer_than_the_state_remembers(cluster);
    // What the nodes kept on their disks is the same.
    for node in ["a", "b", "w"] {
        let kept = mainstay::launch::Place::of(cluster.dir.path(), node).data.join("events");
        let files: Vec<_> = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        alone(0, &files[0]);
    }
}

/// The cluster state keeps 512 events; the nodes keep them all.
fn longer_than_the_state_remembers(cluster: &Cluster) {
    let new = NewMaintenance {
        node: "w".into(),
        reason: "one more".into(),
        owner: String::new(),
        seconds: 300,
        allow_primary: false,
        dry_run: false,
    };
    for _ in 0..AUDIT_EVENTS_MAX / 3 + 1 {
        cluster.runtime.block_on(async {
            let begun = cluster.client.begin_maintenance(&new).await.unwrap();
            cluster.client.end_maintenance(begun.id).await.unwrap();
        });
    }
    let events = cluster.text(0, &["events"]);
    assert!(events.lines().count() > AUDIT_EVENTS_MAX && events.lines().next().unwrap().trim().starts_with("1 "), "{events}");
    let verified = cluster.text(0, &["events", "verify"]);
    assert!(verified.contains("the first one is the cluster's first"), "{verified}");
}

/// b serves alone and dies; a, which left the in-sync set before, is all there is.
fn only_the_stale_one_is_back(cluster: &mut Cluster) {
    let mut client = cluster.nfs();
    cluster.kill("a");
    cluster.until("b goes on alone", |status| serves(status, "b", 1));
    write(&mut client, "alone", b"acknowledged by the only copy");
    cluster.kill("b");
    cluster.spawn("a");
    let stale = cluster.recover("stale-copy-only");
    assert!(stale["title"].as_str().unwrap().contains("only a is there"), "{stale:#}");
    assert_eq!(cluster.run(&["explain", "promote", "a", "files"]).status.code(), Some(3), "it lacks what was acknowledged");
    assert!(cluster.runtime.block_on(cluster.client.status()).unwrap().proposals.is_empty(), "and nothing proposes it");
    cluster.carry_out(&stale);
    cluster.approve();
    cluster.until("b serves again, and a follows", |status| all_in_sync(status, "b"));
    assert_eq!(read(&mut client, "alone"), b"acknowledged by the only copy");
    assert_eq!(read(&mut client, "kept"), b"01234TAIL9");
    cluster.text(0, &["verify", "files"]);
    assert!(cluster.text(0, &["recover"]).starts_with("nothing to recover"));
}

fn two_people_give_up(cluster: &mut Cluster) {
    let mut client = cluster.nfs();
    cluster.kill("a");
    cluster.until("b goes on alone", |status| serves(status, "b", 1));
    write(&mut client, "given-up", b"acknowledged, and given up");
    // Once its view is on disk, b cannot go back before it.
    cluster.checkpointed("b");
    cluster.kill("b");
    cluster.spawn("a");
    let stale = cluster.recover("stale-copy-only");
    let choices = stale["choices"].as_array().unwrap();
    assert_eq!(choices[1]["command"], "mainstay propose files --candidate a --give-up \"WHY\"", "{stale:#}");
    let give_up = ["propose", "files", "--candidate", "a", "--give-up", "b burnt down"];
    let begun = Instant::now();
    // R13: until b has been silent for long enough nobody may take its place.
    while cluster.run(&give_up).status.code() != Some(4) {
        assert!(begun.elapsed() < PATIENCE, "{}", cluster.text(4, &give_up));
        std::thread::sleep(PAUSE);
    }
    let pending = cluster.recover("approval-pending");
    assert!(pending["choices"][0]["loss"].as_str().unwrap().starts_with("EVERYTHING acknowledged after e"), "{pending:#}");
    let approve = pending["choices"][0]["command"].as_str().unwrap().strip_prefix("mainstay ").unwrap();
    let approve: Vec<&str> = approve.split(' ').collect();
    let alone = cluster.run(&approve);
    assert_eq!(alone.status.code(), Some(3), "who proposed it approved it: {}", String::from_utf8_lossy(&alone.stdout));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("R5"), "{}", String::from_utf8_lossy(&alone.stderr));
    let shown = cluster.text(0, &["proposals", "show", approve[1]]);
    assert!(shown.contains("GIVES UP      everything acknowledged after") && shown.contains("b burnt down"), "{shown}");
    let second = cluster.person("bob", &[Role::Viewer, Role::Approver]);
    let output = Command::new(PROGRAM).args(&approve).arg("--config").arg(&second).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.until("a serves", |status| serves(status, "a", 1));
    let mut client = cluster.nfs();
    let root = client.root();
    assert!(client.lookup(&root, "given-up").is_err(), "it was given up");
    assert_eq!(read(&mut client, "alone"), b"acknowledged by the only copy", "everything older is there");
    write(&mut client, "after-the-loss", b"and it goes on");
    b_was_not_lost_after_all(cluster);
}

fn b_was_not_lost_after_all(cluster: &mut Cluster) {
    assert_eq!(cluster.run(&["copy", "set-aside", "files", "a", "--reason", "to try"]).status.code(), Some(3), "it serves");
    cluster.spawn("b");
    let failed = cluster.recover("copy-failed");
    let known = failed["known"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n");
    assert!(known.contains("the cluster went another way after e"), "{failed:#}");
    let listed: Value = serde_json::from_str(&cluster.text(0, &["quarantine", "list", "-o", "json"])).unwrap();
    let [kept] = &listed["quarantines"].as_array().unwrap()[..] else { panic!("{listed:#}") };
    let id = kept["id"].as_str().unwrap().to_string();
    let set_aside = failed["choices"].as_array().unwrap().last().unwrap()["command"].as_str().unwrap().to_string();
    assert_eq!(set_aside, "mainstay copy set-aside files b --reason \"WHY\"");
    cluster.text(0, &["copy", "set-aside", "files", "b", "--reason", "two people gave it up"]);
    cluster.kill("b");
    cluster.spawn("b");
    cluster.until("b is in sync again", |status| all_in_sync(status, "a"));
    cluster.text(0, &["verify", "files"]);
    // What only b had is kept twice: as records, and in the copy that was set aside.
    let restored = cluster.run(&["quarantine", "restore", &id, "--path", "/given-up", "--as", "/given-up"]);
    assert_eq!(restored.status.code(), Some(0), "{}", String::from_utf8_lossy(&restored.stderr));
    assert_eq!(read(&mut cluster.nfs(), "given-up"), b"acknowledged, and given up");
    let volumes = mainstay::launch::Place::of(cluster.dir.path(), "b").data.join("volumes");
    let aside: Vec<String> =
        std::fs::read_dir(&volumes).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert!(aside.iter().any(|name| name.starts_with("v1.aside-")), "{aside:?}");
    let events = cluster.text(0, &["events"]);
    assert!(events.contains("GIVING UP everything acknowledged after") && events.contains("bob approved"), "{events}");
    cluster.text(0, &["events", "verify"]);
}
