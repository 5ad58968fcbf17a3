//! The whole food-delivery system for tests and measurements: real processes, a real broker, and no
//! knowledge of any service but its public API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

pub mod customers;
pub mod system;
