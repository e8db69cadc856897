//! The report as a journal of the Chaos Toolkit, so that its reporters and dashboards can read it.

use super::report::{Drill, Report, VERSION, Verdict};
use serde_json::{Value, json};

pub fn journal(report: &Report) -> Value {
    let meta = &report.meta;
    let held = report.held();
    let probes: Vec<Value> =
        report.drills.iter().flat_map(|drill| drill.verdicts.iter().map(|verdict| probe(drill, verdict))).collect();
    json!({
        "mainstay-journal-version": VERSION,
        "experiment": experiment(report),
        // `failed` would mean that the experiment itself could not be done.
        "status": meta.status,
        "start": meta.started,
        "end": meta.ended,
        "duration": meta.took_ms as f64 / 1000.0,
        "deviated": !held,
        "steady_states": {
            // Every run begins with a whole, serving cluster.
            "before": { "steady_state_met": true, "probes": [] },
            "during": [],
            "after": { "steady_state_met": held, "probes": probes },
        },
        "run": report.drills.iter().map(|drill| activity(report, drill)).collect::<Vec<_>>(),
        "rollbacks": [],
    })
}

fn experiment(report: &Report) -> Value {
    let names: Vec<String> = report.drills.iter().map(Drill::title).collect();
    let configuration: serde_json::Map<String, Value> =
        report.meta.sizing.iter().map(|(flag, value)| (flag.trim_start_matches('-').replace('-', "_"), json!(value))).collect();
    json!({
        "version": "1.0.0",
        "title": names.join(", "),
        "description": report.drills.iter().map(|drill| drill.story.as_str()).collect::<Vec<_>>().join("\n"),
        "tags": ["mainstay", "simulated"],
        "contributions": { "availability": "high", "reliability": "high" },
        "configuration": configuration,
        "steady-state-hypothesis": { "title": "every property holds", "probes": hypotheses(report) },
        "method": report.drills.iter().map(action).collect::<Vec<_>>(),
        "rollbacks": [],
        "command": report.meta.command,
        "program": report.meta.program,
        "cluster": report.meta.cluster,
        "notes": report.meta.notes,
    })
}

fn provider(drill: &Drill) -> Value {
    let first = drill.seeds.first().map(|seed| seed.seed);
    let arguments = json!(["drill", "run", drill.name, "--seed", first, "--seeds", drill.seeds.len()]);
    json!({ "type": "process", "path": "mainstay", "arguments": arguments })
}

fn action(drill: &Drill) -> Value {
    json!({ "type": "action", "name": drill.title(), "provider": provider(drill) })
}

fn hypothesis(drill: &Drill, verdict: &Verdict) -> Value {
    let name = format!("{}: {} {}", drill.title(), verdict.property, verdict.meaning);
    json!({ "type": "probe", "name": name, "tolerance": true, "provider": provider(drill) })
}

fn hypotheses(report: &Report) -> Vec<Value> {
    report.drills.iter().flat_map(|drill| drill.verdicts.iter().map(|verdict| hypothesis(drill, verdict))).collect()
}

fn probe(drill: &Drill, verdict: &Verdict) -> Value {
    json!({
        "activity": hypothesis(drill, verdict),
        "status": "succeeded",
        "output": verdict.held,
        "tolerance_met": verdict.held,
        "explanation": (!verdict.held).then_some(&verdict.text),
        "findings": verdict.findings,
        "at_seconds": verdict.at_ns.map(|at| at as f64 / 1e9),
        "seed": verdict.seed,
    })
}

/// Start, end and duration are simulated: all scenarios begin when the command did.
fn activity(report: &Report, drill: &Drill) -> Value {
    json!({
        "activity": action(drill),
        "status": "succeeded",
        "start": report.meta.started,
        "end": report.meta.ended,
        "duration": drill.numbers.simulated_ns as f64 / 1e9,
        "output": {
            "held": drill.held(),
            "numbers": drill.numbers,
            "seeds": drill.seeds,
            "replay": drill.replay,
            "rules": drill.rules,
            "unchecked": drill.unchecked,
        },
    })
}
