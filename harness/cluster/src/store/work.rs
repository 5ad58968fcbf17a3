//! Counts what the store does for a test, which runs on one thread.

use std::cell::Cell;

/// What was done since the counting began.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub(crate) struct Work {
    /// Objects handed out.
    pub(crate) read: usize,
    /// Objects brought into their typed form.
    pub(crate) parsed: usize,
}

thread_local! {
    static WORK: Cell<Work> = const { Cell::new(Work { read: 0, parsed: 0 }) };
}

pub(super) fn count_read(objects: usize) {
    WORK.with(|work| {
        let so_far = work.get();
        work.set(Work {
            read: so_far.read + objects,
            ..so_far
        });
    });
}

pub(super) fn count_parsed() {
    WORK.with(|work| {
        let so_far = work.get();
        work.set(Work {
            parsed: so_far.parsed + 1,
            ..so_far
        });
    });
}

/// Takes the counts, and begins anew.
pub(crate) fn take() -> Work {
    WORK.take()
}
