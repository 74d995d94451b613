//! Handles in the hands of many threads.
#![allow(unsafe_code, reason = "C calls")]

mod open;

use std::ffi::c_char;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use open::got;
use semantic_id::{Code, CodeMatrix, CodeSpace};
use semid::filter::{semid_filter_close, semid_filter_deny_keys};
use semid::index::{Index, semid_index_close, semid_index_rank};
use semid::session::{
    semid_session_advance, semid_session_close, semid_session_fork, semid_session_items,
    semid_session_open,
};
use semid::status::Status;
use semid::tokens::{semid_tokens_close, semid_tokens_ranges};

#[test]
fn threads_share_an_index_and_one_of_them_closes_it() {
    let index = Shared(index());
    let closed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let index = index.get();
                for item in 0..4 {
                    match got(|rank| semid_index_rank(index, item, rank)) {
                        Ok(rank) => assert_eq!(rank, item),
                        Err(error) => assert!(error.starts_with("Closed"), "{error}"),
                    }
                    // All but one come too late.
                    if item == 2 && semid_index_close(index) == Status::Ok {
                        closed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(closed.into_inner(), 1);
}

#[test]
fn forks_of_a_session_go_their_own_ways_on_their_own_threads() {
    let index = index();
    // SAFETY: one level, one key.
    let (tokens, filter) = unsafe {
        let key: *const c_char = c"k0".as_ptr();
        (
            got(|to| semid_tokens_ranges(index, &10, 1, 20, to)).unwrap(),
            got(|to| semid_filter_deny_keys(index, &key, 1, to)).unwrap(),
        )
    };
    let options = semid::session::SessionOptions {
        struct_size: size_of::<semid::session::SessionOptions>(),
        filter,
        trigger: ptr::null(),
        trigger_length: 0,
        end: ptr::null(),
        end_length: 0,
        rollback: 0,
    };
    // SAFETY: options as large as they say.
    let session = got(|to| unsafe { semid_session_open(index, tokens, &options, to) }).unwrap();
    let session = Shared(session);
    thread::scope(|scope| {
        for item in 0..4 {
            let session = &session;
            scope.spawn(move || {
                let fork = got(|to| semid_session_fork(session.get(), to)).unwrap();
                // SAFETY: one token.
                let status = unsafe { semid_session_advance(fork, ptr::null(), &(10 + item), 1) };
                let mut found = u32::MAX;
                // SAFETY: room for one item.
                let count = got(|to| unsafe { semid_session_items(fork, 0, &mut found, 1, to) });
                match item {
                    0 => assert_eq!((status, count), (Status::Forbidden, Ok(0))),
                    _ => assert_eq!((status, count, found), (Status::Ok, Ok(1), item)),
                }
                assert_eq!(semid_session_close(fork), Status::Ok);
            });
        }
    });
    assert_eq!(semid_session_close(session.get()), Status::Ok);
    assert_eq!(semid_filter_close(filter), Status::Ok);
    assert_eq!(semid_tokens_close(tokens), Status::Ok);
    assert_eq!(semid_index_close(index), Status::Ok);
}

/// Items `k0` to `k3` with the codes 0 to 3.
fn index() -> *const Index {
    let codes = CodeMatrix::new((0..4).map(Code).collect(), 1).unwrap();
    let keys: Vec<String> = (0..4).map(|item| format!("k{item}")).collect();
    open::open(&CodeSpace::uniform(1, 4).unwrap(), &codes, &keys, 1)
}

/// A handle, which is but a number.
struct Shared<T>(*const T);

// SAFETY: no handle is ever followed.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *const T {
        self.0
    }
}
