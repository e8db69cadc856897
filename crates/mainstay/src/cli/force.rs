//! `force-quorum`: what the node that is left knows, and going on with it alone.

use super::args::{ForceQuorum, Format};
use super::output::show;
use super::{CliError, exit};
use mainstay_node::admin::client::AdminConfig;
use mainstay_node::config::NodeConfig;
use mainstay_node::forced::{ForceError, Held, Survivor, Wish};
use serde::Serialize;
use std::path::Path;

/// What there is, for people and for programs.
#[derive(Serialize)]
struct Left {
    node: String,
    cluster: String,
    /// Raft's term and index; of two survivors the greater one knows more.
    term: u64,
    entry: u64,
    /// Entries that this node does not know to be final.
    unconfirmed: u64,
    others: Vec<String>,
    volumes: Vec<LeftVolume>,
    authority: bool,
}

#[derive(Serialize)]
struct LeftVolume {
    name: String,
    epoch: u64,
    primary: Option<String>,
    in_sync: Vec<String>,
    copy: &'static str,
}

#[derive(Serialize)]
struct Forced {
    node: String,
    by: [String; 2],
    /// The old group's decisions, as they were.
    kept: String,
}

impl From<ForceError> for CliError {
    fn from(error: ForceError) -> CliError {
        match error {
            ForceError::Input(message) => CliError::Usage(message),
            other => CliError::Failed(other.to_string()),
        }
    }
}

pub fn force_quorum(path: &Path, wish: &ForceQuorum, format: Format) -> Result<u8, CliError> {
    let config = NodeConfig::load(path).map_err(|error| CliError::Failed(error.to_string()))?;
    let survivor = Survivor::open(&config)?;
    let left = left(&survivor);
    let [first, second] = &wish.approvers[..] else {
        if !wish.approvers.is_empty() {
            return Err(CliError::Usage("two people decide this: give --approver twice".into()));
        }
        show(format, &left, |left| look(left, path));
        return Ok(exit::OK);
    };
    let load = |path| AdminConfig::load(path).map_err(|error| CliError::Failed(error.to_string()));
    let approvers = [load(first)?, load(second)?];
    let (lost, without) = (wish.lost.iter().cloned().collect(), wish.without.iter().cloned().collect());
    let wish = Wish { lost, without, reason: wish.reason.clone(), approvers };
    let done = super::runtime()?.block_on(survivor.force(&wish))?;
    let by = [done.by.0.to_string(), done.by.1.to_string()];
    let forced = Forced { node: left.node.clone(), by, kept: done.kept.display().to_string() };
    show(format, &forced, |forced| after(forced, &left, path));
    Ok(exit::OK)
}

fn left(survivor: &Survivor) -> Left {
    let (term, entry, unconfirmed) = survivor.reach();
    Left {
        node: survivor.name().into(),
        cluster: survivor.cluster_name().into(),
        term,
        entry,
        unconfirmed,
        others: survivor.others().into_iter().collect(),
        volumes: survivor.volumes().into_iter().map(left_volume).collect(),
        authority: survivor.has_authority(),
    }
}

fn left_volume(held: Held) -> LeftVolume {
    let copy = match held.here {
        None => "none",
        Some(true) => "in-sync",
        Some(false) => "out-of-sync",
    };
    LeftVolume { name: held.name, epoch: held.epoch, primary: held.primary, in_sync: held.in_sync, copy }
}

/// Nothing has happened yet: what is here, what would be gone, and how it is done.
fn look(left: &Left, path: &Path) -> String {
    let Left { node, cluster, term, entry, unconfirmed, others, volumes, authority } = left;
    let lost = others.join(", ");
    let mut text = format!("{node} of cluster {cluster}, which is not running; this only looks, and changes nothing\n\n");
    text += &format!("  decisions   up to term {term}, entry {entry}");
    text += &match unconfirmed {
        0 => "\n".to_string(),
        more => format!("; {more} of them not known to be final, and taken as decided\n"),
    };
    for volume in volumes {
        let primary = volume.primary.as_deref().unwrap_or("none");
        let here = match volume.copy {
            "none" => format!("NO COPY on {node}: it would be gone (--without {})", volume.name),
            "in-sync" => format!("{node} is in sync, as far as it knows: promoted as after any failover"),
            _ => format!(
                "{node} is OUT OF SYNC: two people have to name that loss when it is promoted (of no use: --without {})",
                volume.name
            ),
        };
        text += &format!(
            "  volume      {}: epoch e{}, primary {primary}, in sync {}; {here}\n",
            volume.name,
            volume.epoch,
            volume.in_sync.join(", ")
        );
    }
    text += &format!(
        "\nForcing a quorum goes on with {node} alone. It takes two people's word that {lost} never run again as they are.\n"
    );
    text += &format!("GIVEN UP: whatever {lost} decided and acknowledged among themselves; nobody can say how much that is.\n");
    text += "If one of them runs after all, it may serve clients beside this one: two histories. Switch them off for good first.\n";
    text += "If another file server is left, look there too, and go on with the one whose term, then entry, is greater.\n";
    if !authority {
        text += &format!("{node} has no keys/authority.key: put your copy of it there, or nobody can join afterwards.\n");
    }
    let without: String =
        volumes.iter().filter(|volume| volume.copy == "none").map(|volume| format!(" --without {}", volume.name)).collect();
    text + &format!(
        "\nTo do it:  mainstay force-quorum --config {} --lost {}{without} --reason \"WHAT HAPPENED\" --approver ONE.toml --approver OTHER.toml\n",
        path.display(),
        others.join(",")
    )
}

fn after(forced: &Forced, left: &Left, path: &Path) -> String {
    let [first, second] = &forced.by;
    format!(
        "{} goes on alone, by the word of {first} and {second}. What the cluster had decided before is kept in {}\n\
         start it:  mainstay node --config {}\n\
         then:      mainstay recover\n\
         NEVER start {} again with their old directories; join other machines in their place\n",
        forced.node,
        forced.kept,
        path.display(),
        left.others.join(", ")
    )
}
