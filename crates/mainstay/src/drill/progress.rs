//! How far the runs are, on stderr: a bar where somebody can see it, else a line now and then for a log.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const BAR_CELLS: usize = 24;
/// How often it is drawn.
pub const TICK: Duration = Duration::from_millis(100);
/// How often a log gets a line; what ends sooner writes none.
const LOG_TICK: Duration = Duration::from_secs(60);

/// What there is to do, if it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Runs(u64),
    Time(Duration),
}

pub struct Progress {
    on_terminal: bool,
    goal: Goal,
    started: Instant,
    /// When the last line was written, or when all began.
    told: Instant,
    runs: u64,
    simulated_ns: u128,
}

impl Progress {
    pub fn new(goal: Goal) -> Progress {
        let (on_terminal, now) = (std::io::stderr().is_terminal(), Instant::now());
        Progress { on_terminal, goal, started: now, told: now, runs: 0, simulated_ns: 0 }
    }

    pub fn add(&mut self, simulated_ns: u64) {
        self.runs += 1;
        self.simulated_ns += simulated_ns as u128;
    }

    pub fn tick(&mut self) {
        let now = Instant::now();
        if now < self.told + if self.on_terminal { TICK } else { LOG_TICK } {
            return;
        }
        self.told = now;
        let (done, rest) = line(self.goal, self.runs, self.simulated_ns, now - self.started);
        // Nothing depends on whether this can be seen.
        let _ = if self.on_terminal {
            write!(std::io::stderr(), "\r\x1b[2K{} {rest}", bar(done)).and_then(|()| std::io::stderr().flush())
        } else {
            writeln!(std::io::stderr(), "mainstay: {rest}")
        };
    }

    /// For the last line: runs, and how fast they were.
    pub fn summary(&self) -> String {
        format!("{} runs, {}", self.runs, rates(self.runs, self.simulated_ns, self.started.elapsed()))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

fn rates(runs: u64, simulated_ns: u128, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let simulated = simulated_ns as f64 / 1e9;
    // Simulated hours per hour are simulated seconds per second.
    format!("{:.1} seeds/s, {:.1} h simulated, {:.0} h per hour", runs as f64 / seconds, simulated / 3600.0, simulated / seconds)
}

/// The part that is done, and the words.
fn line(goal: Goal, runs: u64, simulated_ns: u128, elapsed: Duration) -> (f64, String) {
    let (done, of) = match goal {
        Goal::Runs(all) => (runs as f64 / all.max(1) as f64, format!("{runs}/{all} runs")),
        Goal::Time(all) => (elapsed.as_secs_f64() / all.as_secs_f64().max(0.001), format!("{runs} runs")),
    };
    let done = done.min(1.0);
    (done, format!("{:3.0} %  {of}  {}", done * 100.0, rates(runs, simulated_ns, elapsed)))
}

fn bar(done: f64) -> String {
    let full = (done * BAR_CELLS as f64) as usize;
    let bar: String = (0..BAR_CELLS).map(|cell| if cell < full { '#' } else { '.' }).collect();
    format!("[{bar}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let (done, text) = line(Goal::Runs(40), 10, 3_600_000_000_000, Duration::from_secs(2));
        assert_eq!(
            format!("{} {text}", bar(done)),
            "[######..................]  25 %  10/40 runs  5.0 seeds/s, 1.0 h simulated, 1800 h per hour"
        );
        let (done, text) = line(Goal::Time(Duration::from_secs(4)), 3, 0, Duration::from_secs(8));
        assert!(text.starts_with("100 %  3 runs"), "{text}");
        assert_eq!(bar(done), format!("[{}]", "#".repeat(BAR_CELLS)));
    }
}
