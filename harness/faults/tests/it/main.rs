//! Faults and observation against a cluster without a node: the tests play the kubelet.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod catalogue;
mod cluster;
mod cluster_lock;
mod conditions;
mod controller;
mod early;
mod http;
mod kinds;
mod lock;
mod observer;
mod radius;
mod residue;
mod rules;
mod safety;
mod scale;
mod throttle;
