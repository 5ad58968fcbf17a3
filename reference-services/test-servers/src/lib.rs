//! Private servers for tests. Databases: PostgreSQL and MariaDB, each in a temporary folder, reached
//! over a Unix socket, and gone with the process that started it, however that ends. They can be
//! killed and started again on the same data. And our own services, as processes.

mod broker;
mod programs;
mod server;
mod service;

pub use broker::broker_program;
pub use server::{Kind, Server};
pub use service::{Ended, Service};
