//! A progress bar for people, on stderr and only where somebody can see it; and whether they pressed Ctrl-C.

use super::BenchError;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BAR_CELLS: usize = 24;
/// How often the bar is drawn and Ctrl-C is looked for.
pub const TICK: Duration = Duration::from_millis(100);

/// Looks after one phase while it runs.
pub struct Watch<'a> {
    progress: &'a Progress,
    label: String,
    /// Part of the whole benchmark done before this phase, and that it adds: 0.0..=1.0.
    before: f64,
    share: f64,
    started: Instant,
    next: Instant,
    /// Part of the phase that is done after so many operations and so much time.
    fraction: Box<dyn Fn(u64, Duration) -> f64 + 'a>,
}

impl Watch<'_> {
    /// What came before was preparation.
    pub fn restart(&mut self) {
        self.started = Instant::now();
    }

    /// Cheap enough to be called after each operation. Fails when the user wants an end.
    pub fn tick(&mut self, now: Instant, operations: u64) -> Result<(), BenchError> {
        if now < self.next {
            return Ok(());
        }
        self.next = now + TICK;
        self.progress.check()?;
        let elapsed = now.duration_since(self.started);
        let rate = operations as f64 / elapsed.as_secs_f64().max(0.001);
        let done = self.before + self.share * (self.fraction)(operations, elapsed).clamp(0.0, 1.0);
        self.progress.draw(done, &format!("{}  {rate:.0}/s", self.label));
        Ok(())
    }
}

pub struct Progress {
    shown: bool,
    started: Instant,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    pub fn new(interrupted: Arc<AtomicBool>) -> Progress {
        Progress { shown: std::io::stderr().is_terminal(), started: Instant::now(), interrupted }
    }

    pub fn check(&self) -> Result<(), BenchError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }

    /// For the phase `index` of `count`.
    pub fn watch<'a>(
        &'a self,
        label: String,
        (index, count): (usize, usize),
        fraction: impl Fn(u64, Duration) -> f64 + 'a,
    ) -> Watch<'a> {
        let now = Instant::now();
        let share = 1.0 / count.max(1) as f64;
        Watch { progress: self, label, before: index as f64 * share, share, started: now, next: now, fraction: Box::new(fraction) }
    }

    /// What happens between the phases.
    pub fn say(&self, text: &str) {
        if self.shown {
            eprint!("\r\x1b[2K{text}");
            // Nothing depends on whether the bar can be seen.
            let _ = std::io::stderr().flush();
        }
    }

    fn draw(&self, done: f64, text: &str) {
        let full = (done * BAR_CELLS as f64) as usize;
        let left = self.started.elapsed().as_secs_f64() * (1.0 - done) / done.max(0.01);
        let bar: String = (0..BAR_CELLS).map(|cell| if cell < full { '#' } else { '.' }).collect();
        self.say(&format!("[{bar}] {:3.0} %  {text}  {left:.0} s left", done * 100.0));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("");
    }
}

/// Becomes true with the first Ctrl-C or SIGTERM, so that what was made can be removed; the second ends the process at once.
pub fn interrupts() -> std::io::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(guard);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            for _ in 0..2 {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                if raised.swap(true, Ordering::Relaxed) {
                    /// 128 + SIGINT, as shells show it.
                    const INTERRUPTED: i32 = 130;
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    })?;
    Ok(flag)
}
