//! What clients see of a rollout.
//!
//! A connection that is not answered in time may be lost, or the machine may have been busy for as
//! long. What a client counts whose pods stay tells the one from the other.

use std::future::Future;

use serde_json::{Value, json};

use super::stage::{Prober, deploy, failures, roll, service};
use crate::check::{Finding, Shortfall, verdict};
use crate::context::{Context, readiness_probe};
use crate::value::merged;
use crate::victim::Counts;

const ROLLOUTS: u32 = 5;

pub(super) async fn under_load(context: Context) -> Finding {
    let abrupt = merged(
        context.victim(&["--on-term", "exit"]),
        json!({"readinessProbe": readiness_probe()}),
    );
    let graceful = merged(
        context.victim(&["--on-term", "drain:5s"]),
        json!({
            "readinessProbe": readiness_probe(),
            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        }),
    );
    let clients = beside_a_control(
        &context,
        failures_of_rollouts(&context, "abrupt", abrupt, ROLLOUTS),
        failures_of_rollouts(&context, "graceful", graceful, ROLLOUTS),
    )
    .await?;
    clients.judge(format!(
        "exit at once: {} of {}; drained: {} of {}",
        failures(&clients.careless),
        clients.careless.failures() + clients.careless.answers(),
        failures(&clients.careful),
        clients.careful.failures() + clients.careful.answers(),
    ))
}

pub(super) async fn slow_start(context: Context) -> Finding {
    let container = context.victim(&["--boot-delay", "5s", "--on-term", "drain:2s"]);
    // The old pod must serve until the proxies know the new one, in both cases.
    let container = merged(
        container,
        json!({"lifecycle": {"preStop": {"sleep": {"seconds": 3}}}}),
    );
    let probed = merged(
        container.clone(),
        json!({"readinessProbe": readiness_probe()}),
    );
    let clients = beside_a_control(
        &context,
        failures_of_rollouts(&context, "blind", container, 1),
        failures_of_rollouts(&context, "probed", probed, 1),
    )
    .await?;
    clients.judge(format!(
        "without probe: {}; with: {}",
        failures(&clients.careless),
        failures(&clients.careful)
    ))
}

/// What clients counted.
struct Clients {
    /// Of rollouts that lose connections.
    careless: Counts,
    /// Of rollouts that should lose none.
    careful: Counts,
    /// Of pods that stay.
    control: Counts,
}

impl Clients {
    fn judge(&self, observed: String) -> Finding {
        let control = self.control.failures();
        let as_expected = self.careless.failures() > control && self.careful.failures() == 0;
        if !as_expected && control > 0 {
            let stay = failures(&self.control);
            let reason = format!("{observed}; but pods that stay did not answer either: {stay}");
            return Err(Shortfall::Skipped(reason));
        }
        verdict(as_expected, observed)
    }
}

/// Runs both, and beside them a client of pods that stay.
async fn beside_a_control(
    context: &Context,
    careless: impl Future<Output = Result<Counts, Shortfall>>,
    careful: impl Future<Output = Result<Counts, Shortfall>>,
) -> Result<Clients, Shortfall> {
    let target = service(context, "control").await?;
    let container = merged(
        context.victim(&[]),
        json!({"readinessProbe": readiness_probe()}),
    );
    deploy(context, "control", container, json!({"replicas": 2})).await?;
    let control = Prober::start(context, "control-probe", &target, &[]).await?;
    let (careless, careful) = tokio::try_join!(careless, careful)?;
    Ok(Clients {
        careless,
        careful,
        control: control.finish(context).await?,
    })
}

/// What a client counts from the time when everything works, through some rollouts.
async fn failures_of_rollouts(
    context: &Context,
    part: &str,
    container: Value,
    rollouts: u32,
) -> Result<Counts, Shortfall> {
    let target = service(context, part).await?;
    let spec = json!({
        "replicas": 2,
        "template": {"spec": {"terminationGracePeriodSeconds": 30}},
    });
    deploy(context, part, container, spec).await?;
    let client = format!("{part}-probe");
    let prober = Prober::start(context, &client, &target, &[]).await?;
    for version in 0..rollouts {
        roll(context, part, version).await?;
    }
    // The last pods may still be terminating, and serving.
    let then = prober.counts().connections;
    let settled = |counts: &Counts| counts.connections >= then + 100;
    prober.until("the prober goes on", settled).await?;
    prober.finish(context).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(timeouts: u64) -> Counts {
        let mut counts = Counts::default();
        if timeouts > 0 {
            counts.failed.insert("timeout".to_owned(), timeouts);
        }
        counts
    }

    #[test]
    fn a_machine_that_stalls_says_nothing_about_the_cluster() {
        let judged = |careless, careful, control| {
            let clients = Clients {
                careless: counts(careless),
                careful: counts(careful),
                control: counts(control),
            };
            clients.judge(String::new())
        };
        assert!(judged(9, 0, 0).is_ok());
        assert!(judged(9, 0, 2).is_ok());
        assert!(matches!(judged(9, 1, 0), Err(Shortfall::Failed(_))));
        assert!(matches!(judged(9, 1, 2), Err(Shortfall::Skipped(_))));
        assert!(matches!(judged(2, 0, 2), Err(Shortfall::Skipped(_))));
        assert!(matches!(judged(0, 0, 0), Err(Shortfall::Failed(_))));
    }
}
