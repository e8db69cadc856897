//! The attended demo: prints where things are, then the cluster's state whenever it changes, until Ctrl-C.

use super::cluster::{Cluster, SERVICE, VOLUME, volume};
use mainstay_node::admin::api::{ClusterStatus, NodeStatus};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A node that died is started again so long after the volume serves, so that there is time to look.
const RESTART_AFTER: Duration = Duration::from_secs(5);

pub async fn run(mut cluster: Cluster, restarts: bool) -> u8 {
    introduce(&cluster, restarts);
    let mut screen = Screen::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => look(&mut cluster, &mut screen, restarts).await,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    eprintln!("\ndemo: stopping");
    cluster.stop().await;
    keep_for_others(&mut cluster).await;
    crate::cli::exit::OK
}

/// What somebody started by hand goes on, and so must its directory.
async fn keep_for_others(cluster: &mut Cluster) {
    let Ok(status) = cluster.status().await else { return };
    let up: Vec<&str> = status.nodes.iter().filter(|node| is_up(node)).map(|node| node.name.as_str()).collect();
    if !up.is_empty() {
        eprintln!("demo: {} started by hand still runs, so {} stays", up.join(" and "), cluster.dir.display());
        cluster.keep();
    }
}

fn introduce(cluster: &Cluster, restarts: bool) {
    let (host, port) = SERVICE.rsplit_once(':').unwrap_or((SERVICE, "12049"));
    let admin = crate::launch::admin_path(&cluster.dir);
    let program = std::env::current_exe().map_or_else(|_| "mainstay".into(), |path| path.display().to_string());
    let pids = ["a", "b", "w"].map(|name| format!("{name}={}", cluster.pid(name).unwrap_or(0))).join(" ");
    println!("A cluster is running: file servers a and b, witness w, volume `{VOLUME}`.\n");
    println!("  directory  {}", cluster.dir.display());
    println!("  processes  {pids}");
    println!("  admin      {}", admin.display());
    println!("  mount      mount -t nfs -o vers=3,tcp,nolock,port={port},mountport={port} {host}:/{VOLUME} /mnt\n");
    println!("Try:");
    println!("  kill -9 {:<8}                        # the primary; reads go on, writes wait", cluster.pid("a").unwrap_or(0));
    println!("  export MAINSTAY_CONFIG={}", admin.display());
    println!("  {program} proposals show 1               # what b proposes, on what evidence, and the evidence's hash");
    println!("  {program} approve 1 --evidence HASH      # nobody is promoted before this");
    println!("  {program} verify {VOLUME}                   # both copies, compared");
    let config = |name: &str| crate::launch::Place::of(&cluster.dir, name).config;
    println!("  {program} node --config {}   # starts a by hand", config("a").display());
    match restarts {
        true => println!("\nA node that died is started again when the volume has served for a while (--no-restart: never)."),
        false => println!("\nA node that died stays down until you start it."),
    }
    println!("Ctrl-C stops everything that was started from here.\n");
}

async fn look(cluster: &mut Cluster, screen: &mut Screen, restarts: bool) {
    let status = cluster.status().await;
    let runs = |name: &str| status.as_ref().is_ok_and(|status| status.nodes.iter().any(|node| node.name == name && is_up(node)));
    let serving = status.as_ref().is_ok_and(|status| volume(status).is_some_and(|volume| volume.state == "serving"));
    for (name, ago) in cluster.dead() {
        // Whoever started it by hand looks after it.
        if runs(&name) {
            cluster.forget(&name);
            continue;
        }
        if restarts && serving && ago >= RESTART_AFTER {
            match cluster.spawn(&name) {
                Ok(()) => screen.say(&format!("node {name} is started again, process {}", cluster.pid(&name).unwrap_or(0))),
                Err(error) => screen.say(&error.to_string()),
            }
        }
    }
    match status {
        Ok(status) => screen.show(&status),
        Err(error) => screen.say(&error.to_string()),
    }
}

fn is_up(node: &NodeStatus) -> bool {
    matches!(node.state.as_str(), "up" | "starting")
}

/// Redraws in place on a terminal; elsewhere prints a line only when something other than a position changed.
#[derive(Default)]
struct Screen {
    drawn_lines: usize,
    last: String,
    bytes: Option<(Instant, u64, u64)>,
}

impl Screen {
    fn say(&mut self, text: &str) {
        if self.last != text {
            println!("{text}");
            self.last = text.to_string();
            self.drawn_lines = 0;
        }
    }

    fn show(&mut self, status: &ClusterStatus) {
        let Some(volume) = volume(status) else { return self.say("the volume is not there yet") };
        let sent: u64 = volume.replicas.iter().map(|replica| replica.bytes_sent).sum();
        let (records, rate) = self.rates(volume.commit, sent);
        let primary = volume.primary.as_deref().unwrap_or("none");
        let head =
            format!("{VOLUME}: {}, primary {primary}, epoch {}, in sync {}", volume.state, volume.epoch, volume.in_sync.join(" "));
        let nodes = status.nodes.iter().map(|node| format!("{} {}", node.name, node.state)).collect::<Vec<_>>().join(", ");
        let mut lines = vec![head, format!("nodes: {nodes}; lease {} ms", volume.lease_ms)];
        for replica in &volume.replicas {
            let lag = volume.commit.saturating_sub(replica.position);
            lines.push(format!(
                "  {:<3} {:<12} at {:<10} durable {:<10} behind {lag}",
                replica.node, replica.state, replica.position, replica.durable
            ));
        }
        for proposal in &status.proposals {
            lines.push(format!("proposal {}: {} for {}, {}", proposal.id, proposal.candidate, proposal.volume, proposal.state));
            lines.push(format!("  {}", proposal.next));
        }
        lines.push(format!("{records} records/s, replication {:.1} MB/s", rate as f64 / 1e6));
        self.draw(lines);
    }

    fn draw(&mut self, lines: Vec<String>) {
        if std::io::stdout().is_terminal() {
            let up = if self.drawn_lines > 0 { format!("\x1b[{}A", self.drawn_lines) } else { String::new() };
            let body: String = lines.iter().map(|line| format!("\x1b[2K{line}\n")).collect();
            // No wrapping (DECAWM): a line is one row, or the way up would be wrong.
            print!("{up}\x1b[J\x1b[?7l{body}\x1b[?7h");
            let _ = std::io::stdout().flush();
            self.drawn_lines = lines.len();
        } else {
            let steady =
                format!("{} | {}", lines[0], lines.iter().filter(|line| line.starts_with("proposal")).cloned().collect::<String>());
            self.say(&steady);
        }
    }

    fn rates(&mut self, commit: u64, sent: u64) -> (u64, u64) {
        let now = Instant::now();
        let before = self.bytes.replace((now, commit, sent));
        before.map_or((0, 0), |(at, old_commit, old_sent)| {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            let per_second = |new: u64, old: u64| (new.saturating_sub(old) as f64 / seconds) as u64;
            (per_second(commit, old_commit), per_second(sent, old_sent))
        })
    }
}
