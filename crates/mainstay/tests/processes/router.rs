//! Brings the clients' packets to whoever answers for the volume's address, as a switch does after the new owner's first words.
//! Mainstay only binds the address; this is the network around it. Pinned, it keeps an old entry.

use super::clients::listens;
use super::network::{A, At, B, route_clients};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_millis(300);

pub struct Router {
    stop: Arc<AtomicBool>,
    pinned: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// In the clients' network. They are led to A at first.
    pub fn start() -> Router {
        let (stop, pinned) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (over, held) = (stop.clone(), pinned.clone());
        let thread = std::thread::spawn(move || {
            let (mut to, mut seen) = (A, [false; 2]);
            while !over.load(Ordering::Relaxed) {
                let now = [A, B].map(|node| listens(node, PATIENCE));
                if !held.load(Ordering::Relaxed) {
                    to = lead(to, seen, now);
                    seen = now;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Router { stop, pinned, thread: Some(thread) }
    }

    pub fn pin(&self, pinned: bool) {
        self.pinned.store(pinned, Ordering::Relaxed);
    }
}

/// Who has just begun to listen gets the packets; else whoever listens, when the present one does not.
fn lead(to: At, seen: [bool; 2], now: [bool; 2]) -> At {
    let place = |node: At| usize::from(node == B);
    let fresh = [A, B].into_iter().find(|node| now[place(*node)] && !seen[place(*node)]);
    let other = if to == A { B } else { A };
    let next = match fresh {
        Some(node) => node,
        None if !now[place(to)] && now[place(other)] => other,
        None => to,
    };
    if next != to {
        route_clients(next).expect("the route can be replaced");
    }
    next
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
