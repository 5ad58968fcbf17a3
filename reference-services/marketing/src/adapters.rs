//! Marketing's connections to the outside: HTTP and events in front, plain files behind.

pub mod events;
pub mod files;
pub mod http;
