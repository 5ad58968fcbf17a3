//! Several processes that send one load: this very program as `holdfast load-worker`.

use std::ffi::OsString;
use std::sync::Arc;

use holdfast_core::plan::LoadPlan;
use holdfast_load::workers::{self, Crew, MusterError, MusterOptions, Processes};

use crate::cluster::own_program;
use crate::failure::{Failure, chain};
use crate::progress::{Step, Verbosity};
use crate::site::Site;

/// The subcommand under which this program is a worker.
const LOAD_WORKER: &str = "load-worker";

/// Starts as many workers as the plan asks for, and waits until they stand ready.
pub(crate) async fn muster(
    plan: &LoadPlan,
    target_url: &str,
    site: Option<&Site>,
    verbosity: Verbosity,
) -> Result<Crew, Failure> {
    let launcher = Processes {
        program: own_program()?.into(),
        arguments: vec![OsString::from(LOAD_WORKER)],
    };
    let options = MusterOptions {
        routes: site.map(Site::routes),
        ..MusterOptions::on_this_machine(Arc::new(launcher))
    };
    let step = Step::begin(verbosity, "starting the load workers");
    let progress = |text: &str| step.update(text.to_owned());
    let mustered = workers::muster(plan, target_url, &options, &progress).await;
    mustered.map_err(|error| failure(&error))
}

fn failure(error: &MusterError) -> Failure {
    if error.is_of_the_load() {
        Failure::input(chain(error))
    } else {
        Failure::carrying_out(chain(error))
    }
}
