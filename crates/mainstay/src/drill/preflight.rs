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
/// A longer window is rehearsed this long, with all that changes in it: its middle is quiet.
const WINDOW_MAX: u64 = 3_600_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// What is to be begun.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub node: &'a str,
    /// Nanoseconds.
    pub lasts: u64,
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
        Ok(Some(answer)) => judge(&answer, wish, std::io::stdin().is_terminal()),
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
    let window = wish.lasts;
    if window > WINDOW_MAX {
        let (short, long) = (units::show_time(WINDOW_MAX), units::show_time(window));
        eprintln!("mainstay: rehearsed as {short} with what changes in {long}: its middle is quiet");
    }
    let step = Step { kind: Kind::Maintenance(node), lasts: window.clamp(1, WINDOW_MAX), guessed: false };
    let begun = Instant::now();
    what_if::usual(&fork, &step, window, SEEDS, &|| begun.elapsed() > PATIENCE)
}

fn judge(answer: &Answer, wish: Wish<'_>, can_ask: bool) -> Result<(), CliError> {
    eprint!("{}", what_if::brief(answer, Style::of(&std::io::stderr())));
    if answer.good() || wish.yes {
        return Ok(());
    }
    if !can_ask {
        return Err(CliError::Preflight(format!(
            "maintenance of {} was not begun: {}. --yes begins it all the same, `mainstay drill what-if \"maintenance {} {}s\"` shows more",
            wish.node,
            answer.reasons().join("; "),
            wish.node,
            wish.lasts.div_ceil(SECOND)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> ClusterStatus {
        serde_json::from_str(include_str!("fixtures/status.json")).unwrap()
    }

    fn wish(node: &str) -> Wish<'_> {
        Wish { node, lasts: 120 * SECOND, allow_primary: true, yes: false }
    }

    #[test]
    fn what_is_good_goes_on_and_an_outage_needs_a_yes() {
        let good = rehearse(&status(), wish("b")).unwrap().unwrap();
        judge(&good, wish("b"), false).unwrap();
        let bad = rehearse(&status(), wish("a")).unwrap().unwrap();
        let error = judge(&bad, wish("a"), false).unwrap_err();
        assert!(matches!(error, CliError::Preflight(_)));
        for part in ["maintenance of a was not begun: for ", "nothing could be written", "--yes", "maintenance a 120s"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        judge(&bad, Wish { yes: true, ..wish("a") }, false).unwrap();
    }

    #[test]
    fn what_the_cluster_refuses_is_not_rehearsed() {
        assert!(refused_anyway(&status(), Wish { allow_primary: false, ..wish("a") }));
        assert!(refused_anyway(&status(), wish("nobody")));
        assert!(!refused_anyway(&status(), wish("a")) && !refused_anyway(&status(), wish("b")));
    }

    #[test]
    fn a_cluster_that_cannot_be_simulated_stops_nobody() {
        let mut status = status();
        status.nodes.remove(2);
        assert!(rehearse(&status, wish("b")).is_err(), "which `maintenance` turns into a warning");
    }
}
