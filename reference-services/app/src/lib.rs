//! app takes orders for food. An order is accepted only when it is paid.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;
