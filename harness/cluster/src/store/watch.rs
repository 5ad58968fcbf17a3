//! Following the changes of one kind of object.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::state::{Place, place_of};
use super::{Resource, Store, Stored};
use crate::object;

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) resource: Resource,
    /// The store's revision which this change made; unique and increasing.
    pub(crate) revision: u64,
    pub(crate) kind: EventKind,
    /// The object after the change; for a deletion its last state.
    pub(crate) object: Arc<Stored>,
    /// The object before the change, from which a selector can tell whether
    /// it enters or leaves.
    pub(crate) previous: Option<Arc<Stored>>,
}

/// The events asked for are no longer (or not yet) in the history: list again.
#[derive(Debug, thiserror::Error)]
#[error("too old resource version: {from} ({oldest})")]
pub(crate) struct Expired {
    pub(crate) from: u64,
    /// The oldest revision from which a watch can start.
    pub(crate) oldest: u64,
}

/// Which kinds of object matter to someone.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Kinds {
    /// All there are, the custom ones too.
    All,
    Only(&'static [Resource]),
}

impl Kinds {
    pub(super) fn contain(self, resource: &Resource) -> bool {
        match self {
            Self::All => true,
            Self::Only(kinds) => kinds.contains(resource),
        }
    }
}

/// How many of the objects which are there at the start a watch takes at a time.
const PAGE: usize = 64;

/// A place in the history of one kind of object. It keeps no queue of its own:
/// a reader which is slower than the history is long gets [`Expired`], also one
/// that is still being told of the objects which were there at the start.
#[derive(Debug)]
pub(crate) struct Watch {
    store: Store,
    resource: Resource,
    /// The objects at the start which are still to be told of; `None` when that
    /// is done, or not wanted.
    initial: Option<Initial>,
    position: u64,
    /// Signals changes of this kind, and of no other.
    changed: watch::Receiver<u64>,
}

#[derive(Default, Debug)]
pub(super) struct Initial {
    page: VecDeque<Arc<Stored>>,
    /// Where the page ends; `None` before the first.
    end: Option<Place>,
}

impl Watch {
    pub(super) fn new(
        store: Store,
        resource: Resource,
        initial: Option<Initial>,
        position: u64,
        changed: watch::Receiver<u64>,
    ) -> Self {
        Self {
            store,
            resource,
            initial,
            position,
            changed,
        }
    }

    /// The next change; waits for it. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Event, Expired> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if self.changed.changed().await.is_err() {
                // The store itself keeps the sender, and this watch the store.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next change if it has already happened.
    pub(crate) fn try_next(&mut self) -> Result<Option<Event>, Expired> {
        if let Some(object) = self.next_initial()? {
            return Ok(Some(Event {
                resource: self.resource.clone(),
                revision: object::resource_version(&object),
                kind: EventKind::Added,
                object,
                previous: None,
            }));
        }
        let (event, position) = self.store.event_after(&self.resource, self.position)?;
        self.position = position;
        Ok(event)
    }

    fn next_initial(&mut self) -> Result<Option<Arc<Stored>>, Expired> {
        self.turn_page()?;
        let initial = self.initial.as_mut();
        Ok(initial.and_then(|initial| initial.page.pop_front()))
    }

    /// Takes the next page when one has come to its end.
    fn turn_page(&mut self) -> Result<(), Expired> {
        let Some(initial) = self.initial.as_mut().filter(|it| it.page.is_empty()) else {
            return Ok(());
        };
        let end = initial.end.as_ref();
        let page = self
            .store
            .page_at(&self.resource, end, self.position, PAGE)?;
        match page.last() {
            Some(last) => {
                initial.end = Some(place_of(last));
                initial.page = page.into();
            }
            None => self.initial = None,
        }
        Ok(())
    }

    /// Whether objects which were there at the start are still to be told of.
    pub(crate) fn is_initial(&mut self) -> bool {
        self.turn_page().is_err() || self.initial.is_some()
    }

    /// Everything of this kind up to this revision has been returned by `next`.
    pub(crate) fn position(&mut self) -> u64 {
        if self.initial.is_none()
            && let Ok((None, position)) = self.store.event_after(&self.resource, self.position)
        {
            self.position = position;
        }
        self.position
    }
}
