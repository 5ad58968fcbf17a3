//! Hands out the pods' addresses.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::subnet::Subnet;

/// The free addresses. One that was just released is the last to be given again: a client that
/// still holds it must not meet another pod.
#[derive(Debug)]
pub(crate) struct Addresses(Mutex<VecDeque<Ipv4Addr>>);

impl Addresses {
    pub(crate) fn new(subnet: Subnet) -> Self {
        Self(Mutex::new(subnet.pods().collect()))
    }

    /// A free address, or none when every one is in use.
    pub(crate) fn take(&self) -> Option<Ipv4Addr> {
        self.lock().pop_front()
    }

    /// Gives an address back when no process can be using it.
    pub(crate) fn release(&self, address: Ipv4Addr) {
        self.lock().push_back(address);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Ipv4Addr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_address_is_the_last_to_return() {
        let subnet = Subnet::new(80).unwrap();
        let addresses = Addresses::new(subnet);
        let first = addresses.take().unwrap();
        addresses.release(first);
        let others = subnet.pods().count() - 1;
        for _ in 0..others {
            assert_ne!(addresses.take(), Some(first));
        }
        assert_eq!(addresses.take(), Some(first));
        assert_eq!(addresses.take(), None, "a living pod keeps its address");
    }
}
