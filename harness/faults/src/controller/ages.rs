//! How long faults have been known, by a clock that nobody sets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::ResourceExt;
use tokio::time::Instant;

use crate::injection::FaultInjection;

/// When each fault was first seen, by the UIDs of their objects.
#[derive(Debug, Default)]
pub(super) struct Ages(Mutex<HashMap<String, Instant>>);

impl Ages {
    /// When it was first seen: now, if it was not before.
    pub(super) fn see(&self, injection: &FaultInjection) -> Instant {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = injection.uid().unwrap_or_default();
        *seen.entry(uid).or_insert_with(Instant::now)
    }
}
