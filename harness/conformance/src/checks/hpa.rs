//! Checks of HorizontalPodAutoscalers, and of the metrics they go by.

use std::time::Duration;

use crate::check::{Check, Group, Load};

mod measured;
mod scaling;
mod stage;
mod tolerance;

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 40,
        group: Group::Hpa,
        title: "Scaling out",
        expected: "target 50 %, 26m of 30m used by 1 ready pod: 2 replicas within 60 s",
        about: Duration::from_secs(40),
        load: Load::Light,
        run: |context| Box::pin(scaling::out(context)),
    },
    Check {
        number: 41,
        group: Group::Hpa,
        title: "Tolerance",
        expected: "target 100 %, 3 pods: 3 replicas below 110 %, 4 above",
        about: Duration::from_secs(80),
        load: Load::Light,
        run: |context| Box::pin(tolerance::tolerance(context)),
    },
    Check {
        number: 42,
        group: Group::Hpa,
        title: "Scaling in",
        expected: "300 s after the last decision under load, not before",
        about: Duration::from_secs(410),
        load: Load::Light,
        run: |context| Box::pin(scaling::stabilization(context)),
    },
    Check {
        number: 43,
        group: Group::Hpa,
        title: "No request",
        expected: "measured pods: ScalingActive=False, FailedGetResourceMetric; kubectl shows <unknown>",
        about: Duration::from_secs(45),
        load: Load::Light,
        run: |context| Box::pin(scaling::no_request(context)),
    },
    Check {
        number: 44,
        group: Group::Hpa,
        title: "No overshoot",
        expected: "new pods that are not ready: at most max(2·current, 4) at a step, 8 in all",
        about: Duration::from_secs(110),
        load: Load::Light,
        run: |context| Box::pin(scaling::no_overshoot(context)),
    },
];
