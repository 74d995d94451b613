use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
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

/// Runs a long call on a thread of its own, without the GIL, and hears Ctrl-C meanwhile. The call
/// is then told to stop, and Ctrl-C raised when it has.
pub(crate) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    call: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> PyResult<T> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let mut worker = Worker::start(move || call(&stopped));
    match worker.listen(py) {
        Err(raised) => {
            stop.store(true, Ordering::Relaxed);
            py.detach(|| worker.wait());
            Err(raised)
        }
        done => done,
    }
}

/// The same for a call that changes nothing and cannot be told: Ctrl-C is raised at once, and the
/// call works on until it ends by itself.
pub(crate) fn abandonable<T: Send + 'static>(
    py: Python<'_>,
    call: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    Worker::start(call).listen(py)
}

/// A call on a thread of its own.
struct Worker<T> {
    answer: Receiver<thread::Result<T>>,
}

impl<T: Send + 'static> Worker<T> {
    fn start(call: impl FnOnce() -> T + Send + 'static) -> Self {
        let (done, answer) = channel();
        thread::spawn(move || {
            let told = catch_unwind(AssertUnwindSafe(|| pooled(call)));
            // Nobody listens to one that was abandoned.
            let _ = done.send(told);
        });
        Self { answer }
    }

    /// Waits for the answer, or for Ctrl-C.
    fn listen(&mut self, py: Python<'_>) -> PyResult<T> {
        loop {
            let answer = &mut self.answer;
            match py.detach(move || answer.recv_timeout(LISTEN)) {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(panic)) => resume_unwind(panic),
                Err(_) => py.check_signals()?,
            }
        }
    }

    /// Waits for its end, whatever that is.
    fn wait(&mut self) {
        let _ = self.answer.recv();
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
