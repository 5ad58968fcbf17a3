//! The local cluster as its users see it: over the API and with kubectl.

mod api;
mod cluster;
mod kubectl;
mod node;
mod rollout;
