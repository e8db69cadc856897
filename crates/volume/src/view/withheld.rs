//! What redb wrote while the disk was full, in the order in which it did.
//!
//! redb takes an error of its file for the end: every later read fails, too. So a full disk is not told to it. From the first
//! write on that finds no room, nothing reaches the file any more: it stays at the checkpoint before, whatever happens. What is
//! written meanwhile is kept here, read from here, and carried out in the same order, syncs included, once there is room. To
//! the file that is one slow disk; whether a checkpoint is on it is asked with [`super::checked::Checked::release`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// One page, shared between its order and its newest content.
pub(super) type Page = Arc<[u8]>;

#[derive(Clone, Debug)]
pub(super) enum Order {
    Page(u64, Page),
    /// A part of the header page, which is written in place.
    Header(u64, Arc<[u8]>),
    /// So many pages.
    Length(u64),
    Sync,
}

#[derive(Debug)]
pub(super) struct Withheld {
    orders: VecDeque<Order>,
    newest: BTreeMap<u64, Page>,
    /// Pages that the file has as redb sees it.
    pages: u64,
}

impl Withheld {
    pub fn new(pages: u64) -> Withheld {
        Withheld { orders: VecDeque::new(), newest: BTreeMap::new(), pages }
    }

    pub fn pages(&self) -> u64 {
        self.pages
    }
    pub fn page(&self, page: u64) -> Option<Page> {
        self.newest.get(&page).cloned()
    }

    pub fn write(&mut self, page: u64, data: &[u8]) {
        let data: Page = data.into();
        self.newest.insert(page, data.clone());
        self.orders.push_back(Order::Page(page, data));
    }

    /// `whole` is the header page as it is with this.
    pub fn write_header(&mut self, offset: u64, data: &[u8], whole: Page) {
        self.newest.insert(0, whole);
        self.orders.push_back(Order::Header(offset, data.into()));
    }

    pub fn set_len(&mut self, pages: u64) {
        self.newest.split_off(&pages);
        self.pages = pages;
        self.orders.push_back(Order::Length(pages));
    }

    pub fn sync(&mut self) {
        if !matches!(self.orders.back(), Some(Order::Sync)) {
            self.orders.push_back(Order::Sync);
        }
    }

    pub fn first(&self) -> Option<Order> {
        self.orders.front().cloned()
    }

    /// The first order was carried out. True when it was the last one.
    pub fn carried_out(&mut self) -> bool {
        if let Some(Order::Page(page, data)) = self.orders.pop_front()
            && self.newest.get(&page).is_some_and(|newest| Arc::ptr_eq(newest, &data))
        {
            self.newest.remove(&page);
        }
        self.orders.is_empty()
    }
}
