//! App's connections to the outside: HTTP in front, SQL and the pay service behind.

pub mod costs;
pub mod http;
pub mod pay;
pub mod sql;
