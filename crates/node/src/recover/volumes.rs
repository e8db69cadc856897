//! A volume that is not served: who could serve it, and what a person has to decide.

use super::{Finding, KEEP_DIRECTORIES, NOTHING, Seen, answers, copy_line, list, reads, replica, settings};
use crate::admin::api::{ClusterStatus, Explained, ProposalDetails, ReplicaStatus, VolumeStatus};
use mainstay_cluster::{Actor, Loss, Verdict};

/// Digits of the evidence's hash in a command: those that `proposals show` prints first.
const HASH_DIGITS: usize = 12;

pub fn of(seen: &Seen, status: &ClusterStatus, volume: &VolumeStatus) -> Vec<Finding> {
    let mut found = Vec::new();
    // Where somebody serves, it stands in the way of nothing yet: that is said behind what is the matter now.
    if volume.breaker_open && volume.state != "serving" {
        found.push(breaker(volume));
    }
    // Without a quorum nothing can be done about a volume; that finding comes first and says so.
    if volume.state != "serving" && status.quorum {
        found.push(with_copies(not_served(seen, status, volume), volume));
    }
    found.extend(settings::second_copy(volume));
    found
}

fn with_copies(mut finding: Finding, volume: &VolumeStatus) -> Finding {
    finding.known.extend(volume.replicas.iter().map(|replica| copy_line(volume, replica)));
    finding
}

fn not_served(seen: &Seen, status: &ClusterStatus, volume: &VolumeStatus) -> Finding {
    let open = seen.proposals.iter().find(|proposal| proposal.volume == volume.name && open(&proposal.state));
    let there: Vec<&str> = volume.replicas.iter().filter(|replica| answers(replica)).map(|replica| replica.node.as_str()).collect();
    let member_there = |replica: &&ReplicaStatus| answers(replica) && volume.in_sync.contains(&replica.node);
    let members_there: Vec<&ReplicaStatus> = volume.replicas.iter().filter(member_there).collect();
    match open {
        Some(proposal) if proposal.state == "pending" => pending(status, volume, proposal),
        Some(proposal) => under_way(volume, proposal),
        None if there.is_empty() => both_down(volume),
        None if members_there.is_empty() => stale_only(status, volume, &there),
        None if members_there.iter().all(|replica| replica.state == "empty") => empty_only(status, volume, &members_there),
        None if volume.state == "catching-up" => about_to_serve(volume),
        None => settings::on_hold(status, volume).unwrap_or_else(|| unproposed(seen, status, volume)),
    }
}

fn open(state: &str) -> bool {
    matches!(state, "pending" | "draining" | "fencing" | "catching-up")
}

// ---- a proposal is there -----------------------------------------------------------------------------------------------------

fn pending(status: &ClusterStatus, volume: &VolumeStatus, proposal: &ProposalDetails) -> Finding {
    let (id, candidate, name) = (proposal.id, &proposal.candidate, &volume.name);
    let hash = proposal.evidence_hash.get(..HASH_DIGITS).unwrap_or(&proposal.evidence_hash);
    let approver = match &proposal.proposal.proposer {
        Actor::Person(name) if proposal.proposal.evidence.loss.is_some() => {
            format!(" (another approver than {name}, with their own admin.toml: --config THEIRS)")
        }
        _ => String::new(),
    };
    let mut finding =
        Finding::new("approval-pending", format!("volume {name} has no primary; promoting {candidate} waits for a person"))
            .known(reads(volume));
    finding.known.extend(proposal.evidence.iter().map(|line| format!("{}: {}", line.name, line.value)));
    let expires = mainstay_cluster::refusal::instant(proposal.proposal.expires_at);
    finding = finding
        .known(format!("the proposal can be approved until about {expires}"))
        .choice(
            format!("promote {candidate}{approver}: it serves when every promise to the old primary has lapsed"),
            match &proposal.proposal.evidence.loss {
                None => loss(proposal.proposal.evidence.basis.loss).to_string(),
                Some(named) => format!("EVERYTHING acknowledged after {}, as the proposal names it", named.after),
            },
            format!("mainstay approve {id} --evidence {hash}"),
        )
        .choice(
            "leave it as it is: no writes until somebody decides otherwise",
            NOTHING,
            format!("mainstay deny {id} --reason \"WHY\""),
        );
    let old = volume.primary.clone().or_else(|| other_member(volume, candidate));
    match old.filter(|old| replica(volume, old).is_some_and(|replica| !answers(replica))) {
        Some(old) => {
            let id = status.nodes.iter().find(|node| node.name == old).map(|node| node.id);
            let was = proposal.proposal.evidence.basis.old_primary.map(|(node, _)| node.0);
            let then = match id.is_some() && id == was {
                true => "this proposal is void then, and another one is made from what both hold",
                false => "if it holds more, this proposal is void and another one is made; else it stands",
            };
            finding
                .unknown(format!("what happened to {old}: it is down, or cut off; the evidence says who heard it last, and when"))
                .start(&old, format!("bring {old} back first: {then}"))
        }
        None => finding,
    }
}

fn other_member(volume: &VolumeStatus, candidate: &str) -> Option<String> {
    volume.in_sync.iter().find(|member| *member != candidate).cloned()
}

fn loss(loss: Loss) -> &'static str {
    match loss {
        Loss::None => "nothing that was acknowledged",
        Loss::Unsynced => {
            "nothing that clients were told is stable; unstable writes may be missing, and clients that still run send them again"
        }
        Loss::Unknown => "not known; it will be refused (R5)",
    }
}

fn under_way(volume: &VolumeStatus, proposal: &ProposalDetails) -> Finding {
    let (id, candidate) = (proposal.id, &proposal.candidate);
    Finding::new("promotion-under-way", format!("volume {}: promoting {candidate} is approved and under way", volume.name))
        .known(reads(volume))
        .known(&proposal.next)
        .unknown("how long the rest takes: a majority and the candidate must answer")
        .choice("wait and look again", NOTHING, "mainstay status")
        .choice("call it off", NOTHING, format!("mainstay deny {id} --reason \"WHY\""))
}

fn about_to_serve(volume: &VolumeStatus) -> Finding {
    Finding::new("promotion-under-way", format!("volume {}: its new primary is about to serve", volume.name))
        .known(reads(volume))
        .choice("wait and look again", NOTHING, "mainstay status")
}

// ---- nobody to promote -------------------------------------------------------------------------------------------------------

fn both_down(volume: &VolumeStatus) -> Finding {
    let members: Vec<&str> = volume.in_sync.iter().map(String::as_str).collect();
    let finding = Finding::new("both-down", format!("volume {}: no file server that holds a copy answers", volume.name))
        .known(reads(volume))
        .known(format!("everything acknowledged is on {}; {}", list(&members), whoever(&members)))
        .unknown("what state their disks are in")
        .do_not(KEEP_DIRECTORIES);
    members.iter().fold(finding, |finding, member| {
        finding.start(member, "start it: it holds everything, proposes itself when it is sure, and a person approves")
    })
}

fn whoever(members: &[&str]) -> &'static str {
    if members.len() > 1 { "either of them is enough" } else { "no other node can stand in for it" }
}

/// The day that the rules were made for: what is there is not what clients were told.
fn stale_only(status: &ClusterStatus, volume: &VolumeStatus, there: &[&str]) -> Finding {
    let members: Vec<&str> = volume.in_sync.iter().map(String::as_str).collect();
    let title =
        format!("volume {}: only {} is there, and it does not hold everything that was acknowledged", volume.name, list(there));
    let finding = Finding::new("stale-copy-only", title)
        .known(reads(volume))
        .known(format!("the in-sync set is {}: everything acknowledged is there; {}", list(&members), whoever(&members)))
        .unknown(format!(
            "how much {} lacks: everything acknowledged since it left the in-sync set; `mainstay events` says when",
            list(there)
        ))
        .do_not(KEEP_DIRECTORIES)
        .do_not("give anything up while a member may come back: what is given up is then only in quarantine, for a person to sort");
    let finding = members.iter().fold(finding, |finding, member| {
        finding.start(member, "bring it back, its disk in other hardware if need be: the volume goes on without loss")
    });
    give_up_for(finding, "no member can ever come back", status, volume)
}

/// Members answer, and their disks are not those that clients' data is on.
fn empty_only(status: &ClusterStatus, volume: &VolumeStatus, empty: &[&ReplicaStatus]) -> Finding {
    let names: Vec<&str> = empty.iter().map(|replica| replica.node.as_str()).collect();
    let empty_names = list(&names);
    let finding = Finding::new("member-empty", format!("volume {}: {empty_names} came back WITHOUT its data", volume.name))
        .known(reads(volume))
        .known(format!(
            "{empty_names} should hold everything acknowledged, and holds nothing: it serves no reads and is not promoted (R5)"
        ))
        .unknown("where its data is: on a disk that is not mounted, in another directory, or gone with the disk")
        .choice_on(
            names[0],
            "the data may be elsewhere: look what is mounted; then stop the node, put its old disk in place, and start it",
            NOTHING,
            "findmnt",
        )
        .do_not(KEEP_DIRECTORIES)
        .do_not("give anything up while the old disk, or a member that is away, may come back");
    let others = || volume.replicas.iter().filter(|replica| !names.contains(&replica.node.as_str()));
    let away = |replica: &&ReplicaStatus| !answers(replica);
    let finding = others().filter(away).fold(finding, |finding, replica| {
        let what = match volume.in_sync.contains(&replica.node) {
            true => "start it: it holds everything, proposes itself when it is sure, and a person approves",
            false => "start it: it does not hold everything, and may be all that is left",
        };
        finding.start(&replica.node, what)
    });
    give_up_for(finding, "the old disk is gone, and no member can ever come back", status, volume)
}

/// For every copy that could be promoted by it, behind what would refuse it: a maintenance of it or of a member (R10), a hold (R7).
pub fn give_up_for(mut finding: Finding, when: &str, status: &ClusterStatus, volume: &VolumeStatus) -> Finding {
    let usable = |replica: &&ReplicaStatus| {
        !volume.in_sync.contains(&replica.node) && replica.state == "catching-up" && replica.position > 0
    };
    let copies: Vec<&str> = volume.replicas.iter().filter(usable).map(|replica| replica.node.as_str()).collect();
    if copies.is_empty() {
        return finding;
    }
    let concerned = |node: &String| copies.contains(&node.as_str()) || volume.in_sync.contains(node);
    for one in status.maintenance.iter().filter(|one| one.state == "active" && concerned(&one.node)) {
        finding = finding
            .known(format!("{} is in maintenance m{} of {} ({}): it holds promotions", one.node, one.id, one.owner, one.reason))
            .choice(
                format!("first, if what follows is wanted: end the maintenance of {}", one.node),
                NOTHING,
                format!("mainstay maintenance end {}", one.node),
            );
    }
    if let Some(by) = status.hold.as_ref().or(volume.hold.as_ref()) {
        finding = finding.known(format!("on hold by {by}: nothing is promoted before another person has lifted that"));
    }
    copies.iter().fold(finding, |finding, node| give_up(finding, when, volume, node))
}

fn give_up(finding: Finding, when: &str, volume: &VolumeStatus, node: &str) -> Finding {
    finding.choice(
        format!("{when}: promote {node} as it is; you are the first of two people, another one approves"),
        format!("everything acknowledged that {node} lacks; the proposal names it"),
        format!("mainstay propose {} --candidate {node} --give-up \"WHY\"", volume.name),
    )
}

/// A member answers and nothing is proposed: the same checks that refuse a proposal say why.
fn unproposed(seen: &Seen, status: &ClusterStatus, volume: &VolumeStatus) -> Finding {
    let name = &volume.name;
    let title = match &volume.primary {
        Some(primary) => format!("volume {name}: its primary {primary} does not serve, and nothing is proposed yet"),
        None => format!("volume {name} has no primary, and nothing is proposed yet"),
    };
    let wait_ms = status.settings.as_ref().map(|settings| settings.contact_lost_ms + settings.lapse_ms());
    let wait = wait_ms.map_or_else(String::new, |ms| format!("; that takes at least {:.1} s", ms as f64 / 1000.0));
    let mut finding = Finding::new("no-primary", title)
        .known(reads(volume))
        .known(format!("a member that misses the primary makes a proposal without being asked{wait}"))
        .choice("wait some seconds and look again", NOTHING, "mainstay recover");
    let silent = volume.replicas.iter().filter(|replica| !answers(replica));
    finding = silent.fold(finding, |finding, replica| {
        finding
            .start(&replica.node, format!("bring {} back: it comes as a secondary, and with it more is known (R9)", replica.node))
    });
    if let Some(denied) = denied(seen, volume) {
        finding = asks_again(finding, denied);
    }
    for explained in seen.explained.iter().filter(|explained| explained.volume == *name) {
        finding = blockers(finding, explained);
    }
    finding
}

/// The newest proposal of the volume, if a person denied it.
fn denied<'a>(seen: &'a Seen, volume: &VolumeStatus) -> Option<&'a ProposalDetails> {
    let newest = seen.proposals.iter().filter(|proposal| proposal.volume == volume.name).max_by_key(|proposal| proposal.id)?;
    (newest.state == "denied" && !newest.proposal.evidence.fencing.planned()).then_some(newest)
}

/// Waiting would be for the end of the hour in which nodes do not repeat it.
fn asks_again(finding: Finding, denied: &ProposalDetails) -> Finding {
    let (id, volume, candidate) = (denied.id, &denied.volume, &denied.candidate);
    let why = denied.reason.as_deref().unwrap_or("no reason is known");
    finding
        .known(format!("promoting {candidate} was denied ({id}, {why}): nodes do not ask the same again within the hour"))
        .choice(
            format!("it is wanted after all: have {candidate} proposed again; a person approves it as ever"),
            NOTHING,
            format!("mainstay propose {volume} --candidate {candidate}"),
        )
}

fn blockers(mut finding: Finding, explained: &Explained) -> Finding {
    let node = &explained.node;
    for check in explained.explanation.blockers() {
        let clears = if check.clears.is_empty() { String::new() } else { format!(" ({})", check.clears) };
        let line = format!("{node} cannot be promoted now, {}: {}{clears}", check.rule, check.value);
        match check.verdict {
            Verdict::Unknown => finding.unknown.push(line),
            Verdict::Fails | Verdict::Holds => finding.known.push(line),
        }
    }
    finding.choice(format!("see every check for {node}"), NOTHING, format!("mainstay explain promote {node} {}", explained.volume))
}

// ---- the breaker -------------------------------------------------------------------------------------------------------------

pub fn breaker(volume: &VolumeStatus) -> Finding {
    let name = &volume.name;
    let served = match (volume.state.as_str(), &volume.primary) {
        ("serving", Some(primary)) => format!("; {primary} serves it"),
        _ => String::new(),
    };
    Finding::new("breaker-open", format!("volume {name}: the breaker is open, nothing is promoted (R8){served}"))
        .known(volume.breaker_reason.as_deref().unwrap_or(
            "a promotion failed by its candidate's own word; the same plan is not tried again until a person resets the breaker",
        ))
        .unknown("whether the cause is mended: the reason is in the events")
        .choice("see why it opened", NOTHING, "mainstay events")
        .choice(
            "the cause is mended: close the breaker",
            NOTHING,
            format!("mainstay volume reset-breaker {name} --reason \"WHAT WAS MENDED\""),
        )
        .do_not("reset it to see whether it works now: that is the loop that it stops")
}
