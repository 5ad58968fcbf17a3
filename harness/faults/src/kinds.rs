//! One file per fault: check, undo, inject, recover, difference.

pub(crate) mod scale;
