//! store cooks what is paid for and brings it to the customer, each order once.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod kitchen;
mod measurements;
pub mod ports;
pub mod service;
