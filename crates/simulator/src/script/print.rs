//! From a plan back to a file, with exact times: [`parse`](super::parse) of it gives the plan again, whatever the seed.

use super::arguments::{FAULT_FIELDS, QUALITY_FIELDS};
use super::value::Unit;
use crate::disk::{Crash, DiskFaults};
use crate::network::Quality;
use crate::queue::{MILLISECOND, Time};
use crate::scenario::{A, Action, Approvals, B, Cluster, D, E, Expect, Plan, W};
use crate::sizing::Sizing;
use mainstay_cluster::WithoutPrimary;
use mainstay_protocol::NodeId;
use std::fmt::Write;

/// A file that gives exactly this plan.
pub fn print(plan: &Plan) -> String {
    print_as("printed", "Exactly what one seed drew.", plan)
}

/// The same with a name (one or two words) and a story of one line.
pub fn print_as(name: &str, story: &str, plan: &Plan) -> String {
    let mut text = format!("scenario {name}\nstory    {story}\n");
    let begin = cluster(&plan.cluster).into_iter().chain(plan.sizing.as_ref().map(sizing));
    for line in settings(plan).into_iter().chain(begin).chain(demands(&plan.expect)) {
        let _ = writeln!(text, "{line}");
    }
    let mut last = None;
    for (at, action) in &plan.script {
        if last != Some(*at) {
            let _ = write!(text, "\nat {}\n", time(*at));
            last = Some(*at);
        }
        let _ = writeln!(text, "  {}", action_text(action));
    }
    text
}

fn time(time: Time) -> String {
    Unit::Time.print(time)
}

fn range((low, high): (Time, Time)) -> String {
    if low == high { time(low) } else { format!("{}..{}", time(low), time(high)) }
}

fn settings(plan: &Plan) -> Vec<String> {
    let writes = if plan.large_writes { "large writes" } else { "small writes" };
    let mass = if plan.mass_changes { ", mass changes" } else { "" };
    let late = if plan.late_copies { "late copies" } else { "no late copies" };
    let (clients, workers, shared) = (plan.clients, plan.workers_per_client, plan.register_workers);
    let coordination = if plan.rough_coordination { "coordination rough" } else { "coordination calm" };
    vec![
        format!("lasts    {}, heals within {}", time(plan.faults_end), time(plan.heal_within)),
        format!("clients  {clients}, each {workers} workers, shared by {shared}, think {}", range(plan.think)),
        format!("soft     {}%, nfs {}%, {writes}{mass}, {late}", plan.soft_percent, plan.nfs_percent),
        approvals(plan.approvals),
        format!("lease    {}, {coordination}", time(plan.lease_ms * MILLISECOND)),
        format!("resync   {}", Unit::Rate.print(plan.resync_bytes_per_second)),
    ]
}

/// What differs from what a plan has that says nothing of it.
fn cluster(cluster: &Cluster) -> Vec<String> {
    let Cluster {
        approval_ms,
        contact_lost_ms,
        without_primary,
        primary,
        breaker_open,
        policy,
        alone,
        role_changes_max,
        spares,
        hook,
    } = *cluster;
    let usual = Cluster::default();
    let lines = [
        (approval_ms != usual.approval_ms).then(|| format!("approval {}", time(approval_ms * MILLISECOND))),
        contact_lost_ms.map(|ms| format!("missing after {}", time(ms * MILLISECOND))),
        (without_primary == WithoutPrimary::Close).then(|| "without primary close".into()),
        (primary != usual.primary).then(|| format!("primary  {}", letter(primary))),
        breaker_open.then(|| "breaker open".into()),
        (role_changes_max != usual.role_changes_max).then(|| format!("breaker after {role_changes_max} role changes")),
        (spares != usual.spares).then(|| format!("spares   {spares}")),
        (policy != usual.policy).then(|| format!("policy   {policy}")),
        (alone != usual.alone).then(|| format!("alone    {alone}")),
        (hook != usual.hook).then(|| format!("fencing  {}", format!("{hook:?}").to_lowercase())),
    ];
    lines.into_iter().flatten().collect()
}

fn sizing(sizing: &Sizing) -> String {
    let Sizing { volume_bytes, changed_bytes, link_bytes_per_s, disk_bytes_per_s, rtt_ns } = *sizing;
    let (size, rate) = (|bytes| Unit::Bytes.print(bytes), |bytes| Unit::Rate.print(bytes));
    let (volume, changed, link, disk) = (size(volume_bytes), size(changed_bytes), rate(link_bytes_per_s), rate(disk_bytes_per_s));
    format!("volume   {volume} changed {changed} link {link} disk {disk} rtt {}", time(rtt_ns))
}

fn demands(expect: &Expect) -> Option<String> {
    let Expect { no_role_change, role_changes_max, answered_within, moves_only_changes, damage, overrun } = *expect;
    let demands = [
        no_role_change.then(|| "no role change".to_string()),
        role_changes_max.map(|most| format!("at most {most} role changes")),
        answered_within.map(|limit| format!("answered within {}", time(limit))),
        moves_only_changes.map(|node| format!("{} moves only changes", letter(node))),
        damage.then(|| "damage".to_string()),
        overrun.then(|| "overrun".to_string()),
    ];
    let demands: Vec<String> = demands.into_iter().flatten().collect();
    (!demands.is_empty()).then(|| format!("expect   {}", demands.join("; ")))
}

/// How scenario files call a node.
pub fn letter(node: NodeId) -> String {
    match node {
        A => "a".into(),
        B => "b".into(),
        W => "w".into(),
        D => "d".into(),
        E => "e".into(),
        other => other.to_string(),
    }
}

fn death(crash: Crash) -> &'static str {
    match crash {
        Crash::Process => "crash",
        Crash::Power => "power-loss",
    }
}

fn approvals(approvals: Approvals) -> String {
    match approvals {
        Approvals::None => "approve nobody".into(),
        Approvals::After(low, high) => format!("approve after {}", range((low, high))),
        Approvals::Erratic(low, high) => format!("approve erratic {}", range((low, high))),
        Approvals::Late(low, high) => format!("approve late {}", range((low, high))),
        Approvals::Opposite(low, high) => format!("approve opposite {}", range((low, high))),
    }
}

fn quality(quality: &Quality) -> String {
    let Quality { delay, jitter, loss_ppm, duplicate_ppm, reorder_ppm, bytes_per_second, mtu_bytes } = *quality;
    let good = Quality::GOOD;
    let values = [
        (delay, good.delay),
        (jitter, good.jitter),
        (loss_ppm as u64, good.loss_ppm as u64),
        (duplicate_ppm as u64, good.duplicate_ppm as u64),
        (reorder_ppm as u64, good.reorder_ppm as u64),
        (bytes_per_second, good.bytes_per_second),
        (mtu_bytes, good.mtu_bytes),
    ];
    fields(&QUALITY_FIELDS, &values)
}

fn faults(faults: &DiskFaults) -> String {
    let DiskFaults { read_error_ppm, write_error_ppm, sync_error_ppm, lie_ppm, misdirect_ppm } = *faults;
    let chances = [read_error_ppm, write_error_ppm, sync_error_ppm, lie_ppm, misdirect_ppm];
    fields(&FAULT_FIELDS, &chances.map(|chance| (chance as u64, 0)))
}

/// Those that differ from what is good.
fn fields(known: &[(&str, Unit)], values: &[(u64, u64)]) -> String {
    let differing = known.iter().zip(values).filter(|(_, (value, good))| value != good);
    let texts: Vec<String> = differing.map(|((name, unit), (value, _))| format!("{name} {}", unit.print(*value))).collect();
    if texts.is_empty() { "good".into() } else { texts.join(" ") }
}

fn signed(unit: Unit, value: i64) -> String {
    format!("{}{}", if value < 0 { "-" } else { "+" }, unit.print(value.unsigned_abs()))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// An action as it is written in a file.
pub fn action_text(action: &Action) -> String {
    let n = |node: &NodeId| letter(*node);
    match action {
        Action::Crash(node, crash) => format!("{} {}", death(*crash), n(node)),
        Action::CrashPrimary(crash) => format!("{} primary", death(*crash)),
        Action::StopPrimary => "stop primary".into(),
        Action::Start(node) => format!("start {}", n(node)),
        Action::Stop(node) => format!("stop {}", n(node)),
        Action::Pause(node) => format!("pause {}", n(node)),
        Action::Suspend(node) => format!("suspend {}", n(node)),
        Action::Resume(node) => format!("resume {}", n(node)),
        Action::JumpWall(node, ms) => {
            let ns = ms.saturating_mul(MILLISECOND as i64);
            format!("clock {} jump {}", n(node), signed(Unit::Time, ns))
        }
        Action::Drift(node, ppm) => format!("clock {} drift {}", n(node), signed(Unit::Share, *ppm)),
        Action::DiskFaults(..)
        | Action::DiskHang(..)
        | Action::DiskSlow(..)
        | Action::DiskFull(..)
        | Action::DiskRoom(_)
        | Action::DiskNew(_)
        | Action::Rot(_) => disk_text(action),
        Action::DeposeLeader => "depose leader".into(),
        Action::StallCoordination(node, time) => format!("stall {} {}", n(node), self::time(*time)),
        Action::Measure => "measure".into(),
        Action::Think(low, high) => format!("think {}", range((*low, *high))),
        Action::Note(text) => format!("note {}", quoted(text)),
        Action::Approvals(how) => approvals(*how),
        Action::BeginMaintenance(_)
        | Action::PlanMaintenance { .. }
        | Action::EndMaintenance(_)
        | Action::ExtendMaintenance { .. }
        | Action::Promote(_)
        | Action::GiveUp(_)
        | Action::Switchover(_)
        | Action::SwitchoverAway
        | Action::CallOff
        | Action::Join
        | Action::AddReplica(_)
        | Action::RemoveReplica { .. }
        | Action::RemoveNode(_)
        | Action::Steal
        | Action::Fence { .. }
        | Action::ForceQuorum(_)
        | Action::ResetBreaker
        | Action::SetPolicy(_)
        | Action::SetAlone(_)
        | Action::Hold(_)
        | Action::Echo
        | Action::Remember(_)
        | Action::Restore(_)
        | Action::Upgrade { .. } => people_text(action),
        link => link_text(link),
    }
}

fn link_text(action: &Action) -> String {
    let n = |node: &NodeId| letter(*node);
    match action {
        Action::Cut(from, to) => format!("cut {} -> {}", n(from), n(to)),
        Action::CutBoth(a, b) => format!("cut {} {}", n(a), n(b)),
        Action::CutClients(node) => format!("cut clients {}", n(node)),
        Action::Isolate(node) => format!("isolate {}", n(node)),
        Action::HealLinks => "heal".into(),
        Action::HealLink(a, b) => format!("heal {} {}", n(a), n(b)),
        Action::Quality(how) => format!("network {}", quality(how)),
        Action::LinkQuality(a, b, how) => format!("link {} {} {}", n(a), n(b), quality(how)),
        Action::LinkQualityTo(from, to, how) => format!("link {} -> {} {}", n(from), n(to), quality(how)),
        other => format!("note {}", quoted(&format!("{other:?}"))),
    }
}

fn disk_text(action: &Action) -> String {
    match action {
        Action::DiskFaults(node, how) => format!("disk {} faults {}", letter(*node), faults(how)),
        Action::DiskHang(node, time) => format!("disk {} hang {}", letter(*node), self::time(*time)),
        Action::DiskSlow(node, factor) => format!("disk {} slow {factor} times", letter(*node)),
        Action::DiskFull(node, 0) => format!("disk {} full", letter(*node)),
        Action::DiskFull(node, free) => format!("disk {} full but {}", letter(*node), Unit::Bytes.print(*free)),
        Action::DiskRoom(node) => format!("disk {} room", letter(*node)),
        Action::DiskNew(node) => format!("disk {} new", letter(*node)),
        Action::Rot(node) => format!("rot {}", letter(*node)),
        other => link_text(other),
    }
}

fn people_text(action: &Action) -> String {
    match action {
        Action::BeginMaintenance(node) => format!("maintenance begin {}", letter(*node)),
        Action::PlanMaintenance { node, lasts, confirmed } => {
            let confirmed = if *confirmed { "" } else { " unconfirmed" };
            format!("maintenance begin {}{confirmed} for {}", letter(*node), time(*lasts))
        }
        Action::EndMaintenance(node) => format!("maintenance end {}", letter(*node)),
        Action::ExtendMaintenance { node, lasts } => format!("maintenance extend {} to {}", letter(*node), time(*lasts)),
        Action::Promote(node) => format!("promote {}", letter(*node)),
        Action::GiveUp(node) => format!("give up for {}", letter(*node)),
        Action::Switchover(node) => format!("switchover {}", letter(*node)),
        Action::SwitchoverAway => "switchover away".into(),
        Action::CallOff => "call off".into(),
        Action::Join => "join".into(),
        Action::AddReplica(node) => format!("replica add {}", letter(*node)),
        Action::RemoveReplica { node, accept_single } => {
            format!("replica remove {}{}", letter(*node), if *accept_single { " accept single" } else { "" })
        }
        Action::RemoveNode(node) => format!("node remove {}", letter(*node)),
        Action::Steal => "steal credentials".into(),
        Action::Fence { node, as_primary } => format!("fence {}{}", letter(*node), if *as_primary { " as primary" } else { "" }),
        Action::ForceQuorum(node) => format!("force quorum {}", letter(*node)),
        Action::ResetBreaker => "reset breaker".into(),
        Action::SetPolicy(policy) => format!("set policy {policy}"),
        Action::SetAlone(alone) => format!("set alone {alone}"),
        Action::Hold(on) => format!("hold {}", if *on { "on" } else { "off" }),
        Action::Echo => "echo".into(),
        Action::Remember(_) => "witness remember".into(),
        Action::Restore(_) => "witness restore".into(),
        Action::Upgrade { node, next } => format!("{} {}", if *next { "upgrade" } else { "downgrade" }, letter(*node)),
        other => link_text(other),
    }
}
