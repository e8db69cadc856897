//! Every setting of a run, and what it can demand, as they are written.

use super::arguments::Values;
use crate::queue::MILLISECOND;
use crate::scenario::{Approvals, Hook, Plan};
use crate::sizing::Sizing;
use mainstay_cluster::{Alone, Policy, WithoutPrimary};

pub struct SettingForm {
    pub pattern: &'static str,
    pub apply: fn(&mut Plan, &Values),
}

impl std::fmt::Debug for SettingForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.pattern)
    }
}

const fn form(pattern: &'static str, apply: fn(&mut Plan, &Values)) -> SettingForm {
    SettingForm { pattern, apply }
}

pub const SETTINGS: &[SettingForm] = &[
    form("lasts TIME", |plan, v| plan.faults_end = v.number(0)),
    form("heals within TIME", |plan, v| plan.heal_within = v.number(0)),
    form("clients COUNT", |plan, v| plan.clients = v.number(0) as u32),
    form("each COUNT workers", |plan, v| plan.workers_per_client = v.number(0) as u32),
    form("shared by COUNT", |plan, v| plan.register_workers = v.number(0) as u32),
    form("think RANGE", |plan, v| plan.think = v.range(0)),
    form("large writes", |plan, _| plan.large_writes = true),
    form("small writes", |plan, _| plan.large_writes = false),
    form("mass changes", |plan, _| plan.mass_changes = true),
    form("soft PERCENT", |plan, v| plan.soft_percent = v.number(0)),
    form("nfs PERCENT", |plan, v| plan.nfs_percent = v.number(0)),
    form("late copies", |plan, _| plan.late_copies = true),
    form("no late copies", |plan, _| plan.late_copies = false),
    form("lease LEASE", |plan, v| plan.lease_ms = v.number(0) / MILLISECOND),
    form("coordination calm", |plan, _| plan.rough_coordination = false),
    form("coordination rough", |plan, _| plan.rough_coordination = true),
    form("resync THROTTLE", |plan, v| plan.resync_bytes_per_second = v.number(0)),
    form("approval LIFE", |plan, v| plan.cluster.approval_ms = v.number(0) / MILLISECOND),
    form("missing after PATIENCE", |plan, v| plan.cluster.contact_lost_ms = Some(v.number(0) / MILLISECOND)),
    form("without primary serve reads", |plan, _| plan.cluster.without_primary = WithoutPrimary::ServeReads),
    form("without primary close", |plan, _| plan.cluster.without_primary = WithoutPrimary::Close),
    form("primary SERVER", |plan, v| plan.cluster.primary = v.node(0)),
    form("breaker open", |plan, _| plan.cluster.breaker_open = true),
    form("breaker after COUNT role changes", |plan, v| plan.cluster.role_changes_max = v.number(0) as u32),
    form("spares COUNT", |plan, v| plan.cluster.spares = v.number(0) as u16),
    form("policy manual", |plan, _| plan.cluster.policy = Policy::Manual),
    form("policy guarded", |plan, _| plan.cluster.policy = Policy::Guarded),
    form("policy hold", |plan, _| plan.cluster.policy = Policy::Hold),
    form("alone serve", |plan, _| plan.cluster.alone = Alone::Serve),
    form("alone read-only", |plan, _| plan.cluster.alone = Alone::ReadOnly),
    form("fencing absent", |plan, _| plan.cluster.hook = Hook::Absent),
    form("fencing works", |plan, _| plan.cluster.hook = Hook::Works),
    form("fencing fails", |plan, _| plan.cluster.hook = Hook::Fails),
    form("fencing hangs", |plan, _| plan.cluster.hook = Hook::Hangs),
    form("fencing lies", |plan, _| plan.cluster.hook = Hook::Lies),
    form("fencing mixed", |plan, _| plan.cluster.hook = Hook::Mixed),
    form("volume SIZE changed SIZE link SPEED disk SPEED rtt TIME", |plan, v| {
        plan.sizing = Some(Sizing {
            volume_bytes: v.number(0),
            changed_bytes: v.number(1),
            link_bytes_per_s: v.number(2),
            disk_bytes_per_s: v.number(3),
            rtt_ns: v.number(4),
        })
    }),
    form("approve nobody", |plan, _| plan.approvals = Approvals::None),
    form("approve after RANGE", |plan, v| plan.approvals = Approvals::After(v.range(0).0, v.range(0).1)),
    form("approve erratic RANGE", |plan, v| plan.approvals = Approvals::Erratic(v.range(0).0, v.range(0).1)),
    form("approve late RANGE", |plan, v| plan.approvals = Approvals::Late(v.range(0).0, v.range(0).1)),
    form("approve opposite RANGE", |plan, v| plan.approvals = Approvals::Opposite(v.range(0).0, v.range(0).1)),
];

/// After the word `expect`.
pub const DEMANDS: &[SettingForm] = &[
    form("no role change", |plan, _| plan.expect.no_role_change = true),
    form("at most COUNT role changes", |plan, v| plan.expect.role_changes_max = Some(v.number(0) as u32)),
    form("answered within TIME", |plan, v| plan.expect.answered_within = Some(v.number(0))),
    form("SERVER moves only changes", |plan, v| plan.expect.moves_only_changes = Some(v.node(0))),
    form("damage", |plan, _| plan.expect.damage = true),
    form("overrun", |plan, _| plan.expect.overrun = true),
];
