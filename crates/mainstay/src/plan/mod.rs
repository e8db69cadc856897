//! `mainstay plan` and `mainstay apply`: from the cluster as it is to the one that a file describes. The file and the difference are
//! pure; here the cluster is asked, and the steps are done, one after the other, each from the state as it is then.

pub mod diff;
pub mod file;

use crate::cli::args::{Apply, Format, PlanFile};
use crate::cli::output::{Style, print, show};
use crate::cli::{CliError, exit, membership, switchover};
use diff::{Live, LiveNode, LiveVolume, Plan, Step};
use file::{Desired, Kind};
use mainstay_node::admin::api::{NewVolume, SetVolume};
use mainstay_node::admin::client::AdminClient;
use serde::Serialize;
use std::io::{BufRead, IsTerminal};
use std::path::Path;

/// More steps than any file can need: each makes one difference less.
const STEPS_MAX: usize = 10_000;

pub async fn live(client: &AdminClient) -> Result<Live, CliError> {
    let (status, volumes) = (client.status().await?, client.volumes().await?);
    let node = |node: &mainstay_node::admin::api::NodeStatus| LiveNode {
        kind: if node.kind == Kind::Witness.name() { Kind::Witness } else { Kind::FileServer },
        up: node.state == "up",
        booted: node.incarnation > 0,
        free_bytes: node.free_bytes,
    };
    let volume = |details: &mainstay_node::admin::api::VolumeDetails| LiveVolume {
        replicas: details.replicas.iter().cloned().collect(),
        in_sync: details.in_sync.iter().cloned().collect(),
        primary: details.primary.clone(),
        serving: details.serving,
        live_bytes: status.live_bytes(&details.name),
        settings: details.settings.unwrap_or_default(),
        export: details.export.clone(),
    };
    Ok(Live {
        cluster: status.cluster.clone(),
        nodes: status.nodes.iter().map(|known| (known.name.clone(), node(known))).collect(),
        volumes: volumes.iter().map(|details| (details.name.clone(), volume(details))).collect(),
    })
}

/// For programs.
#[derive(Serialize)]
struct Shown<'a> {
    same: bool,
    differences: &'a [String],
    steps: Vec<String>,
    notes: &'a [String],
}

fn text(plan: &Plan, style: Style) -> String {
    let mut text = String::new();
    for line in &plan.differences {
        text += &match line.chars().next() {
            Some('+') => format!("  {}\n", style.good(line)),
            Some('-') => format!("  {}\n", style.alarm(line)),
            _ => format!("  {line}\n"),
        };
    }
    if !plan.steps.is_empty() {
        text += &format!("\n{}\n", style.bold("Steps, in this order:"));
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let line = step.text();
        text += &format!("  {:>2}. {}\n", index + 1, if matches!(step, Step::Blocked { .. }) { style.alarm(&line) } else { line });
    }
    if plan.same() {
        text += "The cluster is as the file says.\n";
    }
    plan.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    text
}

fn print_plan(plan: &Plan, format: Format) {
    let steps = plan.steps.iter().map(Step::text).collect();
    let shown = Shown { same: plan.same(), differences: &plan.differences, steps, notes: &plan.notes };
    show(format, &shown, |_| text(plan, Style::detect()));
}

fn load(path: &Path) -> Result<Desired, CliError> {
    file::load(path).map_err(CliError::Failed)
}

/// Exit code 0: the same; 2: something differs; 1: an error.
pub async fn plan(client: &AdminClient, wish: &PlanFile, format: Format) -> Result<u8, CliError> {
    let Some(path) = wish.file.as_ref().filter(|_| !wish.export) else {
        if !wish.export {
            return Err(CliError::Usage("name a file, or --export to write what there is".into()));
        }
        print(&diff::to_text(&diff::export(&live(client).await?)));
        return Ok(exit::OK);
    };
    let desired = load(path)?;
    let plan = diff::plan(&live(client).await?, &desired).map_err(CliError::Failed)?;
    print_plan(&plan, format);
    Ok(if plan.same() { exit::OK } else { exit::VIOLATED })
}

pub async fn apply(client: &AdminClient, wish: &Apply, format: Format) -> Result<u8, CliError> {
    let desired = load(&wish.file)?;
    let first = diff::plan(&live(client).await?, &desired).map_err(CliError::Failed)?;
    print_plan(&first, format);
    if first.same() {
        return Ok(exit::OK);
    }
    confirm(wish.yes)?;
    let mut before = None;
    for _ in 0..STEPS_MAX {
        let plan = diff::plan(&live(client).await?, &desired).map_err(CliError::Failed)?;
        let Some(step) = plan.steps.first() else {
            eprintln!("mainstay: done; the cluster is as {} says", wish.file.display());
            return Ok(exit::OK);
        };
        if before.as_ref() == Some(step) {
            return Err(CliError::Failed(format!("\"{}\" was done and is still wanted: look at `mainstay status`", step.text())));
        }
        eprintln!("mainstay: {}", step.text());
        if let Some(code) = perform(client, step, &desired, wish).await? {
            return Ok(code);
        }
        before = Some(step.clone());
    }
    Err(CliError::Failed("too many steps".into()))
}

fn confirm(yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Usage("look at `mainstay plan FILE`, then give --yes".into()));
    }
    eprint!("Do this? Type yes: ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| CliError::Failed(error.to_string()))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(CliError::Failed("nothing was done".into())) }
}

/// `Some`: it stops here, and this is the exit code; what to type has been said.
async fn perform(client: &AdminClient, step: &Step, desired: &Desired, wish: &Apply) -> Result<Option<u8>, CliError> {
    let reason = wish.reason.clone().unwrap_or_else(|| format!("as {} says", wish.file.display()));
    match step {
        Step::Join { node, kind } => {
            let witness = if *kind == Kind::Witness { " --witness" } else { "" };
            eprintln!(
                "mainstay: `mainstay token` here; then on {node}: `mainstay join TOKEN --name {node}{witness} --directory DIR \
                 --peer-address ADDRESS:PORT --admin-address ADDRESS:PORT` and `mainstay node`; then this command again"
            );
            return Ok(Some(exit::APPROVAL_PENDING));
        }
        Step::Start { node } => {
            eprintln!("mainstay: start it on {node}: `mainstay node`; then this command again");
            return Ok(Some(exit::APPROVAL_PENDING));
        }
        Step::Create { volume } => create(client, volume, desired).await?,
        Step::Set { volume, wish, .. } => {
            let set = client.set_volume(volume, &SetVolume { wish: *wish, reason }).await?;
            if let Some(change) = set.waits {
                eprintln!("mainstay: c{}: {}; then this command again", change.id, change.next);
                return Ok(Some(exit::APPROVAL_PENDING));
            }
        }
        Step::AddReplica { volume, node } => membership::add(client, volume, node, &reason).await?,
        Step::WaitInSync { volume, node } => membership::wait_in_sync(client, volume, node).await?,
        Step::Switchover { volume, to } if wish.switchover => drop(switchover::hand_over(client, volume, to).await?),
        Step::Switchover { volume, to } => {
            eprintln!("mainstay: `mainstay switchover {volume} --to {to}`, then this command again; --switchover does it here");
            return Ok(Some(exit::APPROVAL_PENDING));
        }
        Step::RemoveReplica { volume, node } => membership::remove(client, volume, node, &reason).await?,
        Step::RemoveNode { node } => membership::remove_node(client, node, &reason).await?,
        Step::Blocked { .. } => return Ok(Some(exit::REFUSED)),
    }
    Ok(None)
}

async fn create(client: &AdminClient, name: &str, desired: &Desired) -> Result<(), CliError> {
    let Some(wanted) = desired.volumes.get(name) else { return Ok(()) };
    let export = wanted.export.as_ref().map(file::Export::settings).unwrap_or_default();
    let (replicas, serve_reads, policy) = (wanted.replicas.clone(), true, Default::default());
    let primary = replicas.first().cloned().unwrap_or_default();
    client.create_volume(&NewVolume { name: name.into(), replicas, primary, export, serve_reads, policy }).await?;
    Ok(())
}
