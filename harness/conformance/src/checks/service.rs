//! Checks about Services.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
