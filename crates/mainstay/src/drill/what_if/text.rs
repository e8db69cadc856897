//! The answer for a terminal.

use super::super::fork::Fork;
use super::super::one::Sizing;
use super::super::units::{show_rate, show_time};
use super::Answer;
use super::answer::Moment;
use super::step::{FOR_DEFAULT, Step};
use super::world::Thought;
use crate::cli::output::{Style, bytes};
use mainstay_simulator::Plan;

const MILLISECOND: u64 = 1_000_000;
/// Width of the names on the left.
const LABEL: usize = 22;

pub fn begins_with(fork: &Fork, plan: &Plan) -> Vec<String> {
    let names = &fork.names;
    let primary = if fork.has_primary { names.of(fork.primary) } else { "none" };
    let mut list = vec![format!("primary {primary}, in sync {}", names.list(&fork.in_sync))];
    if !fork.away.is_empty() {
        list.push(format!("away {}", names.list(&fork.away)));
    }
    if !fork.behind.is_empty() {
        list.push(format!("behind {}", names.list(&fork.behind)));
    }
    list.extend(
        fork.maintenance.iter().map(|(node, left)| format!("maintenance of {} for another {}", names.of(*node), show_time(*left))),
    );
    if fork.breaker_open {
        list.push("the breaker is open".into());
    }
    let throttle = plan.resync_bytes_per_second;
    list.push(format!("lease {}, resync at most {}, policy manual", show_time(plan.lease_ms * MILLISECOND), show_rate(throttle)));
    list.extend(names.note());
    list
}

pub fn measured(fork: &Fork) -> Vec<String> {
    let size = fork.live_bytes.map(|live| format!("{} in the volume", bytes(live)));
    let primary = fork.names.of(fork.primary);
    let rate = fork.change_rate.map(|(rate, ms)| {
        format!("clients change {}, on average since {primary} started {} ago", show_rate(rate), show_time(ms * MILLISECOND))
    });
    let missing = fork.missing_bytes.filter(|_| !fork.behind.is_empty());
    let missing = missing.map(|missing| format!("{} still misses {}", fork.names.list(&fork.behind), bytes(missing)));
    [size, rate, missing].into_iter().flatten().collect()
}

pub fn assumed(fork: &Fork, step: &Step, thought: &Thought, plan: &Plan) -> Vec<String> {
    let mut list = Vec::new();
    let Sizing { link_bytes_per_second, disk_bytes_per_second, rtt_ns, .. } = thought.sizing;
    if let Some(sizing) = plan.sizing {
        let link = format!("link {}", show_rate(sizing.link_bytes_per_s));
        let disk = format!("disk {}", show_rate(sizing.disk_bytes_per_s));
        let rtt = format!("round trip {}", show_time(sizing.rtt_ns));
        let guessed = [(link_bytes_per_second, link, "--link"), (disk_bytes_per_second, disk, "--disk"), (rtt_ns, rtt, "--rtt")];
        let guessed: Vec<_> = guessed.into_iter().filter(|(given, ..)| given.is_none()).collect();
        if !guessed.is_empty() {
            let what: Vec<String> = guessed.iter().map(|(_, what, _)| what.clone()).collect();
            let flags: Vec<&str> = guessed.iter().map(|(.., flag)| *flag).collect();
            list.push(format!("{} ({})", what.join(", "), flags.join(", ")));
        }
    }
    if thought.change_rate == 0 && fork.change_rate.is_none() && thought.sizing.changed_bytes.is_none() {
        list.push("clients change next to nothing meanwhile (--change-rate)".into());
    }
    if step.guessed {
        list.push(format!("it lasts {} (say how long, such as 2h)", show_time(FOR_DEFAULT)));
    }
    if !fork.behind.is_empty() && fork.missing_bytes.is_none() {
        list.push(format!("what {} misses already is not known and not counted", fork.names.list(&fork.behind)));
    }
    list.push(format!("a promotion is approved {} after it is proposed (--approve-after)", show_time(thought.approve_after)));
    list
}

pub fn left_out(fork: &Fork) -> Vec<String> {
    let mut list = fork.left_out.clone();
    if !fork.other_volumes.is_empty() {
        list.push(format!("the other volumes: {} (--volume)", fork.other_volumes.join(", ")));
    }
    list
}

fn line(label: &str, value: &str) -> String {
    format!("  {label:<LABEL$}  {value}\n")
}

fn verdict(answer: &Answer, style: Style) -> String {
    match answer.good() {
        true => format!("{}\n", style.good("good: nobody would notice, and every property holds")),
        false => answer.reasons().iter().map(|reason| format!("{}\n", style.alarm(&format!("bad: {reason}")))).collect(),
    }
}

fn figures(answer: &Answer) -> String {
    let numbers = &answer.told.numbers;
    let moved = match numbers.bytes_changed {
        0 => bytes(numbers.bytes_moved),
        changed => format!("{} between the nodes, of {} changed", bytes(numbers.bytes_moved), bytes(changed)),
    };
    let back = match numbers.in_sync_after_ns {
        0 => "nothing was out of sync".into(),
        time => format!("{} after its return", show_time(time)),
    };
    [
        line("writes unanswered for", &show_time(numbers.outage_ns)),
        line("reads unanswered for", &show_time(numbers.read_outage_ns)),
        line("one copy only for", &answer.one_copy_only),
        line("in sync again", &back),
        line("moved", &moved),
        line("primary", &answer.roles),
    ]
    .concat()
}

fn list(title: &str, items: &[String]) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        text += &line(if index == 0 { title } else { "" }, item);
    }
    text
}

fn moment(moment: &Moment) -> String {
    format!("  {:>13}  {}\n", format!("+{}", show_time(moment.at_ns)), moment.text)
}

pub fn render(answer: &Answer, style: Style) -> String {
    let Answer { step, cluster, volume, .. } = answer;
    let mut text = format!("what if: {}   cluster {cluster}   volume {volume}\n", style.bold(step));
    text += &verdict(answer, style);
    text += &format!("\n  {:<LABEL$}  worst of {} seeds\n", "", answer.told.seeds);
    text += &figures(answer);
    if !answer.told.story.is_empty() {
        text += &format!("\nas it went in seed {}\n", answer.told.seed);
        answer.told.story.iter().for_each(|one| text += &moment(one));
    }
    text += "\nwho would be told\n";
    match answer.told.pages.as_slice() {
        [] => text += "  nobody\n",
        pages => pages.iter().for_each(|page| text += &format!("  {} {page}\n", style.alarm("!"))),
    }
    text += "\n";
    text += &list("begins with", &answer.begins_with);
    text += &list("measured", &answer.measured);
    text += &list("assumed", &answer.assumed);
    text += &list("not in it", &answer.left_out);
    text
}

/// Few lines, for people who want to do something else.
pub fn brief(answer: &Answer, style: Style) -> String {
    let mut text = format!("rehearsed {} ({} seeds): ", style.bold(&answer.step), answer.told.seeds);
    text += &verdict(answer, style);
    text += &figures(answer);
    answer.told.pages.iter().for_each(|page| text += &format!("  {} {page}\n", style.alarm("!")));
    text
}
