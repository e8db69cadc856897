//! Commands that only look.

use super::args::Format;
use super::output::{Style, json, print, show, table};
use super::{CliError, EVENTS_VERSION, exit, status};
use mainstay_cluster::{Actor, AuditEvent, Check, Step, Verdict};
use mainstay_node::admin::api::{Explained, ExplainedOutlook, ProposalDetails, ProposalStatus, Verification, VolumeDetails};
use mainstay_node::admin::client::AdminClient;
use mainstay_node::event_log::Line;
use mainstay_protocol::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How long one request of `events --follow` waits for news.
const FOLLOW_WAIT: Duration = Duration::from_secs(25);

pub async fn status(client: &AdminClient, format: Format) -> Result<u8, CliError> {
    let answer = client.status().await?;
    show(format, &answer, |answer| status::render(answer, Style::detect()));
    Ok(exit::OK)
}

pub async fn volumes(client: &AdminClient, format: Format) -> Result<u8, CliError> {
    let volumes = client.volumes().await?;
    show(format, &volumes, |volumes| volume_table(volumes));
    Ok(exit::OK)
}

fn volume_table(volumes: &[VolumeDetails]) -> String {
    let row = |volume: &VolumeDetails| {
        let primary = volume.primary.clone().unwrap_or_else(|| "none".into());
        let address = format!("{}:{}", volume.export.service_address, volume.export.port);
        vec![volume.name.clone(), primary, volume.epoch.to_string(), volume.in_sync.join(" "), volume.replicas.join(" "), address]
    };
    let rows: Vec<Vec<String>> = volumes.iter().map(row).collect();
    table(&["VOLUME", "PRIMARY", "EPOCH", "IN SYNC", "REPLICAS", "ADDRESS"], &rows, "")
}

pub async fn volume(client: &AdminClient, name: &str, format: Format) -> Result<u8, CliError> {
    let volume = client.volume(name).await?;
    show(format, &volume, volume_text);
    Ok(exit::OK)
}

pub(super) fn volume_text(volume: &VolumeDetails) -> String {
    let export = &volume.export;
    let mut text = volume_table(std::slice::from_ref(volume));
    text += &format!(
        "\nmount -t nfs -o vers=3,tcp,nolock,port={0},mountport={0} {1}:/{2} /mnt\n",
        export.port, export.service_address, volume.name
    );
    text += &settings_text(volume);
    let row = |client: &mainstay_cluster::ExportClient| {
        vec![client.network.clone(), format!("{:?}", client.access), format!("{:?}", client.squash)]
    };
    let rows: Vec<Vec<String>> = export.clients.iter().map(row).collect();
    text += &table(&["CLIENTS", "ACCESS", "SQUASH"], &rows, "");
    text
}

fn settings_text(volume: &VolumeDetails) -> String {
    let Some(set) = &volume.settings else { return String::new() };
    let state = match (&volume.breaker_reason, volume.breaker_open) {
        (Some(why), _) => format!("OPEN: {why}"),
        (None, true) => "OPEN".into(),
        (None, false) => "closed".into(),
    };
    let (minutes, counted) = (set.role_changes_window_ms / 60_000, volume.role_changes);
    let mut lines = vec![
        format!("policy           {}{}", set.policy, volume.hold.as_ref().map_or(String::new(), |by| format!(" ({by})"))),
        format!(
            "breaker          {state}; {counted} role changes count, more than {} within {minutes} min open it",
            set.role_changes_max
        ),
        format!("without primary  {}", set.without_primary),
        format!("alone            {}", set.alone),
    ];
    let needs = if set.drill_days == 0 { "not required".into() } else { format!("required every {} days", set.drill_days) };
    let last = volume.drill.clone().unwrap_or_else(|| "none is recorded".into());
    lines.push(format!("drill            {needs}; {last}"));
    lines.join("\n") + "\n"
}

pub async fn proposals(client: &AdminClient, format: Format) -> Result<u8, CliError> {
    let proposals = client.proposals().await?;
    show(format, &proposals, |proposals| {
        let rows: Vec<ProposalStatus> = proposals.iter().map(short).collect();
        status::proposals(&rows)
    });
    Ok(exit::OK)
}

fn short(details: &ProposalDetails) -> ProposalStatus {
    ProposalStatus {
        id: details.id,
        volume: details.volume.clone(),
        candidate: details.candidate.clone(),
        state: details.state.clone(),
        evidence_hash: details.evidence_hash.clone(),
        reason: details.reason.clone(),
        next: details.next.clone(),
    }
}

pub async fn proposal(client: &AdminClient, id: u64, format: Format) -> Result<u8, CliError> {
    let proposal = client.proposal(id).await?;
    show(format, &proposal, proposal_text);
    Ok(exit::OK)
}

pub(super) fn proposal_text(details: &ProposalDetails) -> String {
    let mut text = format!("proposal {}: {} becomes primary of {}\n", details.id, details.candidate, details.volume);
    let reason = details.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    let mut line = |name: &str, value: &str| text += &format!("  {name:<14}{value}\n");
    line("state", &format!("{}{reason}", details.state));
    let proposer = match &details.proposal.proposer {
        Actor::Node(node) if *node == details.proposal.candidate => format!("{} itself", details.candidate),
        other => other.to_string(),
    };
    line("proposed", &format!("{} by {proposer}", instant(details.proposal.at)));
    line("expires", &format!("about {}", instant(details.proposal.expires_at)));
    details.evidence.iter().for_each(|piece| line(&piece.name, &piece.value));
    line("evidence", &details.evidence_hash);
    line("next", &details.next);
    text
}

fn instant(at: Timestamp) -> String {
    mainstay_cluster::refusal::instant(at)
}

/// 0 when it would be allowed, 3 when a rule says no.
pub async fn explain(client: &AdminClient, node: &str, volume: &str, format: Format) -> Result<u8, CliError> {
    let explained = client.explain_promote(node, volume).await?;
    show(format, &explained, explain_text);
    Ok(if explained.promotable { exit::OK } else { exit::REFUSED })
}

fn check_row(check: &Check) -> Vec<String> {
    let verdict = match check.verdict {
        Verdict::Holds => "holds",
        Verdict::Fails => "FAILS",
        Verdict::Unknown => "UNKNOWN",
    };
    vec![check.rule.to_string(), verdict.into(), check.claim.clone(), check.value.clone()]
}

fn explain_text(explained: &Explained) -> String {
    let rows: Vec<Vec<String>> = explained.explanation.checks.iter().map(check_row).collect();
    let answer = format!("now it {}", explained.explanation.verdict());
    let title = format!("{} as primary of {}: {answer}\n\n", explained.node, explained.volume);
    let guards = explained.explanation.guards.iter().map(check_row).map(|mut row| {
        row[0] = "guard".into();
        row
    });
    let rows: Vec<Vec<String>> = rows.into_iter().chain(guards).collect();
    title + &row_table(&rows) + &steps_text(&explained.steps)
}

/// In the order of the checks, with the rules that each clears.
fn steps_text(steps: &[Step]) -> String {
    let mut text = String::new();
    for (at, step) in steps.iter().enumerate() {
        let rules: Vec<String> = step.rules.iter().map(ToString::to_string).collect();
        let head = if at == 0 { "\nWhat clears it:\n" } else { "" };
        text += &format!("{head}  {}. {}  ({})\n", at + 1, step.does, rules.join(", "));
    }
    text
}

fn row_table(rows: &[Vec<String>]) -> String {
    table(&["RULE", "VERDICT", "MUST HOLD", "SEEN"], rows, "")
}

fn check_table(checks: &[Check]) -> String {
    row_table(&checks.iter().map(check_row).collect::<Vec<_>>())
}

/// Exit codes as for a promotion.
pub fn outlook(explained: &ExplainedOutlook, format: Format) -> u8 {
    show(format, explained, |explained| {
        let outlook = &explained.outlook;
        format!("{} {}\n\n{}{}", outlook.what, outlook.answer, check_table(&outlook.checks), steps_text(&explained.steps))
    });
    if explained.allowed { exit::OK } else { exit::REFUSED }
}

pub async fn maintenance(client: &AdminClient, format: Format) -> Result<u8, CliError> {
    let list = client.maintenance().await?;
    show(format, &list, |list| status::maintenance(list));
    Ok(exit::OK)
}

pub async fn events(client: &AdminClient, mut after: u64, follow: bool, format: Format) -> Result<u8, CliError> {
    let mut wait = Duration::ZERO;
    loop {
        let answer = client.events(after, wait).await?;
        if answer.forgotten > 0 {
            let (from, lacks) = (after + 1, answer.forgotten);
            eprintln!(
                "mainstay: the node that answered lacks {lacks} events from {from} on; `mainstay events export` asks all nodes"
            );
        }
        answer.events.iter().for_each(|event| print(&event_line(event, format)));
        after = answer.last;
        if answer.more {
            continue;
        }
        if !follow {
            return Ok(exit::OK);
        }
        wait = FOLLOW_WAIT;
    }
}

/// JSON: one object per line, so that a follower can be read as it goes, and `drill from-events` can read it again.
pub(super) fn event_line(event: &Arc<AuditEvent>, format: Format) -> String {
    match format {
        Format::Json => {
            let line = Line { version: EVENTS_VERSION, event: event.clone() };
            serde_json::to_string(&line).map_or_else(|_| json(&event.number), |line| line + "\n")
        }
        Format::Table | Format::Html => {
            format!("{:>6}  {}  {}  {}\n", event.number, instant(event.at), event.hash.short(), event.text)
        }
    }
}

/// 0 when all replicas are equal, 2 when they differ, 5 when one did not say.
pub async fn verify(client: &AdminClient, volume: &str, format: Format) -> Result<u8, CliError> {
    let verification = client.verify(volume).await?;
    show(format, &verification, verify_text);
    let silent = verification.replicas.iter().any(|replica| replica.digest.is_none());
    Ok(match (verification.equal, silent) {
        (true, _) => exit::OK,
        (false, true) => exit::INDETERMINATE,
        (false, false) => exit::VIOLATED,
    })
}

fn verify_text(verification: &Verification) -> String {
    let rows: Vec<Vec<String>> = verification
        .replicas
        .iter()
        .map(|replica| match replica.digest {
            Some(digest) => {
                let counts = [digest.inodes, digest.entries, digest.extents].map(|count| count.to_string());
                let mut row = vec![replica.node.clone(), format!("{:016x}", digest.xor)];
                row.extend(counts);
                row
            }
            None => vec![replica.node.clone(), "no answer".into(), "-".into(), "-".into(), "-".into()],
        })
        .collect();
    let answer = if verification.equal { "the replicas are equal" } else { "NOT PROVEN EQUAL" };
    let title = format!("volume {} at position {}: {answer}\n", verification.volume, verification.position);
    title + &table(&["REPLICA", "DIGEST", "INODES", "ENTRIES", "EXTENTS"], &rows, "  ")
}
