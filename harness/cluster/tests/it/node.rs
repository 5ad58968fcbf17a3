//! Pods as processes, seen through the API and by talking to them.

mod autoscaling;
mod endings;
mod failures;
mod golden;
mod host_processes;
mod jobs;
mod life;
mod logs;
mod node_object;
mod sandboxes;
mod services;
mod stage;
mod survival;
