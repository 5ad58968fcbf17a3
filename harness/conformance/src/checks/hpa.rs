//! Checks of HorizontalPodAutoscalers, and of the metrics they go by.

use std::time::Duration;

use crate::check::{Check, Group, Load};

mod scaling;

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 40,
        group: Group::Hpa,
        title: "Scaling out",
        expected: "target 50 %, 95m of 100m used by 1 pod: 2 replicas within 60 s",
        about: Duration::from_secs(65),
        load: Load::Light,
        run: |context| Box::pin(scaling::out(context)),
    },
    Check {
        number: 41,
        group: Group::Hpa,
        title: "Tolerance",
        expected: "target 100 %, 10 pods: 10 at 107 %, 12 at 114 %",
        about: Duration::from_secs(110),
        load: Load::Heavy,
        run: |context| Box::pin(scaling::tolerance(context)),
    },
    Check {
        number: 42,
        group: Group::Hpa,
        title: "Scaling in",
        expected: "when the load stops, not before 300 s",
        about: Duration::from_secs(450),
        load: Load::Light,
        run: |context| Box::pin(scaling::stabilization(context)),
    },
    Check {
        number: 43,
        group: Group::Hpa,
        title: "No request",
        expected: "ScalingActive=False, FailedGetResourceMetric; kubectl shows <unknown>",
        about: Duration::from_secs(45),
        load: Load::Light,
        run: |context| Box::pin(scaling::no_request(context)),
    },
    Check {
        number: 44,
        group: Group::Hpa,
        title: "No overshoot",
        expected: "new pods that are not ready: at most max(2·current, 4) at a step, 8 in all",
        about: Duration::from_secs(150),
        load: Load::Light,
        run: |context| Box::pin(scaling::no_overshoot(context)),
    },
];
