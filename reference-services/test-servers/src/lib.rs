//! Private servers for tests. Databases: PostgreSQL and MariaDB, each in a temporary folder, reached
//! over a Unix socket, and gone with the process that started it, however that ends. They can be
//! killed and started again on the same data. Our own services, as processes. A collector of the
//! traces that these tell. And an address at which nobody listens.

mod broker;
mod collector;
mod nowhere;
mod programs;
mod server;
mod service;

pub use broker::broker_program;
pub use collector::{Collector, ToldSpan};
pub use nowhere::Nowhere;
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
pub use server::{Kind, Server};
pub use service::{Ended, Service};
