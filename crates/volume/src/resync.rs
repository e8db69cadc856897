//! Resync by change, the metadata part.

use mainstay_protocol::peer::{ListQuery, ResyncCursor};

/// A batch whose lists are being fetched; not durable, an interruption costs this batch.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub pending: Option<Pending>,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub from: ResyncCursor,
    pub next: ResyncCursor,
    /// Lists wanted, and up to where each is.
    pub lists: Vec<(ListQuery, u64)>,
}
