//! The beams of one request, for a server that owns the loop.

use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trie_decode::{DecodeSession, SessionParams};

use crate::filter::{FILTERS, Filter};
use crate::handle::Table;
use crate::index::{INDEXES, Index, Trie};
use crate::memory::{self, Versioned};
use crate::status::{Result, Status, guard};
use crate::tokens::{TOKENS, Tokens};

/// Beams of one request. The server draws the tokens and moves its caches; the session tells which
/// tokens may come, and which items came out.
///
/// Each beam goes from `SEMID_PHASE_INACTIVE` over `SEMID_PHASE_ACTIVE` to `SEMID_PHASE_DONE`, at
/// its own pace. In the beginning there is one.
#[derive(Debug)]
pub struct Session {
    fresh: Beams,
    now: Mutex<Beams>,
}

type Beams = DecodeSession<Arc<Trie>>;

static SESSIONS: Table<Session> = Table::new("session");

/// Where a beam is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// In free text, before the trigger; every token may come.
    Inactive = 0,
    /// In an item.
    Active = 1,
    /// Behind an item; only end tokens may come.
    Done = 2,
}

/// What a session is told. Zeros are the defaults.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    /// `sizeof(SemidSessionOptions)`.
    pub struct_size: usize,
    /// The items that may be given; null is all.
    pub filter: *const Filter,
    /// The tokens after which an item begins, whatever came before them. Without any it begins
    /// after the token before IDs (see `semid_tokens_between`), else at once.
    pub trigger: *const u32,
    /// Their number.
    pub trigger_length: usize,
    /// The tokens that may follow an item, as the end of the text. Without any it is the token
    /// after IDs, if there is one.
    pub end: *const u32,
    /// Their number.
    pub end_length: usize,
    /// Steps that can be taken back; 0 is 64.
    pub rollback: usize,
}

// SAFETY: every field is a pointer or a `usize`.
unsafe impl Versioned for SessionOptions {}

/// Begins a session. `options` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_session_open(
    index: *const Index,
    tokens: *const Tokens,
    options: *const SessionOptions,
    session: Option<&mut MaybeUninit<*const Session>>,
) -> Status {
    guard(|| {
        let (index, tokens) = (INDEXES.get(index)?, TOKENS.get(tokens)?);
        // SAFETY: the caller's promise.
        let (options, trigger, end) = unsafe {
            let options = memory::options("options", options)?;
            let SessionOptions {
                trigger,
                trigger_length,
                end,
                end_length,
                ..
            } = options;
            let trigger = memory::array("trigger", trigger, trigger_length)?;
            (options, trigger, memory::array("end", end, end_length)?)
        };
        let mut params = SessionParams::new(&tokens.0);
        if !trigger.is_empty() {
            params.trigger = trigger.to_vec();
        }
        if !end.is_empty() {
            params.end = end.to_vec();
        }
        if options.rollback > 0 {
            params.rollback = options.rollback;
        }
        let config = params.check(&tokens.0)?;
        let filter = FILTERS.find(options.filter)?.map(|filter| filter.0.clone());
        let beams =
            DecodeSession::new(Arc::clone(&index.0), Arc::clone(&tokens.0), filter, config)?;
        give(Session::new(beams.fork(), beams), session)
    })
}

/// A copy that goes its own way, history included.
#[unsafe(no_mangle)]
pub extern "C" fn semid_session_fork(
    session: *const Session,
    fork: Option<&mut MaybeUninit<*const Session>>,
) -> Status {
    guard(|| {
        let session = SESSIONS.get(session)?;
        let now = session.now().fork();
        give(Session::new(session.fresh.fork(), now), fork)
    })
}

/// Closes a session; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn semid_session_close(session: *const Session) -> Status {
    guard(|| SESSIONS.close(session))
}

/// Goes back to the beginning, for another text.
#[unsafe(no_mangle)]
pub extern "C" fn semid_session_reset(session: *const Session) -> Status {
    guard(|| {
        let session = SESSIONS.get(session)?;
        *session.now() = session.fresh.fork();
        Ok(())
    })
}

/// Moves on by a token a beam: the new beam `i` is the old beam `parents[i]` with `tokens[i]` after
/// it. There may be more or fewer beams than before. Without `parents` (null) each goes on as it
/// is. `SEMID_STATUS_FORBIDDEN` if a mask does not allow its token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_session_advance(
    session: *const Session,
    parents: *const u32,
    tokens: *const u32,
    count: usize,
) -> Status {
    guard(|| {
        let session = SESSIONS.get(session)?;
        // SAFETY: the caller's promise.
        let tokens = unsafe { memory::array("tokens", tokens, count) }?;
        let mut now = session.now();
        if parents.is_null() {
            let same: Vec<u32> = (0..now.phases().len() as u32).collect();
            return Ok(now.advance(&same, tokens)?);
        }
        // SAFETY: the same.
        let parents = unsafe { memory::array("parents", parents, count) }?;
        Ok(now.advance(parents, tokens)?)
    })
}

/// Takes back the last `steps` calls of `semid_session_advance`.
#[unsafe(no_mangle)]
pub extern "C" fn semid_session_rollback(session: *const Session, steps: usize) -> Status {
    guard(|| Ok(SESSIONS.get(session)?.now().rollback(steps)?))
}

/// Tells how many beams there are.
#[unsafe(no_mangle)]
pub extern "C" fn semid_session_beams(
    session: *const Session,
    beams: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        let count = SESSIONS.get(session)?.now().phases().len();
        memory::needed("beams", beams)?.write(count);
        Ok(())
    })
}

/// Tells where a beam is.
#[unsafe(no_mangle)]
pub extern "C" fn semid_session_phase(
    session: *const Session,
    beam: usize,
    phase: Option<&mut MaybeUninit<Phase>>,
) -> Status {
    guard(|| {
        let at = SESSIONS.get(session)?.now().phase(beam)?;
        memory::needed("phase", phase)?.write(match at {
            trie_decode::Phase::Inactive { .. } => Phase::Inactive,
            trie_decode::Phase::Active(_) => Phase::Active,
            trie_decode::Phase::Done(_) => Phase::Done,
        });
        Ok(())
    })
}

/// Writes the mask of a beam, a row of `semid_mask_words` words. On an error all bits are 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_session_fill_mask(
    session: *const Session,
    beam: usize,
    row: *mut u32,
    words: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let row = unsafe { memory::zeros("row", row, words) }?;
        Ok(SESSIONS.get(session)?.now().fill_mask(beam, row)?)
    })
}

/// Gives the items of a beam: none if it is not done, several where items share an ID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_session_items(
    session: *const Session,
    beam: usize,
    items: *mut u32,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        let session = SESSIONS.get(session)?;
        let finished = {
            let now = session.now();
            now.phase(beam)?;
            now.finish()?.swap_remove(beam)
        };
        // SAFETY: the caller's promise.
        unsafe { memory::give(finished.iter().map(|item| item.0), items, capacity, length) }
    })
}

impl Session {
    fn new(fresh: Beams, now: Beams) -> Self {
        let now = Mutex::new(now);
        Self { fresh, now }
    }

    /// A step that panicked has changed nothing.
    fn now(&self) -> MutexGuard<'_, Beams> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn give(session: Session, to: Option<&mut MaybeUninit<*const Session>>) -> Result<()> {
    memory::needed("session", to)?.write(SESSIONS.open(session));
    Ok(())
}
