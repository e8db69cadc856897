//! Runs on several cores. Which core gets which run changes nothing: a run depends on its seed only.

use super::progress::{Progress, TICK};
use crate::cli::CliError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};

/// As many as wanted, or one per core.
///
/// # Errors
/// None, and more than there are cores.
pub fn jobs(wanted: Option<usize>) -> Result<usize, CliError> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    match wanted {
        None => Ok(cores),
        Some(0) => Err(CliError::Usage("--jobs 0: at least one run at a time is needed".into())),
        Some(jobs) if jobs > cores => Err(CliError::Usage(format!(
            "--jobs {jobs}: this machine has {cores} cores, and more jobs would only wait for each other"
        ))),
        Some(jobs) => Ok(jobs),
    }
}

/// Calls `work` for 0, 1, 2, … until it is `None`, `seen` says false, or `ended` becomes true. `seen` gets the results in the
/// order in which they are done; those already begun are still finished and seen.
pub fn run<T: Send>(
    jobs: usize,
    ended: &(dyn Fn() -> bool + Sync),
    work: &(dyn Fn(u64) -> Option<T> + Sync),
    progress: &mut Progress,
    mut seen: impl FnMut(T, &mut Progress) -> bool,
) {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let worker = |sender: mpsc::Sender<T>| {
        while !stop.load(Ordering::Relaxed) && !ended() {
            let Some(result) = work(next.fetch_add(1, Ordering::Relaxed)) else { return };
            if sender.send(result).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let sender = sender.clone();
            scope.spawn(|| worker(sender));
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(result) => {
                    if !seen(result, progress) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            progress.tick();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::progress::Goal;
    use super::*;

    #[test]
    fn everything_is_run_once_and_a_stop_is_a_stop() {
        let mut progress = Progress::new(Goal::Runs(9));
        let mut seen = Vec::new();
        run(2, &|| false, &|n| (n < 9).then_some(n), &mut progress, |n, _| {
            seen.push(n);
            true
        });
        seen.sort_unstable();
        assert_eq!(seen, (0..9).collect::<Vec<_>>());
        let mut count = 0;
        run(1, &|| false, &Some, &mut progress, |_, _| {
            count += 1;
            false
        });
        assert!(count >= 1);
        run(1, &|| true, &Some, &mut progress, |_, _| panic!("it had ended before it began"));
    }

    #[test]
    fn more_jobs_than_cores_are_refused() {
        assert!(jobs(Some(0)).is_err());
        assert!(jobs(Some(1_000_000)).unwrap_err().to_string().contains("cores"));
        assert_eq!(jobs(Some(1)).unwrap(), 1);
        assert!(jobs(None).unwrap() >= 1);
    }
}
