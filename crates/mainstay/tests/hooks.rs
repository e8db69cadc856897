//! Hooks on real processes: a fence that is tried out and then confirmed in a failover, and what runs when a volume begins to be served.

mod rig;

use mainstay::launch::Place;
use mainstay_node::admin::api::ClusterStatus;
use mainstay_node::config::{FenceConfig, HooksConfig, NodeConfig, Seconds};
use rig::{Cluster, PATIENCE, PAUSE, all_in_sync, serves};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

fn shell(script: String) -> Vec<String> {
    vec!["/bin/sh".into(), "-c".into(), script]
}

/// Until an event says so; the events.
async fn told(cluster: &Cluster, what: &str) -> String {
    let begun = Instant::now();
    loop {
        let (_, events) = cluster.run(&["events"]);
        if events.contains(what) {
            return events;
        }
        assert!(begun.elapsed() < PATIENCE, "no event says {what:?}: {events}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// All nodes answer in the boot that the cluster knows, and both copies are in sync in it.
fn whole(status: &ClusterStatus) -> bool {
    let up = status.nodes.iter().all(|node| node.state == "up");
    up && all_in_sync(status, "a")
}

/// `b` can switch `a` off, as far as anybody can tell, and says when it begins to serve.
fn set_up_hooks(dir: &Path) {
    let place = Place::of(dir, "b").config;
    let mut config = NodeConfig::load(&place).unwrap();
    let off = dir.join("off");
    config.fence = vec![FenceConfig {
        node: "a".into(),
        command: shell(format!("echo $MAINSTAY_TARGET $MAINSTAY_EPOCH $MAINSTAY_PROPOSAL > {}", off.display())),
        verify: shell(format!("test -e {}", off.display())),
        timeout: Seconds(Duration::from_secs(20)),
    }];
    let told = shell(format!(
        "echo $MAINSTAY_HOOK $MAINSTAY_VOLUME $MAINSTAY_EPOCH $MAINSTAY_NODE >> {}; exit 7",
        dir.join("told").display()
    ));
    config.hooks = HooksConfig { on_promoted: told.clone(), on_demoted: told, ..HooksConfig::default() };
    config.save(&place).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_on_real_processes() {
    let mut cluster = Cluster::with_volume("127.0.74").await;
    let dir = cluster.dir.path().to_owned();
    cluster.kill("b");
    set_up_hooks(&dir);
    cluster.start("b").await;
    cluster.until("b is back", whole).await;

    // Tried out: nothing is switched off, and the cluster would refuse.
    let (code, text) = cluster.run(&["fence", "a", "--dry-run"]);
    assert!(code == 3 && text.contains("through  b") && text.contains("does not say that it is off"), "{code}: {text}");
    assert!(text.contains("is the primary of files") && !dir.join("off").exists(), "{text}");
    let (code, text) = cluster.run(&["fence", "a", "--reason", "it hangs"]);
    assert!(code == 3 && text.contains("R7"), "{code}: {text}");
    let (code, text) = cluster.run(&["fence", "w", "--dry-run"]);
    assert!(code == 1 && text.contains("no [[fence]] for it"), "{code}: {text}");
    assert_eq!(cluster.run(&["fence", "a"]).0, 64);

    // A failover, with a person's approval, in which b has a switched off.
    cluster.kill("a");
    let waiting = |status: &ClusterStatus| status.proposals.iter().any(|proposal| proposal.candidate == "b");
    let status = cluster.until("b is proposed", waiting).await;
    let (id, hash) = (status.proposals[0].id.to_string(), status.proposals[0].evidence_hash.clone());
    let (code, text) = cluster.run(&["approve", &id, "--evidence", &hash]);
    assert_eq!(code, 0, "{text}");
    cluster.until("b serves", |status| serves(status, "b", 1)).await;
    told(&cluster, "external fence confirmed: a (boot").await;
    assert_eq!(fs::read_to_string(dir.join("off")).unwrap(), format!("a 1 {id}\n"));
    let (_, shown) = cluster.run(&["proposals", "show", &id]);
    assert!(shown.contains("external fence confirmed: it is off"), "{shown}");

    // What failed is on record, and the volume is served all the same.
    told(&cluster, "hook on_promoted of files failed on b in epoch e2: exit code 7").await;
    assert!(fs::read_to_string(dir.join("told")).unwrap().starts_with("on_promoted files 2 b\n"));
    cluster.until("b serves on", |status| serves(status, "b", 1)).await;
}
