//! Faults and observation against a cluster without a node: the tests play the kubelet.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod cluster;
mod controller;
mod kinds;
mod observer;
mod safety;
mod scale;
