//! marketing gives a coupon for each order that was delivered, when it finds the time.

pub mod adapters;
pub mod campaign;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;
