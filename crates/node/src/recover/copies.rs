//! Copies that are not what they should be: failed, full, not moving; and what was set aside.

use super::volumes::give_up_for;
use super::{Finding, KEEP_DIRECTORIES, NOTHING, Seen, answers, list, replica};
use crate::admin::api::{ClusterStatus, Quarantine, ReplicaStatus, VolumeStatus};

pub const LAST_COPY_FAILED: &str = "last-copy-failed";
/// Quarantines that are named one by one.
const NAMED_MAX: usize = 8;

pub fn of(seen: &Seen, status: &ClusterStatus, volume: &VolumeStatus) -> Vec<Finding> {
    let mut found = Vec::new();
    for copy in &volume.replicas {
        found.extend(copy.failure.as_ref().map(|failure| failed(status, volume, copy, failure)));
        found.extend(copy.waits_for_space.then(|| full(seen, volume, copy)));
        found.extend(stuck(seen, status, volume, copy));
    }
    found
}

fn failed(status: &ClusterStatus, volume: &VolumeStatus, copy: &ReplicaStatus, failure: &str) -> Finding {
    let (name, node) = (&volume.name, &copy.node);
    let others: Vec<&str> = volume.in_sync.iter().map(String::as_str).filter(|member| member != node).collect();
    let good = |member: &&str| {
        replica(volume, member).is_some_and(|other| answers(other) && other.failure.is_none() && other.state != "empty")
    };
    let sound: Vec<&str> = others.iter().copied().filter(good).collect();
    let member = volume.in_sync.contains(node);
    let last = member && sound.is_empty();
    let (state, title) = match last {
        true => (
            "last-copy-failed",
            format!("volume {name}: the copy on {node} failed, and no other sound copy with everything answers"),
        ),
        false => ("copy-failed", format!("volume {name}: the copy on {node} failed")),
    };
    let finding = Finding::new(state, title)
        .known(failure)
        .unknown("whether the disk itself is bad: look at the machine's own log and the disk's health first")
        .start(node, "restart its process: what the disk really holds is read and checked again; it refuses rather than guesses");
    match (last, sound.is_empty()) {
        (true, _) => give_up_for(
            others.iter().fold(finding, |finding, other| {
                finding.start(other, format!("bring {other} back: it holds everything that was acknowledged, too"))
            }),
            "the disk is gone for good, and nobody else who was in sync comes back",
            status,
            volume,
        )
        .not_offered("opening a damaged copy with the damage left out: this version serves a sound copy or none")
        .do_not(KEEP_DIRECTORIES)
        .do_not("repair the files by hand; make an image of the disk before anything else is tried"),
        (false, false) => finding.known(format!("{} holds everything", list(&sound))).choice(
            format!("the disk is sound or replaced: have the failed copy set aside, then restart the process of {node}; the copy is made again"),
            format!("nothing, while {} is sound; the old copy stays beside the new one until you remove it", list(&sound)),
            format!("mainstay copy set-aside {name} {node} --reason \"WHY\""),
        ),
        (false, true) => finding.do_not(KEEP_DIRECTORIES),
    }
}

fn full(seen: &Seen, volume: &VolumeStatus, copy: &ReplicaStatus) -> Finding {
    let node = &copy.node;
    let set_aside: u64 = seen.quarantines.iter().filter(|one| one.node == *node).map(|one| one.summary.bytes).sum();
    let finding = Finding::new("disk-full", format!("volume {}: the disk under the copy on {node} is full", volume.name))
        .known("nothing is lost; clients are told that there is no space, and it goes on by itself when there is room")
        .unknown("what else takes the room on that disk")
        .choice_on(node, "look at what takes the room", NOTHING, "df -h")
        .choice("remove files from the volume, on a mount; that works on a full volume too", "the files that you remove", "rm FILE")
        .do_not(KEEP_DIRECTORIES);
    match set_aside {
        0 => finding,
        bytes => finding.known(format!("{bytes} bytes on it are set aside")).choice(
            "look at what is set aside, keep what is wanted, drop the rest",
            "only what you drop",
            "mainstay quarantine list",
        ),
    }
}

fn resyncing(copy: &ReplicaStatus) -> bool {
    matches!(copy.state.as_str(), "catching-up" | "resyncing" | "rolling-back")
}

fn moved(now: &ReplicaStatus, before: &ReplicaStatus) -> bool {
    let done = |copy: &ReplicaStatus| copy.resync.map_or(0, |resync| resync.bytes_done + resync.inode);
    (now.position, now.durable, now.applied, done(now)) != (before.position, before.durable, before.applied, done(before))
        || now.bytes_received != before.bytes_received
}

/// Judged by progress between two looks, never by how long it takes (R11).
fn stuck(seen: &Seen, status: &ClusterStatus, volume: &VolumeStatus, copy: &ReplicaStatus) -> Option<Finding> {
    let earlier = seen.earlier.as_ref()?.volumes.iter().find(|before| before.id == volume.id)?;
    let before = replica(earlier, &copy.node)?;
    // Without a primary there is nobody to catch up with; that is another finding.
    if !resyncing(copy) || !resyncing(before) || moved(copy, before) || volume.state != "serving" || copy.failure.is_some() {
        return None;
    }
    let node = &copy.node;
    let finding =
        Finding::new("resync-stuck", format!("volume {}: the copy on {node} is {} and does not move", volume.name, copy.state))
            .known(format!(
                "between two looks nothing changed: position {}, {} bytes received in all",
                copy.position, copy.bytes_received
            ))
            .known("it has no deadline, goes on where it was, and is not promoted before it is in sync (R11)")
            .unknown("whether the link, the disk, or the process is what stands")
            .choice(
                "look again; a large directory or a slow disk can take longer than the time between two looks",
                NOTHING,
                "mainstay recover",
            )
            .start(node, "restart its process; nothing that was moved is moved again");
    let maintained = status.maintenance.iter().any(|one| one.node == *node);
    Some(if maintained { finding.known(format!("{node} is in maintenance")) } else { finding })
}

/// Not urgent, but the room is taken until somebody decides, and what is in there exists nowhere else.
pub fn set_aside(all: &[Quarantine]) -> Option<Finding> {
    if all.is_empty() {
        return None;
    }
    let bytes: u64 = all.iter().map(|one| one.summary.bytes).sum();
    let title = match all.len() {
        1 => format!("a quarantine ({bytes} bytes) waits for a person"),
        count => format!("{count} quarantines ({bytes} bytes) wait for a person"),
    };
    let mut finding = Finding::new("records-set-aside", title)
        .known("a node came back with records that the others do not have: none was acknowledged as stable, or it would be on both (R4)")
        .unknown("whether anybody wants what is in them: clients that still ran repeated what they got no answer for")
        .do_not("drop one before somebody looked at its diff: the records exist nowhere else");
    for one in all.iter().take(NAMED_MAX) {
        let (id, summary) = (&one.summary.id, &one.summary);
        finding = finding
            .known(format!(
                "{id}: volume {} on {}, {} records from position {} on",
                one.volume,
                one.node,
                summary.records(),
                summary.first
            ))
            .choice("what of it is in the volume by now, file by file", NOTHING, format!("mainstay quarantine diff {id}"))
            .choice(
                "copy its files out to this machine, partial ones too",
                NOTHING,
                format!("mainstay quarantine export {id} --out NEW-DIRECTORY"),
            )
            .choice(
                "put one whole file back into the volume, under a new name",
                NOTHING,
                format!("mainstay quarantine restore {id} --path PATH --as NEW-PATH"),
            )
            .choice("nothing of it is wanted", "what the diff shows", format!("mainstay quarantine drop {id} --reason \"WHY\""));
    }
    Some(finding)
}
