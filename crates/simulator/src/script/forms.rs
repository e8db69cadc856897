//! Every action, as it is written and as it is done. docs/SCENARIO-FORMAT.md lists them; a test compares.

use super::arguments::Values;
use crate::disk::{Crash, DiskFaults};
use crate::queue::MILLISECOND;
use crate::scenario::{Action, Approvals, W};
use mainstay_cluster::{Alone, Policy};

pub struct ActionForm {
    pub pattern: &'static str,
    pub build: fn(&Values) -> Action,
}

impl std::fmt::Debug for ActionForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.pattern)
    }
}

const fn form(pattern: &'static str, build: fn(&Values) -> Action) -> ActionForm {
    ActionForm { pattern, build }
}

pub const ACTIONS: &[ActionForm] = &[
    form("crash NODE", |v| Action::Crash(v.node(0), Crash::Process)),
    form("power-loss NODE", |v| Action::Crash(v.node(0), Crash::Power)),
    form("crash primary", |_| Action::CrashPrimary(Crash::Process)),
    form("power-loss primary", |_| Action::CrashPrimary(Crash::Power)),
    form("stop NODE", |v| Action::Stop(v.node(0))),
    form("stop primary", |_| Action::StopPrimary),
    form("start NODE", |v| Action::Start(v.node(0))),
    form("pause NODE", |v| Action::Pause(v.node(0))),
    form("suspend NODE", |v| Action::Suspend(v.node(0))),
    form("resume NODE", |v| Action::Resume(v.node(0))),
    form("cut NODE NODE", |v| Action::CutBoth(v.node(0), v.node(1))),
    form("cut NODE -> NODE", |v| Action::Cut(v.node(0), v.node(1))),
    form("cut clients NODE", |v| Action::CutClients(v.node(0))),
    form("isolate NODE", |v| Action::Isolate(v.node(0))),
    form("heal", |_| Action::HealLinks),
    form("heal NODE NODE", |v| Action::HealLink(v.node(0), v.node(1))),
    form("network QUALITY", |v| Action::Quality(v.quality(0))),
    form("link NODE NODE QUALITY", |v| Action::LinkQuality(v.node(0), v.node(1), v.quality(2))),
    form("link NODE -> NODE QUALITY", |v| Action::LinkQualityTo(v.node(0), v.node(1), v.quality(2))),
    form("clock NODE jump JUMP", |v| Action::JumpWall(v.node(0), v.signed(1) / MILLISECOND as i64)),
    form("clock NODE drift DRIFT", |v| Action::Drift(v.node(0), v.signed(1))),
    form("disk SERVER faults FAULTS", |v| Action::DiskFaults(v.node(0), v.faults(1))),
    form("disk SERVER good", |v| Action::DiskFaults(v.node(0), DiskFaults::default())),
    form("disk SERVER hang TIME", |v| Action::DiskHang(v.node(0), v.number(1))),
    form("disk SERVER slow FACTOR times", |v| Action::DiskSlow(v.node(0), v.number(1))),
    form("disk SERVER full", |v| Action::DiskFull(v.node(0), 0)),
    form("disk SERVER full but BYTES", |v| Action::DiskFull(v.node(0), v.number(1))),
    form("disk SERVER room", |v| Action::DiskRoom(v.node(0))),
    form("disk SERVER new", |v| Action::DiskNew(v.node(0))),
    form("rot SERVER", |v| Action::Rot(v.node(0))),
    form("witness remember", |_| Action::Remember(W)),
    form("witness restore", |_| Action::Restore(W)),
    form("upgrade NODE", |v| Action::Upgrade { node: v.node(0), next: true }),
    form("downgrade NODE", |v| Action::Upgrade { node: v.node(0), next: false }),
    form("depose leader", |_| Action::DeposeLeader),
    form("stall NODE TIME", |v| Action::StallCoordination(v.node(0), v.number(1))),
    form("maintenance begin NODE", |v| Action::BeginMaintenance(v.node(0))),
    form("maintenance begin NODE for TIME", |v| Action::PlanMaintenance { node: v.node(0), lasts: v.number(1), confirmed: true }),
    form("maintenance begin NODE unconfirmed for TIME", |v| Action::PlanMaintenance {
        node: v.node(0),
        lasts: v.number(1),
        confirmed: false,
    }),
    form("maintenance extend NODE to TIME", |v| Action::ExtendMaintenance { node: v.node(0), lasts: v.number(1) }),
    form("maintenance end NODE", |v| Action::EndMaintenance(v.node(0))),
    form("promote NODE", |v| Action::Promote(v.node(0))),
    form("give up for SERVER", |v| Action::GiveUp(v.node(0))),
    form("echo", |_| Action::Echo),
    form("reset breaker", |_| Action::ResetBreaker),
    form("set policy manual", |_| Action::SetPolicy(Policy::Manual)),
    form("set policy guarded", |_| Action::SetPolicy(Policy::Guarded)),
    form("set policy hold", |_| Action::SetPolicy(Policy::Hold)),
    form("set alone serve", |_| Action::SetAlone(Alone::Serve)),
    form("set alone read-only", |_| Action::SetAlone(Alone::ReadOnly)),
    form("hold on", |_| Action::Hold(true)),
    form("hold off", |_| Action::Hold(false)),
    form("approve nobody", |_| Action::Approvals(Approvals::None)),
    form("approve after RANGE", |v| Action::Approvals(Approvals::After(v.range(0).0, v.range(0).1))),
    form("approve erratic RANGE", |v| Action::Approvals(Approvals::Erratic(v.range(0).0, v.range(0).1))),
    form("approve late RANGE", |v| Action::Approvals(Approvals::Late(v.range(0).0, v.range(0).1))),
    form("approve opposite RANGE", |v| Action::Approvals(Approvals::Opposite(v.range(0).0, v.range(0).1))),
    form("measure", |_| Action::Measure),
    form("think RANGE", |v| Action::Think(v.range(0).0, v.range(0).1)),
    form("note TEXT", |v| Action::Note(v.text(0))),
    form("switchover NODE", |v| Action::Switchover(v.node(0))),
    form("switchover away", |_| Action::SwitchoverAway),
    form("call off", |_| Action::CallOff),
    form("join", |_| Action::Join),
    form("replica add NODE", |v| Action::AddReplica(v.node(0))),
    form("replica remove NODE", |v| Action::RemoveReplica { node: v.node(0), accept_single: false }),
    form("replica remove NODE accept single", |v| Action::RemoveReplica { node: v.node(0), accept_single: true }),
    form("node remove NODE", |v| Action::RemoveNode(v.node(0))),
    form("steal credentials", |_| Action::Steal),
    form("fence SERVER", |v| Action::Fence { node: v.node(0), as_primary: false }),
    form("fence SERVER as primary", |v| Action::Fence { node: v.node(0), as_primary: true }),
    form("force quorum SERVER", |v| Action::ForceQuorum(v.node(0))),
];
