//! What connects auditor to the outside world.

pub mod http;
pub mod services;
