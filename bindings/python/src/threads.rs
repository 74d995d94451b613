use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use std::{process, thread};

use pyo3::{PyResult, Python};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The process that imported the module.
static IMPORTED_IN: OnceLock<u32> = OnceLock::new();

/// Remembers the process, as rayon's own threads are in no process that is forked from it.
pub(crate) fn imported() {
    IMPORTED_IN.get_or_init(process::id);
}

/// Runs a long call without the GIL.
///
/// In a forked process, as of a data loader's worker, it gets threads that are there.
pub(crate) fn detached<T: Send>(py: Python<'_>, call: impl FnOnce() -> T + Send) -> T {
    py.detach(|| pooled(call))
}

/// How often a long call is looked away from, to hear Ctrl-C.
const LISTEN: Duration = Duration::from_millis(50);

/// Runs a long call on a thread of its own, without the GIL, and hears Ctrl-C meanwhile: it raises
/// at once, and the call learns that it shall stop.
pub(crate) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    call: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> PyResult<T> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let (done, mut answer) = channel();
    let worker = thread::spawn(move || {
        // Nobody listens after Ctrl-C.
        let _ = done.send(pooled(|| call(&stopped)));
    });
    loop {
        // Another thread may wait for it, but not two at a time.
        let answer = &mut answer;
        match py.detach(move || answer.recv_timeout(LISTEN)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals()
                    .inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            }
            Err(RecvTimeoutError::Disconnected) => {
                let panic = worker
                    .join()
                    .expect_err("a thread that ends without an answer");
                std::panic::resume_unwind(panic)
            }
        }
    }
}

fn pooled<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    match IMPORTED_IN.get() == Some(&process::id()) {
        true => call(),
        false => forked().install(call),
    }
}

/// The threads of this forked process.
fn forked() -> Arc<ThreadPool> {
    static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, pool)) = &*pool
        && *of == process::id()
    {
        return pool.clone();
    }
    let threads = ThreadPoolBuilder::new().build();
    let own = Arc::new(threads.expect("the system has threads to give"));
    // A parent's pool has no threads here that could be waited for.
    std::mem::forget(pool.replace((process::id(), own.clone())));
    own
}
