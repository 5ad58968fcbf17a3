//! Checks of EndpointSlices, and of the proxy as a client within the cluster meets it.

use std::time::Duration;

use crate::check::{Check, Group, Load};

mod endpoints;
mod rollouts;
mod stage;
mod traffic;

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 34,
        group: Group::Service,
        title: "A terminating endpoint",
        expected: "while its probe still passes: ready=false serving=true terminating=true",
        about: Duration::from_secs(8),
        load: Load::Light,
        run: |context| Box::pin(endpoints::terminating(context)),
    },
    Check {
        number: 35,
        group: Group::Service,
        title: "The last pods drain",
        expected: "scaled to 0 with preStop sleep 3: no failure while draining, then refused in < 100 ms",
        about: Duration::from_secs(12),
        load: Load::Heavy,
        run: |context| Box::pin(traffic::draining(context)),
    },
    Check {
        number: 36,
        group: Group::Service,
        title: "Fair share",
        expected: "4 pods, 4000 new connections: 20 to 30 % for each",
        about: Duration::from_secs(50),
        load: Load::Heavy,
        run: |context| Box::pin(traffic::fair_share(context)),
    },
    Check {
        number: 37,
        group: Group::Service,
        title: "Keep-alive",
        expected: "a connection survives its pod leaving the EndpointSlice",
        about: Duration::from_secs(25),
        load: Load::Light,
        run: |context| Box::pin(traffic::keep_alive(context)),
    },
    Check {
        number: 38,
        group: Group::Service,
        title: "Rollouts under load",
        expected: "5 of them: failures when pods exit at once, none with preStop sleep 5 and draining",
        about: Duration::from_secs(20),
        load: Load::Heavy,
        run: |context| Box::pin(rollouts::under_load(context)),
    },
    Check {
        number: 39,
        group: Group::Service,
        title: "A slow start",
        expected: "listening after 5 s: failures in a rollout without readiness probe, none with one",
        about: Duration::from_secs(25),
        load: Load::Heavy,
        run: |context| Box::pin(rollouts::slow_start(context)),
    },
];
