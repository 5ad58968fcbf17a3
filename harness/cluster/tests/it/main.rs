//! The local cluster as its users see it: over the API and with kubectl.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod api;
mod apply;
mod autoscalers;
mod bad_input;
mod cluster;
mod custom;
mod eviction;
mod kubectl;
mod node;
mod rollout;
mod service_ports;
