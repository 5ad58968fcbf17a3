//! What each kind of fault does, worked out against the cluster as it is: one file per fault.

use holdfast_core::fault::Fault;

use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;

mod scale;
mod workload;

pub(crate) async fn blueprint(fault: &Fault, context: Context<'_>) -> Result<Blueprint, FaultError> {
    match fault {
        Fault::Scale(scale) => scale::blueprint(scale, context).await,
    }
}
