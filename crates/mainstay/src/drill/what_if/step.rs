//! A step as people write it: `maintenance b 30m`.

use super::super::fork::Names;
use super::super::units;
use mainstay_protocol::NodeId;
use mainstay_simulator::scenario::W;

const MINUTE: u64 = 60_000_000_000;
/// How long something lasts when nobody says.
pub const FOR_DEFAULT: u64 = 15 * MINUTE;
/// Longest that is simulated.
const FOR_MAX: u64 = 7 * 24 * 60 * MINUTE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Maintenance(NodeId),
    Stop(NodeId),
    Crash(NodeId),
    Cut(NodeId, NodeId),
    Promote(NodeId),
    Switchover(NodeId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub kind: Kind,
    /// Nanoseconds; zero for what takes no time.
    pub lasts: u64,
    /// `lasts` is our own guess.
    pub guessed: bool,
}

const VERBS: [&str; 6] = ["maintenance", "stop", "crash", "cut", "promote", "switchover"];
const FORMS: &str = "\"maintenance NODE TIME\", \"stop NODE [TIME]\", \"crash NODE [TIME]\", \"cut NODE NODE [TIME]\", \"promote NODE\" or \"switchover NODE\"";

impl Step {
    /// Who does not run meanwhile.
    pub fn absent(&self) -> Option<NodeId> {
        match self.kind {
            Kind::Maintenance(node) | Kind::Stop(node) | Kind::Crash(node) => Some(node),
            Kind::Cut(..) | Kind::Promote(_) | Kind::Switchover(_) => None,
        }
    }
}

/// As somebody would have typed it.
pub fn sentence(step: &Step, names: &Names) -> String {
    let time = units::show_time(step.lasts);
    match step.kind {
        Kind::Maintenance(node) => format!("maintenance of {} for {time}", names.of(node)),
        Kind::Stop(node) => format!("stop of {} for {time}", names.of(node)),
        Kind::Crash(node) => format!("crash of {} for {time}", names.of(node)),
        Kind::Cut(one, other) => format!("cut between {} and {} for {time}", names.of(one), names.of(other)),
        Kind::Promote(node) => format!("promotion of {}", names.of(node)),
        Kind::Switchover(node) => format!("switchover to {}", names.of(node)),
    }
}

/// The first node that a step names, before it is known what nodes there are.
pub fn about(words: &[String]) -> Option<&str> {
    words.get(1).map(String::as_str)
}

/// Words, however they were quoted.
pub fn words(given: &[String]) -> Vec<String> {
    given.iter().flat_map(|text| text.split_whitespace()).map(str::to_string).collect()
}

/// # Errors
/// What is wrong, and what would be right.
pub fn parse(words: &[String], names: &Names) -> Result<Step, String> {
    let mut reader = Reader { rest: words, names };
    let verb = reader.verb()?;
    let step = match verb.as_str() {
        "maintenance" => {
            reader.skip("begin");
            let node = reader.node()?;
            let lasts = reader.time()?.ok_or_else(|| format!("maintenance {}: for how long? Such as 30m", names.of(node)))?;
            Step { kind: Kind::Maintenance(node), lasts, guessed: false }
        }
        "stop" => reader.node().map(Kind::Stop).and_then(|kind| reader.lasting(kind))?,
        "crash" => reader.node().map(Kind::Crash).and_then(|kind| reader.lasting(kind))?,
        "cut" => {
            let (one, other) = (reader.node()?, reader.node()?);
            if one == other {
                return Err(format!("cut {0} {0}: two different nodes are expected", names.of(one)));
            }
            reader.lasting(Kind::Cut(one, other))?
        }
        "promote" => Step { kind: Kind::Promote(reader.node()?), lasts: 0, guessed: false },
        _ => {
            reader.skip("to");
            Step { kind: Kind::Switchover(reader.node()?), lasts: 0, guessed: false }
        }
    };
    match (step.kind, reader.rest) {
        (Kind::Promote(W) | Kind::Switchover(W), _) => Err(format!("{} {}: a witness holds no copy", verb, names.of(W))),
        (_, []) => Ok(step),
        (_, [more, ..]) => Err(format!("{more}: not expected here; a step is {FORMS}")),
    }
}

struct Reader<'a> {
    rest: &'a [String],
    names: &'a Names,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<String> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first.clone())
    }

    fn skip(&mut self, word: &str) {
        if self.rest.first().is_some_and(|first| first == word) {
            self.next();
        }
    }

    fn verb(&mut self) -> Result<String, String> {
        let word = self.next().ok_or_else(|| format!("a step is expected: {FORMS}"))?;
        if VERBS.contains(&word.as_str()) {
            return Ok(word);
        }
        let near = VERBS.into_iter().find(|verb| word.len() > 2 && (verb.starts_with(&word[..word.floor_char_boundary(3)])));
        let meant = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
        Err(format!("{word}: no such step{meant} A step is {FORMS}").replacen("step A", "step; a", 1))
    }

    fn node(&mut self) -> Result<NodeId, String> {
        let nodes = self.names.all();
        let word = self.next().ok_or_else(|| format!("the name of a node is missing; the nodes are {nodes}"))?;
        self.names.find(&word).ok_or_else(|| format!("{word}: there is no such node; the nodes are {nodes}"))
    }

    fn time(&mut self) -> Result<Option<u64>, String> {
        self.skip("for");
        let Some(text) = self.next() else { return Ok(None) };
        let time = units::time(&text)?;
        match time {
            0 => Err(format!("{text}: no time at all; such as 30m is expected")),
            FOR_MAX.. => Err(format!("{text}: at most 7 days can be rehearsed")),
            _ => Ok(Some(time)),
        }
    }

    fn lasting(&mut self, kind: Kind) -> Result<Step, String> {
        let time = self.time()?;
        Ok(Step { kind, lasts: time.unwrap_or(FOR_DEFAULT), guessed: time.is_none() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_simulator::scenario::{A, B};

    fn read(text: &str) -> Result<Step, String> {
        parse(&words(&[text.into()]), &Names::new("fs1", "fs2", "tie"))
    }

    #[test]
    fn steps_are_read_as_people_write_them() {
        let step = |kind, lasts, guessed| Ok(Step { kind, lasts, guessed });
        assert_eq!(read("maintenance fs2 30m"), step(Kind::Maintenance(B), 30 * MINUTE, false));
        assert_eq!(read("maintenance begin fs2 for 30m"), step(Kind::Maintenance(B), 30 * MINUTE, false));
        assert_eq!(read("stop fs1"), step(Kind::Stop(A), FOR_DEFAULT, true));
        assert_eq!(read("crash tie 90s"), step(Kind::Crash(W), 90_000_000_000, false));
        assert_eq!(read("cut fs1 tie for 2m"), step(Kind::Cut(A, W), 2 * MINUTE, false));
        assert_eq!(read("promote fs2"), step(Kind::Promote(B), 0, false));
        assert_eq!(read("switchover to fs2"), step(Kind::Switchover(B), 0, false));
        let apart = ["maintenance".to_string(), "fs1 1h".to_string()];
        assert_eq!(parse(&words(&apart), &Names::new("fs1", "fs2", "tie")).unwrap().kind, Kind::Maintenance(A));
    }

    #[test]
    fn what_is_wrong_with_a_step_is_said_with_what_would_be_right() {
        let error = |text: &str| read(text).unwrap_err();
        assert_eq!(error("maintenance fs2"), "maintenance fs2: for how long? Such as 30m");
        assert_eq!(error("stop b"), "b: there is no such node; the nodes are fs1, fs2, tie");
        assert!(error("").starts_with("a step is expected: \"maintenance NODE TIME\""));
        assert!(error("maintain fs2 1h").contains("no such step; did you mean maintenance?"), "{}", error("maintain fs2 1h"));
        assert!(error("explode fs2").starts_with("explode: no such step; a step is"), "{}", error("explode fs2"));
        assert!(error("stop").contains("name of a node is missing"));
        assert!(error("cut fs1 fs1").contains("two different nodes"));
        assert!(error("promote tie").contains("witness holds no copy"));
        assert!(error("stop fs1 5").contains("unit is missing"));
        assert!(error("stop fs1 0s").contains("no time at all") && error("stop fs1 8000h").contains("7 days"));
        assert!(error("stop fs1 5m now").starts_with("now: not expected here"));
        assert!(error("switchover tie").contains("witness holds no copy"));
    }
}
