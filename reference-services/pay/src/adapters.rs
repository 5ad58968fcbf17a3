//! Pay's connections to the outside: HTTP in front, SQL behind.

pub mod grpc;
pub mod http;
pub mod sql;
