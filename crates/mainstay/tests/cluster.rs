//! Three real processes on loopback: what an operator does, in order, with the mistakes that operators make.

mod rig;

use mainstay::launch::Place;
use mainstay_node::admin::api::ErrorKind;
use mainstay_node::admin::client::{AdminClient, AdminConfig, ClientError};
use mainstay_node::config::{HooksConfig, NodeConfig};
use mainstay_node::directory::Kind;
use mainstay_node::founding;
use mainstay_node::pki::Role;
use rig::{Cluster, PATIENCE, PROGRAM, all_in_sync, files, free, read, serves, write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn kind_of(error: ClientError) -> ErrorKind {
    match error {
        ClientError::Answer(answer) => answer.error,
        other => panic!("the cluster should have answered: {other}"),
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_lives_through_founding_mistakes_a_kill_and_a_return() {
    let mut cluster = Cluster::found("127.0.71").await;
    volumes_and_status(&cluster).await;
    mistakes(&cluster).await;
    roles(&cluster).await;
    monitoring(&cluster).await;
    drills(&cluster).await;
    switchovers(&cluster).await;
    failover(&mut cluster).await;
    graceful_stop(cluster).await;
}

async fn volumes_and_status(cluster: &Cluster) {
    let bad = cluster.create("a/b").await.unwrap_err();
    assert_eq!(kind_of(bad), ErrorKind::Input);
    cluster.create("files").await.unwrap();
    assert_ne!(kind_of(cluster.create("files").await.unwrap_err()), ErrorKind::Unknown);
    cluster.until("both replicas are in sync", |status| all_in_sync(status, "a")).await;

    let output = cluster.output(&["status", "-o", "json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["cluster"], "shop");
    assert_eq!(json["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(json["nodes"][2]["kind"], "witness");
    let volume = &json["volumes"][0];
    assert_eq!(
        (volume["name"].as_str(), volume["epoch"].as_u64(), volume["primary"].as_str()),
        (Some("files"), Some(1), Some("a"))
    );
    assert_eq!(volume["in_sync"], serde_json::json!(["a", "b"]));
    for field in ["node", "state", "position", "durable", "applied"] {
        assert!(!volume["replicas"][1][field].is_null(), "{field} is missing in {volume:#}");
    }
    assert!(volume["commit"].as_u64().unwrap() >= 1);
    assert_eq!(json["proposals"], serde_json::json!([]));
    assert_eq!(json["maintenance"], serde_json::json!([]));

    let mut client = cluster.nfs();
    write(&mut client, "before", b"written before the kill");
    assert_eq!(code(&cluster.output(&["verify", "files"])), 0);
    assert_eq!(code(&cluster.output(&["explain", "promote", "b", "files"])), 3, "the primary is alive");
    assert_eq!(code(&cluster.output(&["explain", "demote", "a", "files"])), 0, "b is in sync and could take it");
    assert_eq!(code(&cluster.output(&["explain", "demote", "b", "files"])), 3, "it is not the primary");
    assert_eq!(code(&cluster.output(&["explain", "resync", "b", "files"])), 0);
    assert_eq!(code(&cluster.output(&["explain", "resync", "w", "files"])), 3, "a witness holds nothing");
}

/// Each is refused with one clear line, and nothing is lost by it.
async fn mistakes(cluster: &Cluster) {
    let dir = tempfile::tempdir().unwrap();
    let config = |name: &str, directory: &Path| NodeConfig {
        name: name.into(),
        directory: directory.into(),
        peer_address: free("127.0.71.14"),
        admin_address: free("127.0.71.14"),
        service: None,
        hooks: HooksConfig::default(),
        fence: vec![],
    };
    let token = || async { cluster.client.token(5).await.unwrap().token.parse().unwrap() };

    // Two nodes with one name: refused, and the token is not spent by it.
    let spent = token().await;
    let again = founding::join(&config("b", &dir.path().join("again")), &spent, Kind::FileServer).await.unwrap_err();
    assert!(again.to_string().contains("taken"), "{again}");
    assert!(!dir.path().join("again").exists(), "nothing is left behind");
    // A directory that belongs to a node, of this cluster or another.
    let data = Place::of(cluster.dir.path(), "b").data;
    let joined = founding::join(&config("c", &data), &spent, Kind::FileServer).await.unwrap_err();
    assert!(joined.to_string().contains("belongs to node b"), "{joined}");
    // A token that was never made, and one of another cluster.
    let mut forged = spent.clone();
    forged.secret[0] ^= 1;
    let unknown = founding::join(&config("c", &dir.path().join("c")), &forged, Kind::Witness).await.unwrap_err();
    assert!(unknown.to_string().contains("unknown"), "{unknown}");
    forged.fingerprint[0] ^= 1;
    let other = founding::join(&config("c", &dir.path().join("c")), &forged, Kind::Witness).await.unwrap_err();
    assert!(other.to_string().contains("not of the cluster"), "{other}");

    // A second daemon on a directory in use; a port in use; a node.toml that names another node.
    let second = |config: &NodeConfig| {
        let path = dir.path().join(format!("{}.toml", config.peer_address.port()));
        config.save(&path).unwrap();
        let output = Command::new(PROGRAM).arg("node").arg("--config").arg(&path).output().unwrap();
        assert_eq!(code(&output), 1);
        stderr(&output).lines().last().unwrap_or_default().to_string()
    };
    assert!(second(&config("b", &data)).contains("in use by another mainstay process"));
    assert!(second(&config("c", &data)).contains("node.toml says"));
    let taken = free("127.0.71.15");
    let _holder = TcpListener::bind(taken).unwrap();
    let fresh = NodeConfig { peer_address: taken, ..config("x", &dir.path().join("x")) };
    founding::init(&fresh, "other", Kind::FileServer, "root").unwrap();
    let line = second(&fresh);
    assert!(line.contains("peer_address") && line.contains(&taken.to_string()), "{line}");

    // Usage.
    assert_eq!(code(&cluster.output(&["volume", "create"])), 64);
    assert_eq!(code(&cluster.output(&["volume", "show", "nothing"])), 1);
    assert_eq!(code(&cluster.output(&["approve", "77", "--evidence", "00000000"])), 1);
}

async fn roles(cluster: &Cluster) {
    let first = NodeConfig::load(&Place::of(cluster.dir.path(), "a").config).unwrap();
    let viewer = founding::issue(&first, "vera", &[Role::Viewer], cluster.config.endpoints.clone()).unwrap();
    let vera = AdminClient::new(&viewer).unwrap();
    vera.status().await.unwrap();
    assert_eq!(kind_of(vera.token(5).await.unwrap_err()), ErrorKind::Forbidden);
    assert_eq!(kind_of(vera.approve(1, "0000000000").await.unwrap_err()), ErrorKind::Forbidden);
    // Credentials of another cluster do not get through the handshake.
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = NodeConfig { name: "z".into(), directory: dir.path().join("z"), ..first };
    let mut stranger = founding::init(&elsewhere, "other", Kind::FileServer, "mallory").unwrap();
    stranger.authority = cluster.config.authority.clone();
    stranger.cluster = cluster.config.cluster.clone();
    let error = AdminClient::new(&stranger).unwrap().status().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error}");
}

async fn monitoring(cluster: &Cluster) {
    // Without a client's certificate, as a scraper comes.
    let authority = cluster.dir.path().join("authority.pem");
    std::fs::write(&authority, &cluster.config.authority).unwrap();
    let tls = mainstay_node::tls::TlsIdentity::new(cluster_id(cluster), &cluster.config.authority, None).unwrap();
    let name = mainstay_node::tls::server_name(mainstay_node::pki::any_node_server_name(cluster_id(cluster))).unwrap();
    for endpoint in &cluster.config.endpoints {
        let get = |path: &'static str| {
            let ask = (hyper_method(), path, vec![]);
            mainstay_node::admin::http::call(tls.admin_client().unwrap(), name.clone(), *endpoint, ask, PATIENCE)
        };
        assert_eq!(get("/healthz").await.unwrap().0.as_u16(), 200);
        assert_eq!(get("/v1/status").await.unwrap().0.as_u16(), 403);
        let text = String::from_utf8(get("/metrics").await.unwrap().1.to_vec()).unwrap();
        let set = [
            "mainstay_volume_alone{volume=\"files\",alone=\"serve\"} 1",
            "mainstay_volume_without_primary{volume=\"files\",without_primary=\"close\"} 0",
        ];
        let agreed = ["mainstay_epoch{volume=\"files\"} 1", "mainstay_quorum 1", "mainstay_approvals_pending 0"];
        for series in agreed.into_iter().chain(set) {
            assert!(text.contains(series), "{endpoint}: {series} is missing");
        }
        // The primary lives, which is the one thing in b's way.
        assert!(text.contains("mainstay_promotable{volume=\"files\",candidate=\"b\"} 0"), "{endpoint}: {text}");
        let blocked = |rule| format!("mainstay_promotion_blocker{{volume=\"files\",candidate=\"b\",rule=\"{rule}\"}}");
        assert!(text.contains(&format!("{} 1", blocked("R13"))) && text.contains(&format!("{} 0", blocked("R5"))), "{endpoint}");
        for family in ["role", "writable", "peer_up", "fsync_duration_seconds", "replication_lag_bytes", "breaker_open"] {
            assert!(text.contains(&format!("# TYPE mainstay_{family} ")), "{endpoint}: {family} is missing");
        }
    }
}

/// The live cluster is what is rehearsed, and what `maintenance begin` rehearses first.
async fn drills(cluster: &Cluster) {
    let status = cluster.client.status().await.unwrap();
    assert_eq!(status.settings.as_ref().map(|settings| settings.lease_ms), Some(2_000));
    let primary = files(&status).replicas[0].storage.expect("its copy is open");
    assert!(primary.appended_bytes > 0 && primary.running_ms > 0 && primary.live_bytes > 0, "{primary:?}");
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();

    let run = cluster.output(&["drill", "run", "the-incident", "--seed", "0"]);
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert!(text(&run).contains("as cluster shop is: --lease 2000ms"), "{}", text(&run));
    let asked = cluster.output(&["drill", "what-if", "stop b 1m", "--seeds", "1"]);
    assert_eq!(code(&asked), 0, "{}{}", stderr(&asked), text(&asked));
    assert!(text(&asked).contains("cluster shop   volume files"), "{}", text(&asked));

    let outage = cluster.output(&["maintenance", "begin", "a", "--allow-primary", "--for", "1m", "--reason", "disks"]);
    assert_eq!(code(&outage), 2, "nobody said that it may be");
    assert!(stderr(&outage).contains("maintenance of a was not begun"), "{}", stderr(&outage));
    assert_eq!(cluster.client.maintenance().await.unwrap().len(), 0);
    let begun = cluster.output(&["maintenance", "begin", "b", "--for", "1m", "--reason", "disks"]);
    assert_eq!(code(&begun), 0, "{}", stderr(&begun));
    assert!(stderr(&begun).contains("rehearsed maintenance of b for 60.0 s"), "{}", stderr(&begun));
    let id = cluster.client.maintenance().await.unwrap()[0].id;
    assert_eq!(code(&cluster.output(&["maintenance", "end", &id.to_string()])), 0);
    let again = cluster.output(&["maintenance", "begin", "w", "--no-preflight", "--reason", "disks"]);
    assert!(!stderr(&again).contains("rehearsed"), "{}", stderr(&again));
    let id = cluster.client.maintenance().await.unwrap()[0].id;
    assert_eq!(code(&cluster.output(&["maintenance", "end", &id.to_string()])), 0);
    rehearsed_log(cluster);
    unreachable_cluster(cluster);
}

/// What `events` prints is what `drill from-events` reads.
fn rehearsed_log(cluster: &Cluster) {
    let (log, kept) = (cluster.dir.path().join("events.json"), cluster.dir.path().join("story.scenario"));
    std::fs::write(&log, cluster.output(&["events", "-o", "json"]).stdout).unwrap();
    let turned = cluster.output(&["drill", "from-events", log.to_str().unwrap(), "--out", kept.to_str().unwrap()]);
    assert_eq!(code(&turned), 0, "{}", stderr(&turned));
    let scenario = std::fs::read_to_string(kept).unwrap();
    assert!(scenario.contains("maintenance begin b for ") && scenario.contains("maintenance end w"), "{scenario}");
    assert!(!stderr(&turned).contains("was changed"), "the chain holds: {}", stderr(&turned));
}

fn unreachable_cluster(cluster: &Cluster) {
    let nobody = AdminConfig { endpoints: vec![free("127.0.71.19")], ..cluster.config.clone() };
    let path = cluster.dir.path().join("nobody.toml");
    nobody.save(&path).unwrap();
    let run = |args: &[&str]| Command::new(PROGRAM).args(args).arg("--config").arg(&path).output().unwrap();
    for args in [&["drill", "run", "S01"][..], &["drill", "what-if", "stop b 1m"]] {
        let output = run(args);
        assert_eq!(code(&output), 1);
        assert!(stderr(&output).contains("no node answers"), "{args:?}: {}", stderr(&output));
    }
    // A rehearsal that cannot be made stops nobody: what fails is the maintenance itself.
    let output = run(&["maintenance", "begin", "b", "--reason", "disks"]);
    assert!(stderr(&output).contains("not rehearsed: no node answers") && stderr(&output).contains("--no-preflight"));
    assert_eq!(code(&output), 1);
}

fn cluster_id(cluster: &Cluster) -> mainstay_protocol::ClusterId {
    mainstay_node::directory::parse_cluster_id(&cluster.config.cluster).unwrap()
}

fn hyper_method() -> mainstay_node::admin::http::Method {
    mainstay_node::admin::http::Method::GET
}

/// There and back, by hand and before maintenance, under one mount.
async fn switchovers(cluster: &Cluster) {
    let mut client = cluster.nfs();
    let refused = |args: &[&str], rule: &str| {
        let output = cluster.output(args);
        assert!(code(&output) == 3 && stderr(&output).contains(rule), "{args:?}: {}", stderr(&output));
    };
    refused(&["switchover", "files", "--to", "w"], "R12");
    refused(&["switchover", "files", "--to", "a"], "R1");
    refused(&["maintenance", "begin", "a", "--reason", "new memory"], "--switchover");

    let there = cluster.output(&["switchover", "files", "--to", "b", "--wait=20s", "--yes"]);
    assert_eq!(code(&there), 0, "{}", stderr(&there));
    assert_eq!(String::from_utf8_lossy(&there.stdout), "b is the primary of files now\n");
    write(&mut client, "on b", b"written after a switchover");
    cluster.until("a is a secondary in sync", |status| all_in_sync(status, "b")).await;

    let begin = ["maintenance", "begin", "b", "--reason", "new memory", "--switchover", "--no-preflight"];
    let back = cluster.output(&begin);
    assert_eq!(code(&back), 0, "{}", stderr(&back));
    assert_eq!(read(&mut client, "on b"), b"written after a switchover");
    let status = cluster.until("b is a secondary in sync", |status| all_in_sync(status, "a")).await;
    assert_eq!(status.maintenance[0].node, "b");
    refused(&["switchover", "files", "--to", "b", "--no-preflight"], "R10");
    assert_eq!(code(&cluster.output(&["maintenance", "end", &status.maintenance[0].id.to_string()])), 0);
    cluster.until("the maintenance is closed", |status| status.maintenance.is_empty()).await;
}

async fn failover(cluster: &mut Cluster) {
    let mut client = cluster.nfs();
    cluster.kill("a");
    let status = cluster.until("the failure is proposed about", |status| !status.proposals.is_empty()).await;
    let proposal = &status.proposals[0];
    assert_eq!((proposal.state.as_str(), proposal.candidate.as_str()), ("pending", "b"));
    assert_eq!(files(&status).primary.as_deref(), Some("a"), "nothing is promoted without a person");
    let id = proposal.id.to_string();
    let wrong = cluster.output(&["approve", &id, "--evidence", "0123456789abcdef"]);
    assert_eq!(code(&wrong), 3, "{}", stderr(&wrong));
    assert!(stderr(&wrong).contains("R14"), "{}", stderr(&wrong));
    let shown = cluster.output(&["proposals", "show", &id]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&proposal.evidence_hash));
    let right = cluster.output(&["approve", &id, "--evidence", &proposal.evidence_hash[..12]]);
    assert_eq!(code(&right), 0, "{}", stderr(&right));
    cluster.until("b serves", |status| serves(status, "b", 1)).await;
    // The same client goes on: nothing was remounted.
    assert_eq!(read(&mut client, "before"), b"written before the kill");
    write(&mut client, "after", b"written after the kill");

    cluster.start("a").await;
    cluster.until("a is back as a secondary", |status| all_in_sync(status, "b")).await;
    let verified = cluster.output(&["verify", "files", "-o", "json"]);
    assert_eq!(code(&verified), 0, "{}", String::from_utf8_lossy(&verified.stdout));
    assert_eq!(read(&mut client, "after"), b"written after the kill");
    let events = cluster.output(&["events"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert!(events.contains("admin approved") && events.contains("refused by R14"), "{events}");
}

/// A graceful stop of the primary leaves the volume without one at once, with a proposal, and reads still served.
async fn graceful_stop(mut cluster: Cluster) {
    let primary = cluster.take("b");
    let stopped = tokio::task::spawn_blocking(move || primary.stop(PATIENCE)).await.unwrap();
    assert!(stopped, "it ended by itself");
    let status = cluster.until("reads are served without a primary", |status| files(status).state == "read-only").await;
    assert_eq!(files(&status).primary, None);
    let mut client = cluster.nfs();
    assert_eq!(read(&mut client, "after"), b"written after the kill");
}
