//! `mainstay recover`: looks at everything, and says what a person can do. It changes nothing.

use super::args::Format;
use super::output::{print, show};
use super::{CliError, exit, quarantine};
use mainstay_node::admin::api::{ClusterStatus, Explained};
use mainstay_node::admin::client::AdminClient;
use mainstay_node::recover::{Seen, findings, meant, render};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Between two looks, where something is being brought into sync: long enough for any live resync to have moved.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// 0 when nothing needs a person, 4 when something does.
pub async fn recover(client: &AdminClient, format: Format) -> Result<u8, CliError> {
    let seen = look(client).await;
    let found = findings(&seen);
    match format {
        Format::Json => show(format, &found, |_| String::new()),
        Format::Table | Format::Html => print(&render(&found, &meant(&seen))),
    }
    Ok(if found.is_empty() { exit::OK } else { exit::APPROVAL_PENDING })
}

async fn look(client: &AdminClient) -> Seen {
    let mut seen = Seen { now: now(), ..Seen::default() };
    (seen.status, seen.silent) = status(client).await;
    if seen.status.as_ref().is_some_and(moves) {
        tokio::time::sleep(SECOND_LOOK).await;
        seen.earlier = seen.status.take();
        (seen.status, seen.silent) = status(client).await;
    }
    let Some(status) = &seen.status else { return seen };
    seen.proposals = client.proposals().await.unwrap_or_default();
    seen.explained = explained(client, status).await;
    seen.quarantines = quarantine::gather(client).await.quarantines;
    seen
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Every node is asked: the one with a quorum knows best, else the one that knows the newest decision.
async fn status(client: &AdminClient) -> (Option<ClusterStatus>, Vec<(String, String)>) {
    let (mut best, mut silent): (Option<ClusterStatus>, _) = (None, Vec::new());
    for endpoint in client.endpoints() {
        match client.at(vec![*endpoint]).status().await {
            Ok(status) => {
                let rank = |status: &ClusterStatus| (status.quorum, status.version);
                if best.as_ref().is_none_or(|best| rank(best) < rank(&status)) {
                    best = Some(status);
                }
            }
            Err(error) => silent.push((endpoint.to_string(), error.to_string())),
        }
    }
    (best, silent)
}

/// Something is on its way into sync: only a second look tells whether it gets there.
fn moves(status: &ClusterStatus) -> bool {
    let resyncing = |state: &str| matches!(state, "catching-up" | "resyncing" | "rolling-back");
    status.volumes.iter().flat_map(|volume| &volume.replicas).any(|replica| resyncing(&replica.state))
}

/// For volumes that nobody serves: what stands in the way of each replica that answers.
async fn explained(client: &AdminClient, status: &ClusterStatus) -> Vec<Explained> {
    let mut all = Vec::new();
    for volume in status.volumes.iter().filter(|volume| volume.state != "serving") {
        for replica in volume.replicas.iter().filter(|replica| replica.state != "unreachable") {
            all.extend(client.explain_promote(&replica.node, &volume.name).await.ok());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::args::Cli;
    use clap::Parser;
    use std::path::Path;

    /// Words as a shell has them; what only the person knows is filled in.
    fn words(command: &str) -> Vec<String> {
        let quoted = command.split('"').enumerate();
        let words = quoted.flat_map(|(n, part)| if n % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
        words.map(|word| word.replace("TIME", "2h")).collect()
    }

    #[test]
    fn every_command_that_recover_prints_is_one() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/tests/recover");
        let mut commands = 0;
        for file in std::fs::read_dir(dir).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let printed = text.lines().filter_map(|line| line.trim().strip_prefix("$ "));
            let typed =
                printed.map(|line| line.split("   (on ").next().unwrap_or_default()).filter(|line| line.starts_with("mainstay "));
            for command in typed {
                Cli::try_parse_from(words(command)).unwrap_or_else(|error| panic!("{command}: {error}"));
                commands += 1;
            }
        }
        assert!(commands > 30, "{commands} commands were looked at");
    }
}
