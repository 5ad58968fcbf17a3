//! Customer's connections to the outside: HTTP and events in front, a key-value store behind.

pub mod events;
pub mod http;
pub mod kv;
