//! Store's connections to the outside: HTTP and events in front, SQL behind.

pub mod events;
pub mod http;
pub mod sql;
