//! Every change of some objects, in the order a watch tells them, each with the moment it arrived.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::check::{Shortfall, failed};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was there when the journal began, or was added.
    Added,
    Modified,
    Deleted,
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Entry<K> {
    pub(crate) at: Instant,
    pub(crate) change: Change,
    pub(crate) object: Arc<K>,
}

/// The changes so far, growing until it is dropped.
#[derive(Debug)]
pub(crate) struct Journal<K> {
    entries: watch::Receiver<Vec<Entry<K>>>,
    _task: AbortOnDropHandle<()>,
}

impl<K> Journal<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Begins with the objects that there are, and misses nothing after them.
    pub(crate) async fn of(api: Api<K>, labels: &str) -> Result<Self, Shortfall> {
        let list = api.list(&ListParams::default().labels(labels)).await?;
        let version = list.metadata.resource_version.unwrap_or_default();
        let entries = list.items.into_iter();
        let entries = entries.map(|object| entry(Change::Added, object)).collect();
        let (sender, receiver) = watch::channel(entries);
        let parameters = WatchParams::default().labels(labels);
        let task = tokio::spawn(follow(api, parameters, version, sender));
        Ok(Self {
            entries: receiver,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Everything so far.
    pub(crate) fn entries(&self) -> Vec<Entry<K>> {
        self.entries.borrow().clone()
    }

    /// Waits until `find` finds something among all changes. Failing to, it fails with `what`
    /// should have been found.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut find: impl FnMut(&[Entry<K>]) -> Option<T>,
    ) -> Result<T, Shortfall> {
        let mut receiver = self.entries.clone();
        let mut found = None;
        let search = receiver.wait_for(|entries| {
            found = find(entries);
            found.is_some()
        });
        let ended = timeout(within, search).await.map(|seen| seen.is_ok());
        match (found, ended) {
            (Some(found), _) => Ok(found),
            (None, Ok(_)) => Err(failed(format!("the watch broke before: {what}"))),
            (None, Err(_)) => Err(failed(format!("not within {} s: {what}", within.as_secs()))),
        }
    }
}

/// The objects there were after each change, by name.
pub(crate) fn states<K>(
    entries: &[Entry<K>],
) -> impl Iterator<Item = (Instant, BTreeMap<String, Arc<K>>)>
where
    K: Resource,
{
    let mut live = BTreeMap::new();
    entries.iter().map(move |entry| {
        let name = entry.object.name_any();
        match entry.change {
            Change::Added | Change::Modified => live.insert(name, Arc::clone(&entry.object)),
            Change::Deleted => live.remove(&name),
        };
        (entry.at, live.clone())
    })
}

fn entry<K>(change: Change, object: K) -> Entry<K> {
    Entry {
        at: Instant::now(),
        change,
        object: Arc::new(object),
    }
}

/// Follows the objects from `version` on, through as many watches as that takes.
async fn follow<K>(
    api: Api<K>,
    parameters: WatchParams,
    mut version: String,
    entries: watch::Sender<Vec<Entry<K>>>,
) where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    while let Ok(stream) = api.watch(&parameters, &version).await {
        let mut stream = stream.boxed();
        while let Ok(Some(event)) = stream.try_next().await {
            let (change, object) = match event {
                WatchEvent::Added(object) => (Change::Added, object),
                WatchEvent::Modified(object) => (Change::Modified, object),
                WatchEvent::Deleted(object) => (Change::Deleted, object),
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                // What was missed cannot be known: the journal ends, and says so to who waits.
                WatchEvent::Error(_) => return,
            };
            version = object.resource_version().unwrap_or(version);
            entries.send_modify(|entries| entries.push(entry(change, object)));
        }
    }
}
