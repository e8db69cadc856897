//! What people set, where it is what somebody waits for: holds, a second copy that is wanted, changes that need a second person.

use super::{Finding, NOTHING, answers, copy_line, list, reads};
use crate::admin::api::{ChangeStatus, ClusterStatus, ReplicaStatus, VolumeStatus};
use mainstay_protocol::Timestamp;

/// Digits of a change's digest in a command: those that `changes` prints.
const DIGEST_DIGITS: usize = 12;

/// A hold is what somebody wanted. It needs a person where a volume that could be promoted waits behind it.
pub fn on_hold(status: &ClusterStatus, volume: &VolumeStatus) -> Option<Finding> {
    let name = &volume.name;
    let of_cluster = || Some(("the cluster".to_string(), status.hold.clone()?, "mainstay hold off --reason \"WHY\"".to_string()));
    let of_volume = || {
        let lift = format!("mainstay volume set {name} --policy manual --reason \"WHY\"");
        Some((format!("volume {name}"), volume.hold.clone()?, lift))
    };
    let (what, by, lift) = of_cluster().or_else(of_volume)?;
    let finding = Finding::new("on-hold", format!("volume {name} is not served, and nothing is promoted: {what} is on hold"))
        .known(reads(volume))
        .known(format!("put on hold by {by}"))
        .unknown("whether that reason still stands: ask who gave it")
        .choice("it does not: ask to lift the hold. Another person approves that; then the promotion, as ever", NOTHING, lift);
    let away = volume.replicas.iter().filter(|replica| !answers(replica));
    Some(away.fold(finding, |finding, replica| {
        finding.start(
            &replica.node,
            format!("it stands: bring {} back; it comes as a secondary, and still nothing is promoted", replica.node),
        )
    }))
}

/// Served, and yet no change is acknowledged: by `alone read-only`, one copy is not enough.
pub fn second_copy(volume: &VolumeStatus) -> Option<Finding> {
    if !volume.waits_for_second_copy {
        return None;
    }
    let name = &volume.name;
    let (there, gone): (Vec<&ReplicaStatus>, Vec<&ReplicaStatus>) =
        volume.replicas.iter().filter(|replica| !volume.in_sync.contains(&replica.node)).partition(|replica| answers(replica));
    let title = format!("volume {name}: changes wait, because only the copy on {} is in sync", volume.in_sync.join(", "));
    let finding = Finding::new("second-copy-wanted", title)
        .known("reads are served; the volume is set to `alone read-only`: nothing is acknowledged that only one disk has");
    let finding = there.iter().fold(finding, |finding, replica| finding.known(copy_line(volume, replica)));
    let finding = match there.is_empty() {
        true => finding,
        false => {
            let names: Vec<&str> = there.iter().map(|replica| replica.node.as_str()).collect();
            finding.choice(
                format!("wait until {} is in sync: changes go on at once then", list(&names)),
                NOTHING,
                format!("mainstay explain resync {} {name}", names[0]),
            )
        }
    };
    let finding = gone.iter().fold(finding, |finding, replica| {
        finding
            .known(copy_line(volume, replica))
            .start(&replica.node, "start it; it comes into sync by itself, and changes go on at once then")
    });
    Some(
        finding
            .choice(
                "go on with one copy, until somebody sets it back",
                "nothing now; WHAT IS ACKNOWLEDGED MEANWHILE IS ON ONE DISK, and gone with it",
                format!("mainstay volume set {name} --alone serve --reason \"WHY\""),
            )
            .unknown("how long the other copies take"),
    )
}

pub fn change(change: &ChangeStatus) -> Finding {
    let ChangeStatus { id, what, reason, asked_by, .. } = change;
    let digest = change.digest.get(..DIGEST_DIGITS).unwrap_or(&change.digest);
    let expires = mainstay_cluster::refusal::instant(Timestamp::new(change.expires_at, 0));
    Finding::new("change-pending", format!("c{id} waits for a second person: {what}"))
        .known(format!("{asked_by} asked for it: {reason}"))
        .known(format!("it can be approved until {expires}; until then everything is as before"))
        .choice(
            format!("it is wanted; somebody else than {asked_by} says so"),
            NOTHING,
            format!("mainstay approve c{id} --evidence {digest}"),
        )
        .choice("it is not wanted", NOTHING, format!("mainstay deny c{id} --reason \"WHY\""))
}
