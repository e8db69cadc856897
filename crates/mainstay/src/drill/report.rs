//! What came of a command: what the table, the journal and the page are all made of.

use super::given::Rules;
use super::library::{self, Card};
use super::one::{Numbers, Run, Timeline};
use super::units;
use crate::cli::output::bytes;
use mainstay_simulator::{Bugs, Options, Sizing, Violation};
use serde::Serialize;

/// Changes when a field changes its meaning; fields may be added without.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: u32,
    pub meta: Meta,
    pub drills: Vec<Drill>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Meta {
    /// `completed` or `interrupted`.
    pub status: &'static str,
    /// The command that was given.
    pub command: String,
    pub program: String,
    /// RFC 3339, UTC.
    pub started: String,
    pub ended: String,
    pub took_ms: u64,
    /// What a reader should know before trusting the rest.
    pub notes: Vec<String>,
    /// Flag and value, as given.
    pub sizing: Vec<(String, String)>,
    /// The cluster that was asked, if one was.
    pub cluster: Option<String>,
}

/// All seeds of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Drill {
    pub id: String,
    pub name: String,
    pub story: String,
    pub rules: Vec<String>,
    pub unchecked: Option<String>,
    pub seeds: Vec<Seed>,
    pub verdicts: Vec<Verdict>,
    /// The worst of all seeds, each by itself.
    pub numbers: Numbers,
    /// Whose timeline this is: the first seed that was violated, or the first.
    pub shown_seed: u64,
    pub timeline: Option<Timeline>,
    pub replay: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Seed {
    pub seed: u64,
    pub held: bool,
    pub trace_hash: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub property: String,
    pub meaning: String,
    pub held: bool,
    /// How many seeds violated it.
    pub violated_in: usize,
    /// When, in `seed`.
    pub at_ns: Option<u64>,
    pub seed: Option<u64>,
    /// The sentence that explains a bad verdict.
    pub text: String,
    /// Everything that was found against it, rule by rule, in the first seed that showed it.
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub seed: u64,
    pub at_ns: u64,
    /// The rule that was broken, where it is known.
    pub rule: Option<String>,
    pub text: String,
    pub times: u64,
}

impl Report {
    pub fn held(&self) -> bool {
        self.drills.iter().all(Drill::held)
    }
}

/// What every run of a command has in common.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    pub sizing: Option<Sizing>,
    pub rules: Rules,
    pub bugs: Bugs,
    pub keep_going: bool,
}

impl Setting {
    /// Silent, without a timeline.
    pub fn options(self) -> Options {
        Options { bugs: self.bugs, keep_going: self.keep_going, sizing: self.sizing, ..Options::default() }
    }
}

impl Drill {
    /// Of the runs of one scenario, at least one, in any order.
    pub fn of(card: &Card, mut runs: Vec<Run>, setting: Setting) -> Drill {
        runs.sort_by_key(|run| run.outcome.seed);
        let shown = runs.iter().position(|run| !run.outcome.ok()).unwrap_or(0);
        let violated = runs.iter().any(|run| !run.outcome.ok());
        let shown_seed = runs.get(shown).map_or(0, |run| run.outcome.seed);
        Drill {
            id: card.id.clone(),
            name: card.name.clone(),
            story: card.story.clone(),
            rules: card.rules.clone(),
            unchecked: card.unchecked.clone(),
            seeds: runs.iter().map(seed).collect(),
            verdicts: verdicts(card, &runs),
            numbers: worst(&runs),
            shown_seed,
            timeline: runs.get_mut(shown).and_then(|run| run.timeline.take()),
            replay: replay(card, shown_seed, Setting { keep_going: setting.keep_going && violated, ..setting }),
        }
    }

    pub fn held(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.held)
    }

    pub fn title(&self) -> String {
        format!("{} {}", self.id, self.name).trim_start().to_string()
    }

    /// Rules that were broken, as far as they are known, each once.
    pub fn broken_rules(&self) -> Vec<&str> {
        let number = |rule: &&str| rule.trim_start_matches('R').parse::<u32>().unwrap_or(u32::MAX);
        let found = self.verdicts.iter().flat_map(|verdict| &verdict.findings);
        let mut rules: Vec<&str> = found.filter_map(|finding| finding.rule.as_deref()).collect();
        rules.sort_by_key(number);
        rules.dedup();
        rules
    }

    pub fn broken(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| !verdict.held)
    }

    /// Name and value of what matters, for people.
    pub fn figures(&self) -> Vec<(&'static str, String)> {
        let Numbers { bytes_moved, bytes_changed, in_sync_after_ns, .. } = self.numbers;
        let n = &self.numbers;
        let changed = if bytes_changed > 0 { format!(" for {} changed", bytes(bytes_changed)) } else { String::new() };
        vec![
            ("outage", units::show_outage(n)),
            ("writes unanswered for", units::show_time(n.outage_ns)),
            ("reads unanswered for", units::show_time(n.read_outage_ns)),
            ("without redundancy", units::show_time(n.without_redundancy_ns)),
            ("bytes moved", format!("{}{changed}", bytes(bytes_moved))),
            ("back in sync after", if in_sync_after_ns > 0 { units::show_time(in_sync_after_ns) } else { "-".into() }),
            ("role changes", n.role_changes.to_string()),
            ("promotions", n.promotions.to_string()),
            ("operations answered", n.operations.to_string()),
            ("operations given up", n.client_errors.to_string()),
            ("alerts", n.alerts.to_string()),
            ("simulated", units::show_time(n.simulated_ns)),
        ]
    }
}

fn seed(run: &Run) -> Seed {
    let outcome = &run.outcome;
    Seed { seed: outcome.seed, held: outcome.ok(), trace_hash: format!("{:016x}", outcome.trace_hash) }
}

/// One for each property that the scenario checks, then whatever else was violated.
fn verdicts(card: &Card, runs: &[Run]) -> Vec<Verdict> {
    let mut properties = card.properties.clone();
    for violation in runs.iter().flat_map(|run| &run.outcome.violations) {
        if !properties.iter().any(|known| known == violation.property) {
            properties.push(violation.property.into());
        }
    }
    properties.iter().map(|property| verdict(property, runs)).collect()
}

fn verdict(property: &str, runs: &[Run]) -> Verdict {
    let of = |run: &Run| run.outcome.violations.iter().filter(|violation| violation.property == property).cloned().collect();
    let found: Vec<(u64, Vec<Violation>)> =
        runs.iter().map(|run| (run.outcome.seed, of(run))).filter(|(_, found): &(u64, Vec<Violation>)| !found.is_empty()).collect();
    let first = found.first().and_then(|(seed, violations)| Some((seed, violations.first()?)));
    Verdict {
        property: property.into(),
        meaning: library::property(property).into(),
        held: found.is_empty(),
        violated_in: found.len(),
        at_ns: first.map(|(_, violation)| violation.at),
        seed: first.map(|(seed, _)| *seed),
        text: first.map(|(_, violation)| violation.text.clone()).unwrap_or_default(),
        findings: findings(&found),
    }
}

/// The worst of all, each figure by itself.
pub fn worst(runs: &[Run]) -> Numbers {
    runs.iter().fold(Numbers::default(), |worst, run| worse(worst, &run.numbers))
}

fn findings(found: &[(u64, Vec<Violation>)]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (seed, violation) in found.iter().flat_map(|(seed, violations)| violations.iter().map(move |violation| (seed, violation))) {
        let rule = violation.rule.map(|rule| rule.to_string());
        if !findings.iter().any(|known| known.rule == rule) {
            let (at_ns, text) = (violation.at, violation.text.clone());
            findings.push(Finding { seed: *seed, at_ns, rule, text, times: violation.times });
        }
    }
    findings
}

fn worse(a: Numbers, b: &Numbers) -> Numbers {
    let mut refusals = a.refusals;
    b.refusals.iter().for_each(|(rule, count)| *refusals.entry(*rule).or_default() += count);
    Numbers {
        outage_ns: a.outage_ns.max(b.outage_ns),
        read_outage_ns: a.read_outage_ns.max(b.read_outage_ns),
        without_redundancy_ns: a.without_redundancy_ns.max(b.without_redundancy_ns),
        bytes_moved: a.bytes_moved.max(b.bytes_moved),
        bytes_changed: a.bytes_changed.max(b.bytes_changed),
        in_sync_after_ns: a.in_sync_after_ns.max(b.in_sync_after_ns),
        role_changes: a.role_changes.max(b.role_changes),
        promotions: a.promotions.max(b.promotions),
        client_errors: a.client_errors.max(b.client_errors),
        operations: a.operations.max(b.operations),
        simulated_ns: a.simulated_ns.max(b.simulated_ns),
        alerts: a.alerts.max(b.alerts),
        refusals,
    }
}

/// Flags and their values, as they can be given again.
pub fn sizing_flags(sizing: Option<Sizing>) -> Vec<(String, String)> {
    let Some(sizing) = sizing else { return Vec::new() };
    let flag = |name: &str, value: u64, unit: &str| (format!("--{name}"), format!("{value}{unit}"));
    vec![
        flag("volume-size", sizing.volume_bytes, "B"),
        flag("changed", sizing.changed_bytes, "B"),
        flag("link", sizing.link_bytes_per_s, "B/s"),
        flag("disk", sizing.disk_bytes_per_s, "B/s"),
        flag("rtt", sizing.rtt_ns, "ns"),
    ]
}

/// The command that shows this run again.
pub fn replay(card: &Card, seed: u64, setting: Setting) -> String {
    let mut command = format!("mainstay drill replay {seed} --scenario {}", card.handle());
    sizing_flags(setting.sizing)
        .iter()
        .chain(&setting.rules.flags())
        .for_each(|(flag, value)| command += &format!(" {flag} {value}"));
    if setting.keep_going {
        command += " --keep-going";
    }
    if !setting.bugs.is_empty() {
        command += &format!(" --plant {}", setting.bugs);
    }
    command
}
