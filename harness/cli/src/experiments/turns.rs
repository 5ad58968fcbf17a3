//! Whose turn it is: figures of two experiments at once say little about either.

use tokio::sync::{Mutex, MutexGuard, watch};

/// Turns, given in the order in which they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    queue: Mutex<()>,
    /// For people: whose turn it is.
    holder: watch::Sender<Option<String>>,
}

/// It is the turn of whoever has this.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    _place: MutexGuard<'a, ()>,
}

impl Turns {
    /// Waits for the turn of `name`. Dropped, it loses its place in the queue.
    pub(super) async fn take(&self, name: &str) -> Turn<'_> {
        let place = self.queue.lock().await;
        self.holder.send_replace(Some(name.to_owned()));
        Turn {
            turns: self,
            _place: place,
        }
    }

    /// Whose turn it is, now and later.
    pub(super) fn holder(&self) -> watch::Receiver<Option<String>> {
        self.holder.subscribe()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Before the next one has its turn, which comes with the place.
        self.turns.holder.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::{FutureExt as _, poll};

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_in_the_order_of_asking() {
        let turns = Turns::default();
        let first = turns.take("first").now_or_never().unwrap();
        let (second, third) = (turns.take("second"), turns.take("third"));
        tokio::pin!(second, third);
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut third).is_pending());
        assert_eq!(turns.holder().borrow().as_deref(), Some("first"));
        drop(first);
        assert!(poll!(&mut third).is_pending());
        let Poll::Ready(second) = poll!(second) else {
            panic!("it is its turn");
        };
        assert_eq!(turns.holder().borrow().as_deref(), Some("second"));
        drop(second);
        assert!(poll!(third).is_ready());
    }

    #[tokio::test]
    async fn who_no_longer_wants_it_is_in_nobodys_way() {
        let turns = Turns::default();
        let first = turns.take("first").now_or_never().unwrap();
        {
            let second = turns.take("second");
            tokio::pin!(second);
            assert!(poll!(&mut second).is_pending());
        }
        drop(first);
        assert_eq!(*turns.holder().borrow(), None);
        assert!(turns.take("third").now_or_never().is_some());
    }
}
