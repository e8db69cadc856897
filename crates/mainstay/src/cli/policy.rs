//! Policies, holds, and what takes two people.

use super::args::{Format, SetVolume};
use super::output::{show, table};
use super::{CliError, exit};
use mainstay_cluster::VolumeWish;
use mainstay_node::admin::api::{self, ChangeStatus, Set};
use mainstay_node::admin::client::AdminClient;
use std::io::{BufRead, IsTerminal};

fn wish(set: &SetVolume) -> VolumeWish {
    VolumeWish {
        policy: set.policy.map(Into::into),
        without_primary: set.without_primary.map(Into::into),
        alone: set.alone.map(Into::into),
        role_changes_max: set.role_changes_max,
        role_changes_window_ms: set.role_changes_window.map(|minutes| u64::from(minutes) * 60_000),
        drill_days: set.drill_days,
    }
}

pub async fn set_volume(client: &AdminClient, set: &SetVolume, format: Format) -> Result<u8, CliError> {
    let wish = wish(set);
    if wish == VolumeWish::default() {
        return Err(CliError::Usage("nothing to set: give --policy, --alone, --without-primary or another setting".into()));
    }
    let answer = client.set_volume(&set.name, &api::SetVolume { wish, reason: set.reason.clone() }).await?;
    Ok(outcome(&answer, &format!("volume {} is set; `mainstay volume show {0}` shows it", set.name), format))
}

pub async fn hold(client: &AdminClient, on: bool, reason: &str, format: Format) -> Result<u8, CliError> {
    let answer = client.set_hold(on, reason).await?;
    let done = if on { "the cluster is on hold: nothing is promoted until it is lifted" } else { "the cluster is not on hold" };
    Ok(outcome(&answer, done, format))
}

/// Exit code 4 while another person has to approve.
fn outcome(answer: &Set, done: &str, format: Format) -> u8 {
    show(format, answer, |answer| match &answer.waits {
        None => format!("{done}\n"),
        Some(change) => format!("not done yet. c{}: {}\n{}\n", change.id, change.what, change.next),
    });
    if answer.waits.is_some() { exit::APPROVAL_PENDING } else { exit::OK }
}

pub async fn changes(client: &AdminClient, format: Format) -> Result<u8, CliError> {
    let changes = client.changes().await?;
    show(format, &changes, |changes| change_table(changes));
    Ok(exit::OK)
}

pub fn change_table(changes: &[ChangeStatus]) -> String {
    let row = |change: &ChangeStatus| {
        let digest = change.digest.get(..12).unwrap_or(&change.digest).to_string();
        vec![
            format!("c{}", change.id),
            change.what.clone(),
            change.asked_by.clone(),
            change.text.clone(),
            digest,
            change.reason.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = changes.iter().map(row).collect();
    table(&["CHANGE", "WHAT", "ASKED BY", "STATE", "DIGEST", "REASON"], &rows, "")
}

/// An approval is for exactly the change that the person saw; without a digest it is shown here first.
pub async fn approve(client: &AdminClient, id: u64, digest: Option<&str>, format: Format) -> Result<u8, CliError> {
    let digest = match digest {
        Some(digest) => digest.to_string(),
        None => confirm(client, id).await?,
    };
    report(&client.approve_change(id, &digest).await?, format);
    Ok(exit::OK)
}

async fn confirm(client: &AdminClient, id: u64) -> Result<String, CliError> {
    let known = client.changes().await?.into_iter().find(|change| change.id == id);
    let Some(change) = known else {
        return Err(CliError::Failed(format!("there is no change c{id}; `mainstay changes` lists them")));
    };
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Usage("look at `mainstay changes`, then give --evidence with the digest that it prints".into()));
    }
    eprint!("{}\nApprove this? Type yes: ", change_table(std::slice::from_ref(&change)));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| CliError::Failed(error.to_string()))?;
    if answer.trim() == "yes" { Ok(change.digest) } else { Err(CliError::Failed("not approved".into())) }
}

pub async fn deny(client: &AdminClient, id: u64, reason: &str, format: Format) -> Result<u8, CliError> {
    report(&client.deny_change(id, reason).await?, format);
    Ok(exit::OK)
}

fn report(change: &ChangeStatus, format: Format) {
    show(format, change, |change| format!("change c{} ({}) is {}\n", change.id, change.what, change.text));
}

#[cfg(test)]
mod tests {
    use super::super::args::Ticket;

    #[test]
    fn proposals_and_changes_are_told_apart() {
        assert_eq!("3".parse(), Ok(Ticket::Proposal(3)));
        assert_eq!("p3".parse(), Ok(Ticket::Proposal(3)));
        assert_eq!("#3".parse(), Ok(Ticket::Proposal(3)));
        assert_eq!("c3".parse(), Ok(Ticket::Change(3)));
        for wrong in ["", "c", "p", "x3", "c-1", "3c", "pc3"] {
            assert!(wrong.parse::<Ticket>().is_err(), "{wrong}");
        }
    }
}
