//! The gateway's connections to the outside: HTTP in front, the upstreams behind.

pub mod correlation;
pub mod headers;
pub mod http;
pub mod oauth;
pub mod upstreams;
