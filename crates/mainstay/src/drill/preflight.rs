//! What `maintenance begin` rehearses and shows before it begins anything.
//!
//! A rehearsal that cannot be made for technical reasons warns and stops nobody: maintenance is sometimes what mends the cluster.
//! One that shows an outage asks, or refuses where nobody can be asked: whoever meant it says `--yes`.

use super::fork::Fork;
use super::what_if::{self, Answer, Kind, Step};
use super::{out, units};
use crate::cli::CliError;
use crate::cli::output::Style;
use mainstay_node::admin::api::ClusterStatus;
use mainstay_node::admin::client::AdminClient;
use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

/// Few, so that nobody waits: the question is what happens, not how rarely it goes otherwise.
const SEEDS: u64 = 3;
/// No further seed begins after this.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// A longer window is rehearsed this long: its middle is quiet.
const WINDOW_MAX: u64 = 4 * 3_600_000_000_000;
const MINUTE: u64 = 60_000_000_000;

/// What is to be begun.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub node: &'a str,
    pub minutes: u32,
    /// The operator knows that volumes lose their primary.
    pub allow_primary: bool,
    /// Whatever the rehearsal shows.
    pub yes: bool,
}

/// Rehearses and shows it on standard error. `Ok`: go on.
///
/// # Errors
/// The rehearsal shows an outage, and nobody says that it may be.
pub async fn maintenance(client: &AdminClient, wish: Wish<'_>) -> Result<(), CliError> {
    let answer = match client.status().await.map_err(CliError::from) {
        Ok(status) if refused_anyway(&status, wish) => return Ok(()),
        Ok(status) => rehearse(&status, wish),
        Err(error) => Err(error),
    };
    match answer {
        Ok(Some(answer)) => judge(&answer, wish),
        Ok(None) => {
            eprintln!("mainstay: not rehearsed: no run was over in {PATIENCE:?}; going on without");
            Ok(())
        }
        Err(error) => {
            eprintln!("mainstay: not rehearsed: {error}; going on without (--no-preflight does not try)");
            Ok(())
        }
    }
}

/// The cluster says better than a simulation why not: a primary's maintenance that nobody meant, an unknown node.
fn refused_anyway(status: &ClusterStatus, wish: Wish<'_>) -> bool {
    let reigns = status.volumes.iter().any(|volume| volume.primary.as_deref() == Some(wish.node));
    let known = status.nodes.iter().any(|node| node.name == wish.node);
    let maintained = status.maintenance.iter().any(|one| one.node == wish.node && one.state == "active");
    !known || maintained || (reigns && !wish.allow_primary)
}

fn rehearse(status: &ClusterStatus, wish: Wish<'_>) -> Result<Option<Answer>, CliError> {
    let fork = Fork::of(status, None, Some(wish.node), out::unix_now())?;
    let Some(node) = fork.names.find(wish.node) else { return Ok(None) };
    let window = wish.minutes as u64 * MINUTE;
    if window > WINDOW_MAX {
        eprintln!("mainstay: rehearsing the first {} of it", units::show_time(WINDOW_MAX));
    }
    let step = Step { kind: Kind::Maintenance(node), lasts: window.clamp(1, WINDOW_MAX), guessed: false };
    let begun = Instant::now();
    what_if::usual(&fork, &step, SEEDS, &|| begun.elapsed() > PATIENCE)
}

fn judge(answer: &Answer, wish: Wish<'_>) -> Result<(), CliError> {
    eprint!("{}", what_if::brief(answer, Style::of(&std::io::stderr())));
    if answer.good() || wish.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Preflight(format!(
            "maintenance of {} was not begun: {}. --yes begins it all the same, `mainstay drill what-if \"maintenance {} {}m\"` shows more",
            wish.node,
            answer.reasons().join("; "),
            wish.node,
            wish.minutes
        )));
    }
    eprint!("Begin it all the same? Type yes: ");
    let mut said = String::new();
    std::io::stdin().lock().read_line(&mut said).map_err(|error| CliError::Failed(error.to_string()))?;
    match said.trim() {
        "yes" => Ok(()),
        _ => Err(CliError::Preflight(format!("maintenance of {} was not begun", wish.node))),
    }
}
