//! `mainstay explain maintenance|demote|resync`: whether something other than a promotion can be, check by check, by the functions
//! that `apply` judges by.

use crate::checks::{Check, Verdict, check, known_copy};
use crate::evidence::{CopyReport, CopyState, Observed};
use crate::explain::line;
use crate::refusal::{RefusalKind, Rule, instant};
use crate::state::{ClusterState, ReignState, VolumeState};
use mainstay_protocol::{NodeId, VolumeId};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// Such as "Maintenance of b".
    pub what: String,
    /// The rest of the sentence: such as "can begin".
    #[serde(default)]
    pub answer: String,
    pub checks: Vec<Check>,
}

impl Outlook {
    fn new(what: String, (yes, no): (&str, &str), checks: Vec<Check>) -> Outlook {
        let mut outlook = Outlook { what, answer: String::new(), checks };
        outlook.answer = if outlook.allowed() { yes.into() } else { no.into() };
        outlook
    }

    pub fn allowed(&self) -> bool {
        self.checks.iter().all(|check| check.verdict == Verdict::Holds)
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}.", self.what, self.answer)?;
        self.checks.iter().try_for_each(|check| line(f, &check.rule.to_string(), check))
    }
}

const BEGINS: (&str, &str) = ("can begin", "is refused");

impl ClusterState {
    /// Every check of a maintenance of `node` that begins now, and what its volumes live on meanwhile.
    pub fn explain_maintenance(&self, node: NodeId) -> Outlook {
        let what = format!("Maintenance of {}", self.node_name(node));
        if !self.nodes.contains_key(&node) {
            let unknown = check(Rule::Input, "the node exists", Err(RefusalKind::UnknownNode(node)));
            return Outlook::new(what, BEGINS, vec![unknown]);
        }
        let copies = self.volumes.values().filter(|volume| volume.replicas.contains(&node)).map(|volume| {
            let rest: Vec<&NodeId> = volume.in_sync.keys().filter(|member| **member != node).collect();
            format!("{} on {}", volume.name, self.names(rest.into_iter()))
        });
        let copies: Vec<String> = copies.collect();
        let copies = if copies.is_empty() { "it holds none".to_string() } else { copies.join(", ") };
        let checks = vec![
            check(Rule::R10, "it is not in maintenance already", self.not_maintained(node)),
            check(Rule::R10, "no volume loses its primary by it", self.reigns_nowhere(node)),
            check(Rule::R10, "the other nodes can decide without it", self.keeps_majority(node)),
            check(Rule::R4, "what its volumes live on meanwhile, in sync", Ok(copies)),
        ];
        Outlook::new(what, BEGINS, checks)
    }

    /// Every check of a switchover away from `node`, to the replica that the fewest checks stand against.
    pub fn explain_demote(&self, node: NodeId, volume: VolumeId) -> Outlook {
        let what = format!("Demotion of {} for volume {}", self.node_name(node), self.volume_label(volume));
        let Some(known) = self.volumes.get(&volume) else {
            return Outlook::new(
                what,
                BEGINS,
                vec![check(Rule::Input, "the volume exists", Err(RefusalKind::UnknownVolume(volume)))],
            );
        };
        let primary = match known.reign {
            Some(reign) if reign.node == node => Ok(format!("yes, in boot {}", reign.incarnation)),
            Some(reign) => Err(RefusalKind::AlreadyPrimary(self.node_name(reign.node))),
            None => Err(RefusalKind::NothingToHandOver(known.name.clone())),
        };
        let mut checks = vec![check(Rule::R1, "it is the primary", primary)];
        if checks[0].verdict == Verdict::Holds {
            let others = known.replicas.iter().filter(|other| **other != node);
            let judged = others.filter_map(|other| Some((*other, self.judge_hand_over(*other, volume, known)?)));
            let against = |checks: &[Check]| checks.iter().filter(|check| check.verdict != Verdict::Holds).count();
            let Some((to, of_target)) = judged.min_by_key(|(_, checks)| against(checks)) else {
                checks.push(nobody_else());
                return Outlook::new(what, BEGINS, checks);
            };
            let to = self.node_name(to);
            let wait = format!("Wait until it is in sync: `mainstay explain resync {to} {}` says how far it is", known.name);
            checks.extend(of_target.into_iter().map(|check| if check.rule == Rule::R5 { advised(check, &wait) } else { check }));
            return Outlook::new(format!("{what}, in favour of {to},"), BEGINS, checks);
        }
        Outlook::new(what, BEGINS, checks)
    }

    fn judge_hand_over(&self, to: NodeId, volume: VolumeId, known: &VolumeState) -> Option<Vec<Check>> {
        let evidence = self.switchover_evidence(to, volume)?;
        Some(self.plan(volume, to, known.epoch, &evidence, None).ok()?.checks())
    }

    /// What must hold for `node` to come into sync, and how far it is, by what `observed` says of its copy.
    pub fn explain_resync(&self, node: NodeId, volume: VolumeId, observed: &Observed) -> Outlook {
        let what = format!("The copy of volume {} on {}", self.volume_label(volume), self.node_name(node));
        let answers = ("is in sync", "is not in sync");
        let Some(known) = self.volumes.get(&volume) else {
            return Outlook::new(
                what,
                answers,
                vec![check(Rule::Input, "the volume exists", Err(RefusalKind::UnknownVolume(volume)))],
            );
        };
        let holds = check(
            Rule::R12,
            "it is a file server that holds the volume",
            self.holds_data(node, &known.name, &known.replicas).map(|()| "yes".into()),
        );
        if holds.verdict != Verdict::Holds {
            return Outlook::new(what, answers, vec![holds]);
        }
        let copy = known_copy(observed, node);
        let recover = "Bring the primary back, or promote another: `mainstay recover` shows the ways";
        let mut checks = vec![
            holds,
            advised(check(Rule::R1, "there is a primary to follow", self.to_follow(node, known)), recover),
            check(Rule::R3, "it is booted", self.is_booted(node)),
            self.member_now(node, known),
            advised(
                check(Rule::R6, "its copy can be trusted", self.trusted(node, copy)),
                "Look at its log and its disk, then ask again",
            ),
        ];
        checks.extend(copy.and_then(|copy| self.how_it_follows(node, copy)));
        Outlook::new(what, answers, checks)
    }

    fn to_follow(&self, node: NodeId, volume: &VolumeState) -> Result<String, RefusalKind> {
        match volume.reign {
            Some(reign) if reign.node == node => Ok("it is the primary itself".into()),
            Some(reign) if reign.state == ReignState::Serving => Ok(format!("{} serves", self.node_name(reign.node))),
            _ => Err(RefusalKind::NothingToHandOver(volume.name.clone())),
        }
    }

    fn is_booted(&self, node: NodeId) -> Result<String, RefusalKind> {
        let known = &self.nodes[&node];
        match known.incarnation.0 {
            0 => Err(RefusalKind::NeverBooted(known.name.clone())),
            _ => Ok(format!("boot {}", known.incarnation)),
        }
    }

    fn trusted(&self, node: NodeId, copy: Option<CopyReport>) -> Result<String, RefusalKind> {
        let name = self.node_name(node);
        match copy {
            None => Err(RefusalKind::MissingEvidence(format!("the state of the copy on {name}"))),
            Some(copy) if copy.state == CopyState::Failed => Err(RefusalKind::CopyFailed(name)),
            Some(copy) => Ok(format!("up to {}, synced up to {}", copy.last, copy.durable)),
        }
    }

    /// What it does by itself, so nothing here asks for a person. Of a copy that failed, [`Self::trusted`] has said it.
    fn how_it_follows(&self, node: NodeId, copy: CopyReport) -> Option<Check> {
        let name = self.node_name(node);
        let judged = match copy.state {
            CopyState::Complete => Ok("complete: it takes the log from where it ends".into()),
            CopyState::Failed => return None,
            CopyState::Diverged => Err(RefusalKind::Diverged(name)),
            CopyState::Resync => Err(RefusalKind::InResync(name)),
        };
        Some(check(Rule::R11, "its copy is a complete prefix", judged))
    }

    fn member_now(&self, node: NodeId, volume: &VolumeState) -> Check {
        let claim = "the primary waits for it, in its present boot";
        let (name, current) = (self.node_name(node), self.nodes[&node].incarnation);
        let judged = match volume.in_sync.get(&node).copied() {
            Some(member) if member == current => Ok(format!("{name} is in {}", self.names(volume.in_sync.keys()))),
            Some(member) => Err(RefusalKind::RestartedSince { node: name, member, current }),
            None => Err(RefusalKind::NotInSync { node: name, in_sync: self.names(volume.in_sync.keys()) }),
        };
        // Not what a refused promotion would advise.
        let back = match volume.left_in_sync.get(&node) {
            Some(left) => format!("Out since {}, {}; it comes back by itself when it has caught up", instant(left.at), left.reason),
            None => "It comes in by itself when it has caught up".into(),
        };
        advised(check(Rule::R4, claim, judged), &back)
    }
}

/// With another way to clear it, if it does not hold.
fn advised(mut check: Check, clears: &str) -> Check {
    if check.verdict != Verdict::Holds {
        check.clears = clears.into();
    }
    check
}

fn nobody_else() -> Check {
    Check {
        rule: Rule::R4,
        claim: "another node holds a copy".into(),
        verdict: Verdict::Fails,
        value: "none does".into(),
        clears: "Give it another with `mainstay volume add-replica`, and wait until that is in sync".into(),
    }
}
