//! Text to [`crate::experiment::Experiment`]: the only place that knows YAML.
