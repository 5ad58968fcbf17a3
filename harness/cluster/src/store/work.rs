//! Counts what the store does for a test, which runs on one thread.

use std::cell::Cell;

/// What was done since the counting began.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub(crate) struct Work {
    /// Objects handed out.
    pub(crate) read: usize,
    /// Objects brought into their typed form.
    pub(crate) parsed: usize,
    /// Objects written as text.
    pub(crate) written: usize,
}

thread_local! {
    static WORK: Cell<Work> = Cell::default();
}

pub(super) fn count_read(objects: usize) {
    count(|work| work.read += objects);
}

pub(super) fn count_parsed() {
    count(|work| work.parsed += 1);
}

pub(super) fn count_written() {
    count(|work| work.written += 1);
}

fn count(raise: impl FnOnce(&mut Work)) {
    let mut work = WORK.get();
    raise(&mut work);
    WORK.set(work);
}

/// Takes the counts, and begins anew.
pub(crate) fn take() -> Work {
    WORK.take()
}
