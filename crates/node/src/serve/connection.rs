//! One client's connection: requests in, pipelined under a window; replies out as they complete.

use super::slot::{Answer, Answers, Held};
use super::{CONNECTION_BYTES_MAX, CONNECTION_REQUESTS_MAX, Common, RECORD_TIME_MAX, Slot, UNIT, WRITE_TIME_MAX};
use crate::outlet::Outlet;
use bytes::Bytes;
use mainstay_nfs::{Call, FramingError, Front, RECORD_BYTES_MAX, RecordReader};
use mainstay_protocol::{FileError, FileRequest};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A record is counted against the total as soon as more than this of it has arrived.
const LARGE_BYTES: usize = 64 << 10;
/// What a request costs beside its data.
const REQUEST_BYTES: usize = 1 << 10;

/// Replaced when exports change.
pub type CurrentFront = RwLock<Arc<Front>>;

pub fn current(front: &CurrentFront) -> Arc<Front> {
    front.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
}

#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("closed by the client")]
    Closed,
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error("the client is not allowed, or does not speak RPC")]
    Refused,
    #[error("a record took longer than {} s to arrive", RECORD_TIME_MAX.as_secs())]
    SlowSender,
    #[error("the client took no replies for {} s", WRITE_TIME_MAX.as_secs())]
    SlowReader,
    #[error("the outcome of a request is not known on this node any more")]
    Abandoned,
}

/// Runs until the connection ends, and says why.
pub async fn run<R, W>(reader: R, writer: W, client: IpAddr, front: Arc<CurrentFront>, common: Arc<Common>) -> Ended
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Send + 'static,
{
    // Not bounded here: each answer holds its request's part of the budgets.
    let answers = Arc::new(Outlet::new(front.clone(), usize::MAX));
    answers.open(writer);
    let _closed = Closed(&answers);
    let receiver = Receiver {
        client,
        front,
        common,
        answers: answers.clone(),
        window: Arc::new(Semaphore::new(CONNECTION_REQUESTS_MAX)),
        bytes: Arc::new(Semaphore::new(CONNECTION_BYTES_MAX / UNIT)),
    };
    tokio::select! {
        ended = receiver.run(reader) => ended,
        ended = answer(&answers) => ended,
    }
}

/// However the connection ends, by being aborted too: its socket closes then, although requests in progress still know it.
struct Closed<'a>(&'a Answers);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Receiver {
    client: IpAddr,
    front: Arc<CurrentFront>,
    common: Arc<Common>,
    answers: Arc<Answers>,
    window: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Receiver {
    async fn run<R: AsyncRead + Unpin>(self, mut stream: R) -> Ended {
        let mut records = RecordReader::new();
        loop {
            if let Err(ended) = self.receive(&mut stream, &mut records).await {
                return ended;
            }
        }
    }

    /// Waits for at least one record and serves all that are there.
    async fn receive<R: AsyncRead + Unpin>(&self, stream: &mut R, records: &mut RecordReader) -> Result<(), Ended> {
        let begun = records.buffered() > 0;
        let arrive = self.arrive(stream, records);
        let first = if begun {
            tokio::time::timeout(RECORD_TIME_MAX, arrive).await.map_err(|_| Ended::SlowSender)??
        } else {
            arrive.await?
        };
        let mut next = first;
        while let Some(record) = next {
            self.serve(record).await?;
            next = self.noted(records.next_record())?;
        }
        Ok(())
    }

    /// One read, or as many as a large record needs; those are counted against the total while they last.
    async fn arrive<R: AsyncRead + Unpin>(&self, stream: &mut R, records: &mut RecordReader) -> Result<Option<Bytes>, Ended> {
        let mut large: Option<OwnedSemaphorePermit> = None;
        loop {
            if records.buffered() > LARGE_BYTES && large.is_none() {
                large = Some(permits(&self.common.budget, RECORD_BYTES_MAX).await);
            }
            if stream.read_buf(records.space()).await? == 0 {
                return Err(Ended::Closed);
            }
            let record = self.noted(records.next_record())?;
            if record.is_some() || large.is_none() {
                return Ok(record);
            }
        }
    }

    fn noted<T>(&self, result: Result<T, FramingError>) -> Result<T, Ended> {
        result.map_err(|error| {
            self.common.counters.bad_records.fetch_add(1, Ordering::Relaxed);
            error.into()
        })
    }

    async fn serve(&self, record: Bytes) -> Result<(), Ended> {
        let begun = Instant::now();
        let arrived = record.len();
        match current(&self.front).call(self.client, record) {
            Call::File { volume, request, context } => {
                let held = self.hold(arrived.max(reply_bytes(&request.request))).await;
                let slot = Slot { answers: self.answers.clone(), context, held, begun, counters: self.common.counters.clone() };
                match self.common.hosts.get(volume) {
                    Some(host) => host.client(request, slot),
                    // Exported, but this node has not heard of the volume yet.
                    None => slot.reply(Err(FileError::TryLater.into())),
                }
                Ok(())
            }
            Call::Reply(parts) => {
                let held = self.hold(arrived).await;
                self.answers.push(Answer::Parts { parts, held });
                self.answers.wake();
                Ok(())
            }
            Call::Close => {
                self.common.counters.bad_records.fetch_add(1, Ordering::Relaxed);
                Err(Ended::Refused)
            }
        }
    }

    /// Waits for room; nothing more is read from this client meanwhile.
    async fn hold(&self, bytes: usize) -> Held {
        let bytes = bytes + REQUEST_BYTES;
        Held {
            _window: permits(&self.window, UNIT).await,
            _bytes: permits(&self.bytes, bytes).await,
            _total: permits(&self.common.budget, bytes).await,
        }
    }
}

async fn permits(budget: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
    let units = bytes.div_ceil(UNIT) as u32;
    budget.clone().acquire_many_owned(units).await.expect("the budgets are never closed")
}

fn reply_bytes(request: &FileRequest) -> usize {
    match request {
        FileRequest::Read { count, .. } => (*count as usize).min(RECORD_BYTES_MAX),
        FileRequest::ReadDirectory { bytes_max, .. } => (*bytes_max as usize).min(RECORD_BYTES_MAX),
        _ => 0,
    }
}

async fn answer(answers: &Answers) -> Ended {
    loop {
        if !answers.ready().await {
            return Ended::Abandoned;
        }
        loop {
            match tokio::time::timeout(WRITE_TIME_MAX, answers.write_batch()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break,
                Ok(Err(error)) => return error.into(),
                Err(_) => return Ended::SlowReader,
            }
        }
    }
}
