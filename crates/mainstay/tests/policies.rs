//! Policies on real processes: what takes two people, a failover that no person sees, a hold that no approval passes, two copies or none.

mod rig;

use mainstay::nfs_client::Client;
use mainstay_node::admin::api::ClusterStatus;
use mainstay_node::pki::Role;
use rig::{Cluster, files, read, said, serves};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Instant;

/// Kills that are measured; `MAINSTAY_KILLS` says another number.
const KILLS: usize = 2;

/// With two people: `admin` with every role, and bob, who may approve.
struct TwoPeople {
    cluster: Cluster,
    bob: PathBuf,
}

impl Deref for TwoPeople {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for TwoPeople {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

impl TwoPeople {
    async fn found() -> TwoPeople {
        let cluster = Cluster::with_volume("127.0.76").await;
        let bob = cluster.person("bob", &[Role::Viewer, Role::Approver]);
        TwoPeople { cluster, bob }
    }

    fn bob(&self, args: &[&str]) -> (i32, String) {
        said(&self.run_as(&self.bob, args))
    }

    /// Bob approves the change that waits.
    async fn second_person(&self) {
        let waits = self.client.changes().await.unwrap().into_iter().find(|change| change.state == "pending").expect("it waits");
        let (code, text) = self.bob(&["approve", &format!("c{}", waits.id), "--evidence", &waits.digest[..12]]);
        assert_eq!(code, 0, "{text}");
    }
}

fn write(client: &mut Client, name: &str) {
    rig::write(client, name, name.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_on_real_processes() {
    let mut cluster = TwoPeople::found().await;
    two_people(&cluster).await;
    guarded_failover(&mut cluster).await;
    two_copies(&mut cluster).await;
    revoked(&cluster).await;
    on_hold(&mut cluster).await;
}

/// What is laxer waits for another person, who approves what was shown.
async fn two_people(cluster: &TwoPeople) {
    let (code, text) = cluster.run(&["volume", "set", "files", "--policy", "guarded", "--reason", "nobody is on call at night"]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("mainstay approve c1 --evidence"), "{text}");
    assert_eq!(files(&cluster.client.status().await.unwrap()).policy, "manual", "asking changes nothing");
    let (code, status) = cluster.run(&["status"]);
    assert!(code == 0 && status.contains("change c1 (files: policy manual → guarded)"), "{status}");
    let digest = cluster.client.changes().await.unwrap()[0].digest.clone();
    let (code, text) = cluster.run(&["approve", "c1", "--evidence", &digest]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("R7") && text.contains("mainstay credentials"), "{text}");
    let (code, text) = cluster.bob(&["approve", "c1", "--evidence", "0123456789abcdef"]);
    assert!(code == 3 && text.contains("R14"), "{text}");
    cluster.second_person().await;
    assert_eq!(files(&cluster.client.status().await.unwrap()).policy, "guarded");
    // Stricter needs nobody else; and to ask for what is so already changes nothing.
    let (code, text) = cluster.run(&["volume", "set", "files", "--role-changes-window", "60", "--reason", "to be careful"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = cluster.run(&["volume", "set", "files", "--reason", "nothing at all"]);
    assert_eq!(code, 64, "{text}");
    let (code, text) =
        cluster.run(&["volume", "set", "files", "--role-changes-max", "31", "--reason", "we kill it many times today"]);
    assert_eq!(code, 4, "{text}");
    cluster.second_person().await;
    let (_, text) = cluster.run(&["volume", "show", "files"]);
    assert!(text.contains("policy           guarded") && text.contains("more than 31 within 60 min"), "{text}");
}

/// A third person loses a laptop: what is on it opens nothing any more, not even to look.
async fn revoked(cluster: &TwoPeople) {
    let carl = cluster.person("carl", &[Role::Viewer, Role::Approver, Role::Admin]);
    assert_eq!(said(&cluster.run_as(&carl, &["status"])).0, 0);
    let (code, text) = cluster.run(&["revoke", "carl", "--reason", "his laptop was stolen"]);
    assert_eq!(code, 0, "{text}");
    for asked in [&["status"][..], &["hold", "on", "--reason", "mischief"], &["revoke", "bob", "--reason", "mischief"]] {
        let (code, text) = said(&cluster.run_as(&carl, asked));
        assert!(code != 0 && text.contains("carl was revoked by") && text.contains("his laptop was stolen"), "{asked:?}: {text}");
    }
    let (_, text) = cluster.run(&["revoke"]);
    assert!(text.contains("carl") && text.contains("his laptop was stolen"), "{text}");
    let (_, text) = cluster.run(&["events"]);
    assert!(text.contains("revoked carl: his laptop was stolen"), "{text}");
}

/// SIGKILL, and writes go on without a person.
async fn guarded_failover(cluster: &mut TwoPeople) {
    let kills = std::env::var("MAINSTAY_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let mut client = cluster.nfs();
    let mut took = Vec::new();
    for round in 0..kills {
        let (primary, other) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        write(&mut client, &format!("before-{round}"));
        let begun = Instant::now();
        cluster.kill(primary);
        write(&mut client, &format!("after-{round}"));
        took.push(begun.elapsed());
        let status = cluster.until("the other one serves", |status| serves(status, other, 1)).await;
        assert!(status.proposals.is_empty(), "nothing waits for a person: {:?}", status.proposals);
        assert_eq!(read(&mut client, &format!("before-{round}")), format!("before-{round}").into_bytes());
        cluster.start(primary).await;
        cluster.until("it is back as a secondary", |status| serves(status, other, 2)).await;
    }
    for round in 0..kills {
        assert_eq!(read(&mut client, &format!("after-{round}")), format!("after-{round}").into_bytes());
    }
    let (_, events) = cluster.run(&["events"]);
    assert!(events.contains("the cluster approved #1 by policy guarded, set by admin as c1, approved by bob"), "{events}");
    took.sort();
    println!("kill to first write, {kills} times: median {:?}, longest {:?}", took[kills / 2], took[kills - 1]);
    // Back to where a person decides, and to a as the primary, whatever the number of kills was.
    let (code, text) = cluster.run(&["volume", "set", "files", "--policy", "manual", "--reason", "somebody is on call"]);
    assert_eq!(code, 0, "{text}");
}

/// `alone read-only`: with one copy in sync, changes wait, reads go on, and nothing is lost.
async fn two_copies(cluster: &mut TwoPeople) {
    let (code, text) = cluster.run(&["volume", "set", "files", "--alone", "read-only", "--reason", "two copies or nothing"]);
    assert_eq!(code, 0, "{text}");
    let status = cluster.client.status().await.unwrap();
    let primary = files(&status).primary.clone().expect("somebody serves");
    let other = if primary == "a" { "b" } else { "a" };
    let mut client = cluster.nfs();
    write(&mut client, "with-two");
    cluster.kill(other);
    let status = cluster.until("it is alone", |status| files(status).waits_for_second_copy).await;
    assert!(serves(&status, &primary, 1));
    assert_eq!(read(&mut client, "with-two"), b"with-two");
    let mut writer = cluster.nfs();
    let (done, answered) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        write(&mut writer, "when-two-again");
        let _ = done.send(());
    });
    let (_, text) = cluster.run(&["status"]);
    assert!(text.contains("wants two copies and has one in sync"), "{text}");
    assert!(answered.try_recv().is_err(), "a change was acknowledged with one copy");
    cluster.start(other).await;
    tokio::task::spawn_blocking(move || waiting.join().unwrap()).await.unwrap();
    let status = cluster.until("both are in sync", |status| files(status).in_sync.len() == 2).await;
    assert!(!files(&status).waits_for_second_copy);
    assert_eq!(read(&mut client, "when-two-again"), b"when-two-again");
    let (code, text) = cluster.run(&["volume", "set", "files", "--alone", "serve", "--reason", "one copy will do"]);
    assert_eq!(code, 0, "{text}");
}

/// Nothing is promoted, not even what is approved, until another person agrees to lift it.
async fn on_hold(cluster: &mut TwoPeople) {
    let primary = files(&cluster.client.status().await.unwrap()).primary.clone().expect("somebody serves");
    let other = if primary == "a" { "b" } else { "a" };
    cluster.kill(&primary);
    let status =
        cluster.until("it is proposed", |status| status.proposals.iter().any(|proposal| proposal.state == "pending")).await;
    let (id, hash) = (status.proposals[0].id.to_string(), status.proposals[0].evidence_hash.clone());
    let (code, text) = cluster.run(&["hold", "on", "--reason", "the provider works on the network"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = cluster.run(&["approve", &id, "--evidence", &hash]);
    assert!(code == 3 && text.contains("void"), "{text}");
    let (code, text) = cluster.run(&["propose", "files", "--candidate", other]);
    assert!(code == 3 && text.contains("on hold"), "{text}");
    let (_, text) = cluster.run(&["status"]);
    assert!(text.contains("ON HOLD (admin: the provider works on the network)"), "{text}");
    let (code, text) = cluster.run(&["hold", "off", "--reason", "they are done"]);
    assert_eq!(code, 4, "{text}");
    cluster.second_person().await;
    let waits = |status: &ClusterStatus| status.proposals.iter().any(|proposal| proposal.state == "pending");
    let status = cluster.until("it is proposed again", waits).await;
    // A person's no: nodes do not repeat it, a person may.
    let proposal = &status.proposals[0];
    let (code, text) = cluster.bob(&["deny", &format!("p{}", proposal.id), "--reason", "not yet"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = cluster.run(&["propose", "files", "--candidate", other]);
    assert_eq!(code, 4, "{text}");
    let status = cluster.until("it is there", waits).await;
    let proposal = &status.proposals[0];
    assert_eq!(proposal.candidate, other);
    let (code, text) = cluster.bob(&["approve", &format!("p{}", proposal.id), "--evidence", &proposal.evidence_hash]);
    assert_eq!(code, 0, "{text}");
    cluster.until("the other one serves", |status| serves(status, other, 1)).await;
}
