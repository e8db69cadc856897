//! Evidence in sentences, for the person who approves at three in the morning.

use mainstay_cluster::{ClusterState, Contact, CopyState, Fence, FenceOutcome, FencingProof, Known, Loss, LostFiles, Proposal};
use mainstay_protocol::NodeId;

pub fn sentences(state: &ClusterState, proposal: &Proposal) -> Vec<String> {
    let evidence = &proposal.evidence;
    let basis = &evidence.basis;
    let name = |node: NodeId| state.node_name(node);
    let mut lines = vec![format!(
        "{} in boot {} would follow epoch {} of {}",
        name(basis.candidate),
        basis.candidate_incarnation,
        basis.parent_epoch,
        basis.old_primary.map_or_else(|| "nobody".into(), |(node, _)| name(node)),
    )];
    let members: Vec<String> = basis.in_sync.keys().map(|node| name(*node)).collect();
    lines.push(format!("in sync when it was proposed: {}", members.join(", ")));
    lines.extend(evidence.observed.copies.iter().map(|(node, copy)| format!("copy of {}: {}", name(*node), copy_text(copy))));
    lines.extend(evidence.observed.contacts.iter().map(|(node, contact)| format!("{} {}", name(*node), contact_text(contact))));
    lines.push(match evidence.fencing {
        FencingProof::LeaseLapse { wait_ms } => format!("fencing: every promise is waited out, {wait_ms} ms"),
        FencingProof::OwnDemotion => "fencing: the old primary itself said that it serves no more".into(),
        FencingProof::HandOver { from, incarnation } => {
            format!("fencing: {} in boot {incarnation} hands over itself, and gets it back if this is called off", name(from))
        }
        FencingProof::GivenBack { of } => format!("fencing: proposal {of} was called off after the primary had stopped by itself"),
        FencingProof::Forced => "fencing: NONE; two people said that the old primary's machine is gone".into(),
        FencingProof::ExternalFence { by } => {
            format!("fencing: external fence confirmed ({by}): the machine of the old primary was off")
        }
    });
    lines.extend(evidence.forced.as_ref().map(|forced| {
        format!("a quorum was FORCED: {forced}; what they decided and acknowledged without this copy is not known, and given up")
    }));
    if let Some(loss) = &evidence.loss {
        lines.push(format!("GIVES UP everything acknowledged after {} ({})", loss.after, loss.reason));
        lines.push(match &loss.files {
            LostFiles::Unknown(why) => format!("files that lose something: NOT KNOWN ({why})"),
            LostFiles::Known { files, more } => {
                let named: Vec<String> = files.iter().map(ToString::to_string).collect();
                let more = if *more > 0 { format!(", and {more} more") } else { String::new() };
                format!("files that lose something: {}{more}", named.join(", "))
            }
        });
    }
    lines.extend(proposal.fence.as_ref().map(|fence| fence_text(state, fence)));
    lines.push(match basis.loss {
        _ if evidence.loss.is_some() => "loss: as named above; two people decide it".into(),
        Loss::None => "loss: nothing that was acknowledged".into(),
        Loss::Unsynced => "loss: unstable writes may be missing; clients are told and send them again".into(),
        Loss::Unknown => "loss: not known".into(),
    });
    let approval = proposal.approval.as_ref();
    lines
        .extend(approval.and_then(|approval| approval.allowed_by.as_ref()).map(|by| format!("approved without a person, by {by}")));
    lines.extend(proposal.by_hand.as_ref().map(|why| format!("not automatic, although the policy is guarded: {why}")));
    if !basis.maintenance.is_empty() {
        let nodes: Vec<String> = basis.maintenance.iter().map(|node| name(*node)).collect();
        lines.push(format!("in maintenance: {}", nodes.join(", ")));
    }
    lines
}

/// What became of switching the old primary off.
fn fence_text(state: &ClusterState, fence: &Fence) -> String {
    let (target, by) = (state.node_name(fence.target), state.node_name(fence.by));
    let outcome = match &fence.outcome {
        None => "under way; nobody waits for it".into(),
        Some(FenceOutcome::Confirmed) => "external fence confirmed: it is off".to_string(),
        Some(FenceOutcome::Failed(why)) => format!("FAILED, so it proves nothing and the lease decides: {why}"),
    };
    format!("switching {target} (boot {}) off, by {by}: {outcome}", fence.target_incarnation)
}

fn copy_text(copy: &Known<mainstay_cluster::CopyReport>) -> String {
    let Known::Known(report) = copy else { return "not known".into() };
    let kind = match report.state {
        CopyState::Complete => "complete",
        CopyState::Resync => "in resync, not complete",
        CopyState::Diverged => "holds records that the cluster does not have",
        CopyState::Failed => "failed",
    };
    format!("{kind}, up to {}, synced up to {}, reported {} ms before", report.last, report.durable, report.age_ms)
}

fn contact_text(contact: &Contact) -> String {
    match contact {
        Contact::Unknown => "did not say when it last heard the old primary".into(),
        Contact::Heard { ms_ago } => format!("last heard the old primary {ms_ago} ms before"),
        Contact::SilentSinceBoot { ms_ago } => format!("has not heard the old primary since its own boot {ms_ago} ms before"),
    }
}
