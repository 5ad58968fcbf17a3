//! The list of all checks, one file per group.

use crate::check::Check;

mod api;
mod hpa;
mod job;
mod pod;
mod rollout;
mod service;

/// Every check, by number.
pub fn all() -> Vec<&'static Check> {
    let groups = [
        rollout::CHECKS,
        pod::CHECKS,
        service::CHECKS,
        hpa::CHECKS,
        api::CHECKS,
        job::CHECKS,
    ];
    let mut checks: Vec<&Check> = groups.into_iter().flatten().collect();
    checks.sort_by_key(|check| check.number);
    checks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;

    #[test]
    fn no_two_checks_have_the_same_number() {
        let numbers: BTreeSet<u16> = all().iter().map(|check| check.number).collect();
        assert_eq!(numbers.len(), all().len());
    }
}
