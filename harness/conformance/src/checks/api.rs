//! Checks of the API server, and of kubectl in front of it.

use std::time::Duration;

use crate::check::{Check, Group, Load};

mod deletion;
mod expiry;
mod golden;
mod writes;

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 45,
        group: Group::Api,
        title: "Updates",
        expected: "a stale PUT is a 409; kubectl apply again says unchanged, and removes what it no longer has",
        about: Duration::from_secs(8),
        load: Load::Light,
        run: |context| Box::pin(writes::updates(context)),
    },
    Check {
        number: 46,
        group: Group::Api,
        title: "Server-side apply",
        expected: "a field dropped by its manager goes; a claim by another is a 409, and by force a change of owner",
        about: Duration::from_secs(2),
        load: Load::Light,
        run: |context| Box::pin(writes::server_side_apply(context)),
    },
    Check {
        number: 47,
        group: Group::Api,
        title: "An expired version",
        expected: "a watch from it gets an ERROR event with code 410, and kube's watcher lists again",
        about: Duration::from_secs(40),
        load: Load::Heavy,
        run: |context| Box::pin(expiry::expired_version(context)),
    },
    Check {
        number: 48,
        group: Group::Api,
        title: "Deletion of a Deployment",
        expected: "Background removes ReplicaSet and pods, Orphan keeps them",
        about: Duration::from_secs(12),
        load: Load::Light,
        run: |context| Box::pin(deletion::propagation(context)),
    },
    Check {
        number: 49,
        group: Group::Api,
        title: "kubectl",
        expected: "every command ends with 0 and shows the columns it should",
        about: Duration::from_secs(70),
        load: Load::Light,
        run: |context| Box::pin(golden::commands(context)),
    },
];
