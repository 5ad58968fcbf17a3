//! Private database servers for tests: PostgreSQL and MariaDB, each in a temporary folder, reached
//! over a Unix socket, and gone with the process that started it, however that ends. They can be
//! killed and started again on the same data.

mod broker;
mod programs;
mod server;

pub use broker::broker_program;
pub use server::{Kind, Server};
