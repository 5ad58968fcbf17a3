//! Autoscaling: the options it has in common with measuring.

mod options;

pub use options::AutoscalingOptions;
