//! What does harm inside a cluster: one program that runs in a pod of its own, in one of several
//! modes.
//!
//! | mode | what it breaks | what ends it if the agent dies |
//! |---|---|---|
//! | `proxy` | the way to a Service | the kernel: its connections are closed |
//! | `freeze` | the processes of a pod | a watcher that the agent starts beforehand |
//! | `cpu` | the processor of a node | the kernel: its threads are gone |
//! | `memory` | the memory of a node | the kernel: its memory is freed |
//! | `disk` | a file system of a pod | the kernel: the file never had a name |
//!
//! Whatever happens, the harm ends at the moment given by `--until`. The agent talks to no API and
//! knows nothing of experiments: everything is in its arguments, and what it did is at `/status`.

mod arguments;
mod cpu;
mod deadline;
mod disk;
mod error;
mod freeze;
mod machine_memory;
mod memory;
mod pod;
mod process;
mod proxy;
mod quantity;
mod session;
mod status;

pub use arguments::Arguments;
pub use error::Error;

use arguments::Mode;

/// Does the harm that `arguments` describe until it is over. Must run on a runtime with more than
/// one thread: what looks at processes does not give way to others.
///
/// Returns when the harm is undone; a proxy goes on without faults until it is asked to end.
///
/// # Errors
///
/// When the harm could not be begun, or not be undone; nothing is left in the first case.
pub async fn run(arguments: Arguments) -> Result<(), Error> {
    match arguments.mode {
        Mode::Proxy(options) => proxy::run(options).await,
        Mode::Freeze(options) => freeze::run(options).await,
        Mode::Cpu(options) => cpu::run(options).await,
        Mode::Memory(options) => memory::run(options).await,
        Mode::Disk(options) => disk::run(options).await,
        Mode::Watch => freeze::watch(),
    }
}
