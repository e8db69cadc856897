//! The sending end of a connection: a bounded queue, and a stream that is written by the task that owns the connection or, while
//! the stream is idle, by the very thread that has something to send. The second spares waking another thread, which costs tens
//! of microseconds on the way of every lone request and of its replication.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;

/// Items, and their bytes, that are encoded into one batch of writes.
const BATCH_ITEMS_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Slices given to one `writev`; Linux takes at most 1024 (`IOV_MAX`), and TLS cuts earlier.
const SLICES_MAX: usize = 64;
/// Batches that a thread writes directly before it leaves the rest to the task.
const DIRECT_BATCHES_MAX: usize = 2;

/// Something to send.
pub trait Item: Send + 'static {
    /// What all items of a connection are encoded with.
    type With: Send + Sync;
    /// Kept until the bytes are with the kernel.
    type Held: Send;

    /// For the queue's bound.
    fn bytes(&self) -> usize;
    /// Appends what goes into the stream.
    fn encode(self, with: &Self::With, slices: &mut Vec<Bytes>) -> Self::Held;
}

/// See the module's text. Order is the order of [`Outlet::push`], whoever writes.
pub struct Outlet<T: Item> {
    with: T::With,
    bytes_max: usize,
    queue: Mutex<Queue<T>>,
    stream: Mutex<Option<Stream<T::Held>>>,
    ready: Notify,
    cut: AtomicBool,
}

struct Queue<T> {
    items: VecDeque<T>,
    bytes: usize,
    /// Closed while there is no connection: what waits for one is stale when it comes.
    open: bool,
}

struct Stream<H> {
    io: Pin<Box<dyn AsyncWrite + Send>>,
    /// The batch that is being written, from `next` on.
    slices: Vec<Bytes>,
    next: usize,
    held: Vec<H>,
    unflushed: bool,
    /// The task waits for the kernel: its waker is registered, and nobody else may poll.
    waiting: bool,
    /// Met by a thread that wrote directly; the task ends with it.
    failed: Option<io::Error>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Item> Outlet<T> {
    /// Closed at first. `bytes_max` bounds what waits in the queue.
    pub fn new(with: T::With, bytes_max: usize) -> Outlet<T> {
        let queue = Queue { items: VecDeque::new(), bytes: 0, open: false };
        Outlet { with, bytes_max, queue: queue.into(), stream: Mutex::new(None), ready: Notify::new(), cut: AtomicBool::new(false) }
    }

    /// Sends over `io` from now on.
    pub fn open(&self, io: impl AsyncWrite + Send + 'static) {
        let stream = Stream {
            io: Box::pin(io),
            slices: Vec::new(),
            next: 0,
            held: Vec::new(),
            unflushed: false,
            waiting: false,
            failed: None,
        };
        *lock(&self.stream) = Some(stream);
        lock(&self.queue).open = true;
    }

    /// Drops the stream and what was not sent.
    pub fn close(&self) {
        let mut queue = lock(&self.queue);
        *queue = Queue { items: VecDeque::new(), bytes: 0, open: false };
        drop(queue);
        *lock(&self.stream) = None;
    }

    pub fn is_open(&self) -> bool {
        lock(&self.queue).open
    }

    /// False when the item was dropped: there is no connection, or the queue is full. Follow with [`Outlet::wake`] or
    /// [`Outlet::write_now`].
    pub fn push(&self, item: T) -> bool {
        let bytes = item.bytes();
        let mut queue = lock(&self.queue);
        // An empty queue takes any item, so the bound can never stop a large one for good.
        let fits = queue.items.is_empty() || queue.bytes + bytes <= self.bytes_max;
        if !queue.open || !fits {
            return false;
        }
        queue.bytes += bytes;
        queue.items.push_back(item);
        true
    }

    /// Leaves the writing to the task.
    pub fn wake(&self) {
        self.ready.notify_one();
    }

    /// Writes from this thread what the kernel takes at once. Never blocks: the task does the rest.
    pub fn write_now(&self) {
        let Ok(mut stream) = self.stream.try_lock() else {
            return self.wake(); // the task is at it, perhaps past its last look at the queue
        };
        let Some(stream) = stream.as_mut().filter(|stream| !stream.waiting) else { return };
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..DIRECT_BATCHES_MAX {
            match stream.batch(self, &mut context) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return,
                Poll::Ready(Err(error)) => {
                    stream.failed = Some(error);
                    break;
                }
                Poll::Pending => break,
            }
        }
        self.wake();
    }

    /// Ends the connection: the task's next [`Outlet::ready`] says so.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.wake();
    }

    /// For the task: waits until there may be something to do. False when the connection was cut.
    pub async fn ready(&self) -> bool {
        self.ready.notified().await;
        !self.cut.load(Ordering::Acquire)
    }

    /// For the task: writes one batch. False when nothing waited.
    pub async fn write_batch(&self) -> io::Result<bool> {
        poll_fn(|context| {
            let mut stream = lock(&self.stream);
            let Some(stream) = stream.as_mut() else { return Poll::Ready(Ok(false)) };
            let written = stream.batch(self, context);
            stream.waiting = written.is_pending();
            written
        })
        .await
    }

    /// Takes a batch off the queue into `stream`. False when there was none.
    fn take(&self, stream: &mut Stream<T::Held>) -> bool {
        let mut bytes = 0;
        let mut taken = Vec::new();
        let mut queue = lock(&self.queue);
        while bytes < BATCH_BYTES_MAX && taken.len() < BATCH_ITEMS_MAX {
            let Some(item) = queue.items.pop_front() else { break };
            bytes += item.bytes();
            taken.push(item);
        }
        queue.bytes -= bytes;
        drop(queue);
        let any = !taken.is_empty();
        stream.held.extend(taken.into_iter().map(|item| item.encode(&self.with, &mut stream.slices)));
        any
    }
}

impl<H> Stream<H> {
    fn batch<T: Item<Held = H>>(&mut self, outlet: &Outlet<T>, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let any = self.next < self.slices.len() || self.unflushed || outlet.take(self);
        while self.next < self.slices.len() {
            ready!(self.write(context))?;
        }
        if self.unflushed {
            ready!(self.io.as_mut().poll_flush(context))?;
            self.unflushed = false;
        }
        self.slices.clear();
        self.next = 0;
        self.held.clear();
        Poll::Ready(Ok(any))
    }

    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = &self.slices[self.next..];
        let mut parts = [IoSlice::new(&[]); SLICES_MAX];
        let count = waiting.len().min(SLICES_MAX);
        for (part, slice) in parts.iter_mut().zip(waiting) {
            *part = IoSlice::new(slice);
        }
        let empty = waiting[..count].iter().all(Bytes::is_empty);
        let mut written = if empty { 0 } else { ready!(self.io.as_mut().poll_write_vectored(context, &parts[..count]))? };
        if written == 0 && !empty {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        let end = self.next + count;
        while self.next < end && self.slices[self.next].len() <= written {
            written -= self.slices[self.next].len();
            self.next += 1;
        }
        if written > 0 {
            self.slices[self.next].advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "outlet_tests.rs"]
mod tests;
