//! The C library behind `rdkafka`, compiled with a C compiler alone. It has no word of Rust: who uses
//! `rdkafka` names this crate, so that it is linked. How and why: `build.rs`.
