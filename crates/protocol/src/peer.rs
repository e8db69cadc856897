//! What nodes say to each other about one volume, and the frame that carries it.
//!
//! Messages may be lost, repeated, delayed and reordered; every one carries the epoch of its sender's view (R2) and every
//! receiver copes. Append variants only: postcard is positional.

use crate::ids::{Epoch, FileId, Incarnation, LogPoint, NodeId, Position, VolumeId};
use crate::limits::{FRAME_BODY_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX};
use crate::record::{Extent, InodeRow};
use crate::time::{Mono, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A message with what every receiver needs to judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub volume: VolumeId,
    pub from: NodeId,
    pub incarnation: Incarnation,
    pub message: PeerMessage,
    /// Raw bytes that belong to the message: records, file data. By reference, never copied on the way out.
    pub payload: Vec<Bytes>,
}

/// One run of the replication stream to one secondary, named by the secondary in the Hello that begins it: which boot of it, and the
/// how many-eth of that boot. What arrives of an older run is told apart by it from what is lost of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId {
    pub incarnation: Incarnation,
    pub number: u32,
}

/// First position of an epoch in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStart {
    pub epoch: Epoch,
    pub first: Position,
}

/// How a copy fares, by the word of the node that holds it. For people who decide who serves it, and for policy `guarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyHealth {
    /// It stopped trusting its disk.
    pub failed: bool,
    /// The disk under it is full.
    pub full: bool,
    /// Bytes that clients may still write to it.
    pub free_bytes: u64,
    /// Times, since it was opened, that data on it did not match its checksum and nobody could mend it.
    pub damaged: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// Primary to every voter: promise, for the lease period from when you receive this, to take part in no newer grant (R13).
    LeaseRequest {
        epoch: Epoch,
        sent: Mono,
    },
    LeasePromise {
        epoch: Epoch,
        sent: Mono,
    },
    /// The receiver has promised a newer epoch, or may not promise yet (it booted less than one lease ago).
    LeaseRefused {
        epoch: Epoch,
        sent: Mono,
        promised: Epoch,
    },

    /// Secondary to primary: where my copy ends and what history it is of. Starts replication, and restarts it under a new number
    /// whenever an Append does not continue the copy. Repeated under the same number until the stream is seen to have begun.
    Hello {
        epoch: Epoch,
        stream: StreamId,
        last: LogPoint,
        durable: Position,
        lineage: Vec<EpochStart>,
        resync: Option<ResyncCursor>,
    },
    /// Primary to secondary: `count` records after `after`, in the payload. Also the heartbeat (count 0).
    Append {
        epoch: Epoch,
        stream: StreamId,
        after: LogPoint,
        count: u32,
        commit: Position,
        commit_durable: Position,
        sync_to: Position,
    },
    /// Secondary to primary: what I hold in memory, and on disk.
    Acknowledge {
        epoch: Epoch,
        stream: StreamId,
        received: Position,
        durable: Position,
        applied: Position,
    },
    /// Primary to secondary: your history has a tail that the cluster does not have; quarantine it and go back to `to` (R9).
    RollBack {
        epoch: Epoch,
        /// End of the copy in the Hello that this answers: good for nothing else.
        answers: LogPoint,
        to: LogPoint,
    },

    /// Primary to secondary: the log you need is gone; fetch what changed since your copy instead (R11).
    ResyncByChange {
        epoch: Epoch,
        base: LogPoint,
        lineage: Vec<EpochStart>,
    },
    /// Secondary to primary: the next changed inodes after `cursor`.
    ChangesRequest {
        epoch: Epoch,
        cursor: ResyncCursor,
        bytes_max: u32,
    },
    Changes {
        epoch: Epoch,
        batch: ChangeBatch,
    },
    /// Secondary to primary: digests differ, list what there is.
    ListRequest {
        epoch: Epoch,
        query: ListQuery,
    },
    List {
        epoch: Epoch,
        query: ListQuery,
        items: Vec<ListItem>,
        done: bool,
    },

    /// Either way: this block of mine is damaged, send me yours. `of`: the epoch of the record at `position` in the asker's history.
    /// Another history may hold another record there, and where checksums are damaged as well nothing else would tell.
    RepairRequest {
        epoch: Epoch,
        ticket: u64,
        file: FileId,
        extent: Extent,
        position: Position,
        of: Epoch,
    },
    /// The data in the payload, empty when the sender cannot help. `boot`: the asker's when it asked; tickets begin anew with each.
    Repair {
        epoch: Epoch,
        ticket: u64,
        boot: Incarnation,
    },

    /// Between all nodes, a few times a second: I live, this is how far my copy reaches. Feeds the evidence (last contacts).
    Contact {
        epoch: Epoch,
        last: LogPoint,
        durable: Position,
        /// Known there to be durable on every in-sync copy.
        committed: Position,
        /// Whether the copy is a complete prefix of the history: then it is applied up to its end.
        complete: bool,
        health: CopyHealth,
        /// No lease promise to `epoch` is alive here.
        idle: bool,
        /// The sender was asked to stop and takes part in nothing new.
        leaving: bool,
        /// For each other node that was heard, milliseconds since then. Who is not named was silent for the whole of `up_ms`.
        seen: Vec<(NodeId, u64)>,
        /// Milliseconds since the sender booted.
        up_ms: u64,
        /// The sender's wall clock. No rule rests on it; evidence says how far it is from others.
        wall: Timestamp,
    },
    /// The sender's epoch is older than the receiver's promise: stop (R2).
    Fenced {
        promised: Epoch,
    },
}

impl PeerMessage {
    /// Small and urgent: travels on a connection of its own, so that a lease never waits behind megabytes of records.
    pub fn is_control(&self) -> bool {
        use PeerMessage::*;
        matches!(self, LeaseRequest { .. } | LeasePromise { .. } | LeaseRefused { .. } | Contact { .. } | Fenced { .. })
    }
}

/// Where a resync by change stands; durable on the secondary, so an interruption costs one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResyncCursor {
    /// The secondary held everything up to here when the resync began.
    pub since: Position,
    /// The primary's position when the walk began: after the walk, the log is applied from here.
    pub base: LogPoint,
    /// Inodes up to and including this one are done.
    pub inode: u64,
    /// Unless zero, of inode `inode + 1` the entries up to this cookie, or the runs that end up to this offset, are done.
    pub within: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeBatch {
    pub items: Vec<ChangedInode>,
    /// The cursor to ask for next.
    pub next: ResyncCursor,
    /// How many inodes there are in `(request cursor, next]`, and the xor of their hashes: finds removed ones.
    pub existing: SetDigest,
    pub done: bool,
    /// The primary's last position when the batch was read: the copy is a complete prefix again only past the highest of these.
    pub at: Position,
    /// Inodes that exist on the primary in all, for progress.
    pub inodes_total: u64,
}

/// A set compared by one number: count and xor of the members' xxh3-64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDigest {
    pub count: u64,
    pub xor: u64,
}

impl SetDigest {
    pub fn add(&mut self, member: &[u64]) {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        member.iter().for_each(|word| hasher.update(&word.to_le_bytes()));
        self.count += 1;
        self.xor ^= hasher.digest();
    }
}

/// One inode that changed since the cursor's `since`, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedInode {
    pub row: InodeRow,
    pub target: Option<Bytes>,
    /// Directories: entries newer than `since`. Name, inode, cookie.
    pub entries: Vec<(Bytes, FileId, u64)>,
    /// Files: runs of data newer than `since`, with the position that wrote each; their bytes follow in the payload in order.
    pub extents: Vec<(Extent, Position)>,
    /// All entries (their cookies) or all extents (offset, length, position) that the inode has in the range that this part
    /// covers: from the request's `within` to the next cursor's, or to the end.
    pub whole: Option<SetDigest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListQuery {
    /// Inodes in `(after, to]`.
    Inodes { after: u64, to: u64 },
    /// Cookies of a directory, above `after`.
    Entries { dir: u64, after: u64 },
    /// Extents of a file that end after `after`.
    Extents { inode: u64, after: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListItem {
    Inode(FileId),
    Entry(u64),
    Extent(Extent, Position),
}

pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"MSF1");
pub const FRAME_VERSION: u16 = 3;
pub const FRAME_HEADER_BYTES: usize = 24;

/// What a frame's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum FrameKind {
    /// An [`Envelope`]; `id` unused.
    Peer = 1,
    /// A request of the coordination layer; `id` pairs it with its answer.
    CoordinationRequest = 2,
    CoordinationReply = 3,
}

/// Fixed header of every frame between nodes:
/// magic u32, version u16, kind u16, body_len u32, payload_len u32, id u64; little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: FrameKind,
    pub body_len: u32,
    pub payload_len: u32,
    pub id: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("not a Mainstay frame (magic {0:#010x}): is this the peer port?")]
    Magic(u32),
    #[error("peer speaks frame version {0}, this node {FRAME_VERSION}: upgrade the older one")]
    Version(u16),
    #[error("unknown frame kind {0}")]
    Kind(u16),
    #[error("frame of {body} + {payload} bytes is over the bound ({FRAME_BODY_BYTES_MAX} + {FRAME_PAYLOAD_BYTES_MAX})")]
    Length { body: u32, payload: u32 },
    #[error("frame body cannot be decoded")]
    Body,
}

impl FrameHeader {
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        out[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&FRAME_VERSION.to_le_bytes());
        out[6..8].copy_from_slice(&(self.kind as u16).to_le_bytes());
        out[8..12].copy_from_slice(&self.body_len.to_le_bytes());
        out[12..16].copy_from_slice(&self.payload_len.to_le_bytes());
        out[16..24].copy_from_slice(&self.id.to_le_bytes());
        out
    }

    /// Checks everything a header can be checked for, its lengths first of all.
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<FrameHeader, FrameError> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if u32_at(0) != FRAME_MAGIC {
            return Err(FrameError::Magic(u32_at(0)));
        }
        if u16_at(4) != FRAME_VERSION {
            return Err(FrameError::Version(u16_at(4)));
        }
        let kind = match u16_at(6) {
            1 => FrameKind::Peer,
            2 => FrameKind::CoordinationRequest,
            3 => FrameKind::CoordinationReply,
            other => return Err(FrameError::Kind(other)),
        };
        let header =
            FrameHeader { kind, body_len: u32_at(8), payload_len: u32_at(12), id: u32_at(16) as u64 | (u32_at(20) as u64) << 32 };
        if header.body_len as usize > FRAME_BODY_BYTES_MAX || header.payload_len as usize > FRAME_PAYLOAD_BYTES_MAX {
            return Err(FrameError::Length { body: header.body_len, payload: header.payload_len });
        }
        Ok(header)
    }
}

impl Envelope {
    /// The frame's body; the payload travels behind it as it is.
    pub fn encode_body(&self) -> Vec<u8> {
        postcard::to_stdvec(&(self.volume, self.from, self.incarnation, &self.message)).expect("a message always encodes")
    }
    pub fn decode(body: &[u8], payload: Bytes) -> Result<Envelope, FrameError> {
        let (volume, from, incarnation, message) = postcard::from_bytes(body).map_err(|_| FrameError::Body)?;
        Ok(Envelope { volume, from, incarnation, message, payload: if payload.is_empty() { vec![] } else { vec![payload] } })
    }
    pub fn payload_len(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_header_survives_and_bounds_lengths() {
        let header = FrameHeader { kind: FrameKind::Peer, body_len: 10, payload_len: 20, id: u64::MAX - 1 };
        assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
        let long = FrameHeader { payload_len: FRAME_PAYLOAD_BYTES_MAX as u32 + 1, ..header };
        assert!(matches!(FrameHeader::decode(&long.encode()), Err(FrameError::Length { .. })));
        let mut newer = header.encode();
        newer[4] = 9;
        assert_eq!(FrameHeader::decode(&newer), Err(FrameError::Version(9)));
    }

    #[test]
    fn an_envelope_survives() {
        let message = PeerMessage::Append {
            epoch: Epoch(3),
            stream: StreamId { incarnation: Incarnation(7), number: 2 },
            after: LogPoint::default(),
            count: 1,
            commit: Position(4),
            commit_durable: Position(2),
            sync_to: Position(0),
        };
        let sent = Envelope {
            volume: VolumeId(1),
            from: NodeId(2),
            incarnation: Incarnation(9),
            message,
            payload: vec![Bytes::from_static(b"abc")],
        };
        assert_eq!(Envelope::decode(&sent.encode_body(), Bytes::from_static(b"abc")), Ok(sent));
        assert_eq!(Envelope::decode(b"\xff\xff\xff\xff\xff\xff\xff", Bytes::new()), Err(FrameError::Body));
    }
}
