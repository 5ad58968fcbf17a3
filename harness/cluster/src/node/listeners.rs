//! Finds containers that listen where they would get in the way of other pods.
//!
//! Pods share the machine's network, so a listener on `0.0.0.0` would take the same port away from
//! all other pods, or with `SO_REUSEPORT` silently share their traffic. One look at the machine
//! serves all containers.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::pod_shim;

mod sockets;

use sockets::{Listener, listeners};

/// What a container did that no pod may do here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offence {
    /// As in a container's status and in events.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The containers whose listeners are looked at. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    /// By the process from which all of a container's descend.
    containers: HashMap<u32, Container>,
    /// The sockets of the latest look, by inode, and whose they are: `None` for somebody else's. A
    /// socket does not change hands.
    known: HashMap<u64, (Listener, Option<u32>)>,
}

#[derive(Debug)]
struct Container {
    name: String,
    pod: Ipv4Addr,
    offence: Option<oneshot::Sender<Offence>>,
}

/// A container's place among those that are looked at, until this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    listeners: Listeners,
    shim: u32,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.listeners.lock().containers.remove(&self.shim);
    }
}

impl Listeners {
    /// From now on looks at a container. The receiver is told what it does wrong.
    pub(crate) fn register(
        &self,
        shim: u32,
        name: &str,
        pod: Ipv4Addr,
    ) -> (Registration, oneshot::Receiver<Offence>) {
        let (offence, receiver) = oneshot::channel();
        let container = Container {
            name: name.to_owned(),
            pod,
            offence: Some(offence),
        };
        let mut registry = self.lock();
        registry.containers.insert(shim, container);
        // It may have listened before it was known here.
        registry.known.retain(|_, (_, owner)| owner.is_some());
        drop(registry);
        let registration = Registration {
            listeners: self.clone(),
            shim,
        };
        (registration, receiver)
    }

    /// Looks once. Reads `/proc` if there is a new listener.
    pub(crate) fn look(&self) -> io::Result<()> {
        let mut registry = self.lock();
        if registry.containers.is_empty() {
            return Ok(());
        }
        let present = listeners()?;
        let inodes: HashSet<u64> = present.iter().map(|listener| listener.inode).collect();
        registry.known.retain(|inode, _| inodes.contains(inode));
        let new: Vec<Listener> = present
            .into_iter()
            .filter(|listener| !registry.known.contains_key(&listener.inode))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let owners = registry.owners();
        for listener in new {
            let owner = owners.get(&listener.inode).copied();
            if let Some(shim) = owner {
                registry.judge(listener, shim);
            }
            registry.known.insert(listener.inode, (listener, owner));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Which container has which socket open.
    fn owners(&self) -> HashMap<u64, u32> {
        let mut owners = HashMap::new();
        let shims: Vec<i32> = self
            .containers
            .keys()
            .filter_map(|&shim| i32::try_from(shim).ok())
            .collect();
        for (shim, pid) in pod_shim::descendants_of_each(&shims) {
            let Ok(shim) = u32::try_from(shim) else {
                continue;
            };
            owners.extend(sockets_of(pid).map(|inode| (inode, shim)));
        }
        owners
    }

    /// Tells the container, if it may not have this new listener.
    fn judge(&mut self, listener: Listener, shim: u32) {
        let Some(container) = self.containers.get(&shim) else {
            return;
        };
        let offence = self.offence(listener, container);
        if let Some((offence, container)) = offence.zip(self.containers.get_mut(&shim))
            && let Some(sender) = container.offence.take()
        {
            // A container that has ended meanwhile need not know.
            drop(sender.send(offence));
        }
    }

    fn offence(&self, listener: Listener, container: &Container) -> Option<Offence> {
        let Listener { address, port, .. } = listener;
        let name = &container.name;
        let advice = "let it listen on the address in $POD_IP (also given as $BIND_ADDR)";
        if address.is_unspecified() {
            return Some(Offence {
                reason: "WildcardListener",
                message: format!(
                    "container {name} listens on all addresses at port {port}, which would take the port away from every other pod on this machine: {advice}"
                ),
            });
        }
        let pods = || self.containers.values().map(|other| IpAddr::V4(other.pod));
        if address != IpAddr::V4(container.pod) && pods().any(|pod| pod == address) {
            return Some(Offence {
                reason: "ForeignListener",
                message: format!(
                    "container {name} listens on {address}:{port}, which is another pod's address: {advice}"
                ),
            });
        }
        let is_shared = self.known.values().any(|(other, owner)| {
            let owner = owner.and_then(|shim| self.containers.get(&shim));
            (other.address, other.port) == (address, port)
                && owner.is_some_and(|owner| owner.pod != container.pod)
        });
        is_shared.then(|| Offence {
            reason: "SharedListener",
            message: format!(
                "container {name} listens on {address}:{port} together with another pod, and would get a part of its connections: {advice}"
            ),
        })
    }
}

/// The inodes of the sockets that a process has open.
fn sockets_of(pid: i32) -> impl Iterator<Item = u64> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .filter_map(|target| socket_inode(target.to_str()?))
}

/// Reads `socket:[4711]`.
fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
