//! Checks of the API server, and of kubectl in front of it.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
