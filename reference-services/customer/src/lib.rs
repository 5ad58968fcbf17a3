//! customer shows people what became of their orders, from what it heard alone: it asks nobody.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;
