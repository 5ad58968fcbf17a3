//! App's connections to the outside: HTTP in front, SQL, the pay service and events behind.

mod cause;
pub mod costs;
pub mod events;
pub mod http;
pub mod pay;
pub mod retries;
pub mod sql;
