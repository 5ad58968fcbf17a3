//! The load driver against a server with its own ledger.

mod load;
mod outcomes;
mod server;
