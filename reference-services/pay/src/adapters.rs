//! Pay's connections to the outside: HTTP in front, SQL and events behind.

pub mod events;
pub mod grpc;
pub mod http;
pub mod sql;
