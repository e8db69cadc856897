//! Order and completeness whoever writes, bounds, and nothing kept for a dead connection.

use super::*;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::io::{AsyncReadExt, DuplexStream};

struct Piece(Bytes, Token);

/// Counts what has not been written yet.
struct Token(Arc<AtomicUsize>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Item for Piece {
    type With = ();
    type Held = Token;

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn encode(self, (): &(), slices: &mut Vec<Bytes>) -> Token {
        let half = self.0.len() / 2;
        slices.extend([self.0.slice(..half), Bytes::new(), self.0.slice(half..)]);
        self.1
    }
}

struct Sender {
    outlet: Arc<Outlet<Piece>>,
    unwritten: Arc<AtomicUsize>,
}

impl Sender {
    fn new(bytes_max: usize) -> Sender {
        Sender { outlet: Arc::new(Outlet::new((), bytes_max)), unwritten: Arc::default() }
    }

    fn push(&self, bytes: impl Into<Bytes>) -> bool {
        self.unwritten.fetch_add(1, Ordering::SeqCst);
        self.outlet.push(Piece(bytes.into(), Token(self.unwritten.clone())))
    }

    fn unwritten(&self) -> usize {
        self.unwritten.load(Ordering::SeqCst)
    }
}

async fn own(outlet: Arc<Outlet<Piece>>) -> io::Result<()> {
    while outlet.ready().await {
        while outlet.write_batch().await? {}
    }
    Ok(())
}

async fn read(far: &mut DuplexStream, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    far.read_exact(&mut got).await.unwrap();
    got
}

#[tokio::test]
async fn a_lone_item_is_written_by_the_thread_that_has_it() {
    let sender = Sender::new(100);
    let (near, mut far) = tokio::io::duplex(64);
    sender.outlet.open(near);
    assert!(sender.push("hello"));
    sender.outlet.write_now();
    assert_eq!(sender.unwritten(), 0, "no task runs here");
    assert_eq!(read(&mut far, 5).await, b"hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_and_task_together_keep_the_order_through_a_narrow_pipe() {
    let sender = Sender::new(usize::MAX);
    let (near, mut far) = tokio::io::duplex(7);
    sender.outlet.open(near);
    let task = tokio::spawn(own(sender.outlet.clone()));
    let want: Vec<u8> = (0..3_000u32).flat_map(|n| vec![n as u8; n as usize % 5]).collect();
    let len = want.len();
    let reader = tokio::spawn(async move { read(&mut far, len).await });
    let outlet = sender.outlet.clone();
    let unwritten = sender.unwritten.clone();
    std::thread::spawn(move || {
        for n in 0..3_000u32 {
            assert!(sender.push(vec![n as u8; n as usize % 5]));
            if n % 3 == 0 { sender.outlet.wake() } else { sender.outlet.write_now() }
        }
    })
    .join()
    .unwrap();
    let got = tokio::time::timeout(Duration::from_secs(60), reader).await.expect("nobody forgot to wake the task").unwrap();
    assert!(got == want);
    outlet.cut();
    task.await.unwrap().unwrap();
    assert_eq!(unwritten.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_bound_holds_and_nothing_waits_for_a_dead_connection() {
    let sender = Sender::new(1_000);
    assert!(!sender.push("early"), "no connection yet");
    let (near, _far) = tokio::io::duplex(64);
    sender.outlet.open(near);
    assert!(sender.push(vec![0; 5_000]), "an empty queue takes any item");
    assert!(!sender.push("more"));
    sender.outlet.close();
    assert_eq!(sender.unwritten(), 0);
    let (near, mut far) = tokio::io::duplex(64);
    sender.outlet.open(near);
    assert!(sender.push("new"));
    sender.outlet.write_now();
    assert_eq!(read(&mut far, 3).await, b"new");
    sender.outlet.close();
    assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0, "the stream is closed with it");
}

#[tokio::test]
async fn an_error_that_a_thread_met_ends_the_task() {
    let sender = Sender::new(1_000);
    let (near, far) = tokio::io::duplex(64);
    sender.outlet.open(near);
    drop(far);
    let task = tokio::spawn(own(sender.outlet.clone()));
    assert!(sender.push("lost"));
    sender.outlet.write_now();
    assert!(task.await.unwrap().is_err());
}
