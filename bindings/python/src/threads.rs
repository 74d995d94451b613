use std::process;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pyo3::Python;
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
    py.detach(|| match IMPORTED_IN.get() == Some(&process::id()) {
        true => call(),
        false => forked().install(call),
    })
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
