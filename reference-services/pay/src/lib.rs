//! pay takes the money for an order, exactly once however often it is asked.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;
