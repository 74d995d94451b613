//! Handles: tickets for what C has opened.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::status::{Failure, Result, Status};

/// Everything of one type that is open, by ticket.
///
/// A ticket is typed as a pointer, so that C compilers tell one type from another, but it is a
/// number that no other handle of the process has or had. A call that runs keeps what it works
/// on, whoever closes it meanwhile.
pub(crate) struct Table<T> {
    what: &'static str,
    open: RwLock<BTreeMap<usize, Arc<T>>>,
}

impl<T> Table<T> {
    pub(crate) const fn new(what: &'static str) -> Self {
        let open = RwLock::new(BTreeMap::new());
        Self { what, open }
    }

    pub(crate) fn open(&self, value: T) -> *const T {
        static TICKETS: AtomicUsize = AtomicUsize::new(1);
        let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(ticket, Arc::new(value));
        ptr::without_provenance(ticket)
    }

    pub(crate) fn get(&self, handle: *const T) -> Result<Arc<T>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let value = open.get(&handle.addr()).cloned();
        value.ok_or_else(|| self.unknown(handle))
    }

    /// [`get`](Self::get), where null stands for none.
    pub(crate) fn find(&self, handle: *const T) -> Result<Option<Arc<T>>> {
        match handle.is_null() {
            true => Ok(None),
            false => self.get(handle).map(Some),
        }
    }

    /// Closes a handle; null is closed already.
    pub(crate) fn close(&self, handle: *const T) -> Result<()> {
        if handle.is_null() {
            return Ok(());
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let closed = open.remove(&handle.addr());
        // What takes time to drop, as a mapped file, holds nobody up.
        drop(open);
        closed.map(drop).ok_or_else(|| self.unknown(handle))
    }

    fn unknown(&self, handle: *const T) -> Failure {
        let what = self.what;
        if handle.is_null() {
            return Failure::null(what);
        }
        let message =
            format!("{what}: the handle {handle:p} is closed, or is that of something else");
        Failure::new(Status::Closed, message)
    }
}
