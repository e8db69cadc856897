//! `drill from-events`: a cluster's audit log as a scenario, to rehearse yesterday's incident.

mod cast;
mod log;
mod story;

use super::args;
use super::library::Card;
use super::out::{self, Clock, Out};
use super::report::Setting;
use super::run::{self, Work};
use super::{pool, spec, units};
use crate::cli::args::Format;
use crate::cli::{CliError, exit, output};
use cast::Cast;
use log::Log;
use mainstay_cluster::refusal::instant;
use mainstay_cluster::{AuditEvent, Event};
use mainstay_protocol::VolumeId;
use mainstay_simulator::scenario::{Action, Approvals};
use mainstay_simulator::{Plan, Scenario, script};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use story::{Leftover, Story};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// Longest story: what takes longer is several.
const STORY_MAX: u64 = 7 * 24 * 3_600 * SECOND;
/// The story goes on a little after its last event.
const TAIL: u64 = 30 * SECOND;
const NAME: &str = "from-events";
/// Letters of one note.
const NOTE_MAX: usize = 120;
/// Leftovers that are told one by one.
const LEFT_MAX: usize = 12;

/// What became of a log; for programs.
#[derive(Debug, Serialize)]
struct Turned {
    version: u32,
    scenario: String,
    from: u64,
    to: u64,
    begins: String,
    lasts_ns: u64,
    acts: Vec<TurnedAct>,
    /// What the cluster decided then; in the simulation it decides again.
    left_to_the_rules: BTreeMap<&'static str, u64>,
    not_rehearsed: Vec<Leftover>,
    warnings: Vec<String>,
    names: Option<String>,
}

#[derive(Debug, Serialize)]
struct TurnedAct {
    at_ns: u64,
    act: String,
    event: u64,
}

/// # Errors
/// Bad input, and output that cannot be written.
pub fn from_events(args: &args::FromEvents, config: Option<&Path>, format: Format) -> Result<u8, CliError> {
    let clock = Clock::start();
    let failed = |error: String| CliError::Failed(format!("{}: {error}", args.file.display()));
    let parent = args.out.as_deref().and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), out::writable)?;
    let spec = args.spec.as_deref().map(spec::load).transpose()?.unwrap_or_default();
    let text = read(&args.file).map_err(|error| failed(error.to_string()))?;
    let log = log::parse(&text).map_err(failed)?;
    let live = config.map(run::live).transpose()?;
    let given = live.as_ref().map(|live| live.given()).unwrap_or_default();
    let (sizing, rules) = run::merge(&args.sizing, &args.rules, &spec, &given)?;
    let turned = turn(log, args, rules).map_err(failed)?;
    turned.warnings.iter().for_each(|warning| eprintln!("mainstay: {}: {warning}", args.file.display()));
    if let Some(path) = &args.out {
        out::keep(path, &turned.scenario)?;
    }
    if !args.run {
        show(&turned, args.out.as_deref(), format);
        return Ok(exit::OK);
    }
    let notes = summary(&turned);
    let scenario = Scenario::from(script::parse(NAME, &turned.scenario).map_err(|error| failed(error.to_string()))?);
    let card = Card { file: args.out.as_ref().map(|path| path.display().to_string()), ..Card::of(&scenario) };
    let directory = args.out.as_deref().map(|path| path.parent().unwrap_or(Path::new(".")));
    let out =
        Out::new(directory.map(|directory| if directory.as_os_str().is_empty() { Path::new(".") } else { directory }), format)?;
    let seeds = args.seed..args.seed.saturating_add(args.seeds);
    let cluster = spec.name.or(live.map(|live| live.cluster));
    // What comes of a violation is worth seeing, as in `drill run`.
    let setting = Setting { sizing, rules, keep_going: true, ..Setting::default() };
    run::rehearse(Work { cards: &[card], seeds, jobs: pool::jobs(None)?, setting, notes, cluster }, &clock, &out)
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let limit = log::FILE_BYTES_MAX as u64 + 1;
    match path.to_str() {
        Some("-") => std::io::stdin().take(limit).read_to_string(&mut text)?,
        _ => std::fs::File::open(path)?.take(limit).read_to_string(&mut text)?,
    };
    Ok(text)
}

// ---- the scenario ------------------------------------------------------------------------------------------------------------

/// The making of a cluster is where every simulated one begins: the story is what comes after it.
fn after_the_making(events: &[AuditEvent]) -> usize {
    let Some(made) = events.iter().rposition(|event| matches!(event.event, Event::VolumeCreated { .. })) else { return 0 };
    let of_it = |event: &&AuditEvent| matches!(event.event, Event::Serving { .. } | Event::InSyncGrown { .. });
    made + 1 + events[made + 1..].iter().take_while(of_it).count()
}

fn turn(log: Log, args: &args::FromEvents, rules: super::given::Rules) -> Result<Turned, String> {
    let within = |number: u64| number > args.after && number <= args.until;
    let events: Vec<AuditEvent> = log.events.into_iter().filter(|event| within(event.number)).collect();
    let begins = after_the_making(&events);
    let cast = Cast::of(&events, args.volume.map(VolumeId))?;
    let (making, told) = events.split_at(begins);
    let (foreign, story): (Vec<&AuditEvent>, Vec<&AuditEvent>) = told.iter().partition(|event| cast.is_foreign(event));
    let (Some(first), Some(last)) = (story.first(), story.last()) else { return Err(nothing_left(args, making.len())) };
    let mut plan = calm(rules);
    let missing_after = plan.cluster.contact_lost_ms.unwrap_or(plan.lease_ms) * MILLISECOND;
    let mut told = story::tell(&story, &cast, missing_after);
    if told.primary.is_none() {
        // Nothing that happened depends on it.
        told.primary = Some(plan.cluster.primary);
    }
    let lasts_ns = told.last_at - story::FIRST_AT;
    if lasts_ns > STORY_MAX {
        return Err(format!(
            "its events are {} days apart; at most 7 can be rehearsed: --after and --until take a part",
            lasts_ns / (24 * 3_600 * SECOND)
        ));
    }
    let unknown = log.unknown.iter().filter(|event| within(event.number));
    told.left.extend(
        unknown.map(|event| Leftover { number: event.number, why: format!("{}, which this program does not know", event.kind) }),
    );
    told.left.extend(foreign.first().map(|event| Leftover {
        number: event.number,
        why: format!("{} events of other volumes, from here on (--volume)", foreign.len()),
    }));
    told.left.sort_by_key(|left| left.number);
    perform(&mut plan, &told, lasts_ns);
    let heading = Heading { first, last, making: making.len(), cast: &cast };
    let scenario = text(&heading, &plan, &told);
    script::parse(NAME, &scenario)
        .map_err(|error| format!("too much for one scenario: {error}; --after and --until take a part"))?;
    let act = |act: &story::Act| TurnedAct { at_ns: act.at, act: script::action_text(&act.action), event: act.number };
    Ok(Turned {
        version: 1,
        scenario,
        from: first.number,
        to: last.number,
        begins: instant(first.at),
        lasts_ns,
        acts: told.acts.iter().map(act).collect(),
        left_to_the_rules: told.decisions,
        not_rehearsed: told.left,
        warnings: log.warnings,
        names: cast.names.note(),
    })
}

fn nothing_left(args: &args::FromEvents, making: usize) -> String {
    match (args.after, args.until, making) {
        (0, u64::MAX, 1..) => "it tells of the making of the cluster only: there is nothing to rehearse yet".into(),
        (after, u64::MAX, _) => format!("there is no event after {after}"),
        (after, until, _) => format!("there is no event from {} to {until}", after + 1),
    }
}

/// A few clients, so that hours are simulated in seconds.
fn calm(rules: super::given::Rules) -> Plan {
    let mut plan = Plan::calm(0);
    rules.apply(&mut plan);
    (plan.clients, plan.workers_per_client, plan.register_workers) = (3, 1, 2);
    plan.approvals = Approvals::None;
    plan
}

fn perform(plan: &mut Plan, story: &Story, lasts_ns: u64) {
    plan.think = match lasts_ns / (60 * SECOND) {
        0..10 => (20 * MILLISECOND, 200 * MILLISECOND),
        10..120 => (200 * MILLISECOND, SECOND),
        _ => (SECOND, 5 * SECOND),
    };
    plan.cluster.primary = story.primary.unwrap_or(plan.cluster.primary);
    for (at, text) in &story.notes {
        let clipped: String = text.chars().take(NOTE_MAX).collect();
        plan.at(*at, Action::Note(clipped));
    }
    for act in &story.acts {
        plan.at(act.at, act.action.clone());
    }
    plan.script.sort_by_key(|(at, _)| *at);
    plan.faults_end = story.acts.iter().map(|act| act.at).max().unwrap_or(0).max(story.last_at) + TAIL;
}

struct Heading<'a> {
    first: &'a AuditEvent,
    last: &'a AuditEvent,
    making: usize,
    cast: &'a Cast,
}

/// Comments first: what the file was made of, and what is not in it.
fn text(heading: &Heading<'_>, plan: &Plan, story: &Story) -> String {
    let Heading { first, last, making, cast } = heading;
    let mut text = format!(
        "# From the audit log, events {} to {}, {} to {}.\n",
        first.number,
        last.number,
        instant(first.at),
        instant(last.at)
    );
    if let Some(note) = cast.names.note() {
        text += &format!("# Names: {note}.\n");
    }
    text += &format!("# Times are as they were; event {} is at {} s.\n", first.number, story::FIRST_AT / SECOND);
    if *making > 0 {
        text += &format!("# Events up to {} made the cluster, as every simulated one is made.\n", first.number - 1);
    }
    if !story.decisions.is_empty() {
        text += &format!("# Left to the rules, which decide again: {}.\n", counts(&story.decisions));
    }
    for left in &story.left {
        text += &format!("# Not rehearsed: event {}: {}\n", left.number, left.why.replace('\n', " "));
    }
    text + &script::print_as(NAME, &format!("What the audit log tells, events {} to {}.", first.number, last.number), plan)
}

// ---- for people --------------------------------------------------------------------------------------------------------------

fn counts(decisions: &BTreeMap<&'static str, u64>) -> String {
    decisions.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}

/// What a reader must know, without the scenario itself.
fn summary(turned: &Turned) -> Vec<String> {
    let mut lines = vec![format!(
        "events {} to {} of the audit log, from {} on, over {}",
        turned.from,
        turned.to,
        turned.begins,
        units::show_time(turned.lasts_ns)
    )];
    lines.extend(turned.names.clone());
    if !turned.left_to_the_rules.is_empty() {
        lines.push(format!("as it was then: {}", counts(&turned.left_to_the_rules)));
    }
    let told = turned.not_rehearsed.iter().take(LEFT_MAX);
    lines.extend(told.map(|left| format!("not rehearsed: event {}: {}", left.number, left.why)));
    let more = turned.not_rehearsed.len().saturating_sub(LEFT_MAX);
    if more > 0 {
        lines.push(format!("not rehearsed: {more} more, which the scenario's comments list"));
    }
    lines
}

fn show(turned: &Turned, out: Option<&Path>, format: Format) {
    match (format, out) {
        (Format::Json, _) => output::print(&output::json(turned)),
        (_, None) => output::print(&turned.scenario),
        (_, Some(path)) => {
            let row = |act: &TurnedAct| {
                let at = act.at_ns.saturating_sub(story::FIRST_AT);
                vec![act.event.to_string(), format!("+{}", units::show_time(at)), act.act.clone()]
            };
            let acts = turned.acts.iter().filter(|act| !act.act.starts_with("approve nobody"));
            let rows: Vec<Vec<String>> = acts.map(row).collect();
            let mut text = output::table(&["EVENT", "TIME", "ACT"], &rows, "");
            text += "\n";
            summary(turned).iter().for_each(|line| text += &format!("{line}\n"));
            text += &format!("run it:  mainstay drill run {}\n", path.display());
            output::print(&text);
        }
    }
}

#[cfg(test)]
mod tests;
