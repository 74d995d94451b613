use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seeds libtorch's generator, of which the whole process has one, and holds it: trainings in
/// several threads take turns at it, epoch by epoch, so that none draws from another's seed.
pub fn seeded(seed: i64) -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed);
    turn
}
