//! Private database servers for tests: PostgreSQL and MariaDB, each in a temporary folder, reached
//! over a Unix socket, and gone with the process that started it, however that ends. They can be
//! killed and started again on the same data.

mod programs;
mod server;

pub use server::{Kind, Server};
