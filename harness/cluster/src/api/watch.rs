//! Watches: an endless response of one JSON event per line.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header;
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::error::{ApiError, expired_status};
use super::freshness::{self, WatchFrom};
use super::read::rendered;
use super::request::{Filter, Parameters, Target, View};
use super::versions;
use crate::object;
use crate::store::{Event, EventKind, Expired, Resource, Store, Stored, Watch};

const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long a watch lasts when the client does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Answers a watch. A resource version that has been forgotten is answered by
/// an ERROR event, which is what makes clients list again.
pub(super) fn watch(
    store: &Store,
    target: &Target,
    parameters: Parameters,
    view: View,
    shutdown: CancellationToken,
) -> Result<Response, ApiError> {
    let filter = parameters.filter(target)?;
    let from = match freshness::of_watch(&parameters)? {
        WatchFrom::Objects => None,
        WatchFrom::Revision(revision) => Some(revision),
        WatchFrom::Now => Some(store.revision()),
    };
    let body = match store.watch(target.resource.clone(), from) {
        Ok(watch) => {
            let definitions = match target.resource {
                Resource::Custom(_) => {
                    let now = Some(store.revision());
                    store.watch(Resource::CustomResourceDefinitions, now).ok()
                }
                _ => None,
            };
            let target = target.clone();
            let lines = Lines::new(
                watch,
                definitions,
                target,
                filter,
                parameters,
                view,
                shutdown,
            );
            Body::from_stream(stream::unfold(lines, |mut lines| async move {
                let line = lines.next().await?;
                Some((Ok::<_, std::convert::Infallible>(line), lines))
            }))
        }
        Err(expired) => Body::from(error_line(&expired)),
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The lines of one watch.
struct Lines {
    watch: Watch,
    /// The definitions of custom kinds, for a watch of such a kind.
    definitions: Option<Watch>,
    target: Target,
    filter: Filter,
    parameters: Parameters,
    view: View,
    shutdown: CancellationToken,
    end: Instant,
    bookmarks: Interval,
    /// The bookmark which tells that all present objects were sent is due.
    initial_bookmark_due: bool,
    ended: bool,
}

impl Lines {
    fn new(
        watch: Watch,
        definitions: Option<Watch>,
        target: Target,
        filter: Filter,
        parameters: Parameters,
        view: View,
        shutdown: CancellationToken,
    ) -> Self {
        let timeout = parameters
            .timeout_seconds
            .filter(|seconds| *seconds > 0)
            .map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        let now = Instant::now();
        Self {
            initial_bookmark_due: parameters.asks_for_initial_events() == Some(true)
                && parameters.allow_watch_bookmarks(),
            watch,
            definitions,
            target,
            filter,
            parameters,
            view,
            shutdown,
            end: now + timeout.min(DEFAULT_TIMEOUT),
            bookmarks: interval_at(now + BOOKMARK_PERIOD, BOOKMARK_PERIOD),
            ended: false,
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            let is_initial = self.watch.is_initial();
            if self.initial_bookmark_due && !is_initial {
                self.initial_bookmark_due = false;
                return Some(self.bookmark(true));
            }
            // Who is told only a part of the objects cannot go on from there.
            let bookmarks = self.parameters.allow_watch_bookmarks() && !is_initial;
            let event = tokio::select! {
                // The last objects of a definition are told of before its end.
                biased;
                () = self.shutdown.cancelled() => return None,
                () = sleep_until(self.end) => return None,
                event = self.watch.next() => event,
                () = withdrawn(&mut self.definitions, &self.target.resource) => return None,
                _ = self.bookmarks.tick(), if bookmarks => {
                    return Some(self.bookmark(false));
                }
            };
            match event {
                Ok(event) => {
                    if let Some((kind, object)) = seen_through(&self.filter, &event) {
                        return Some(self.event_line(kind, &object));
                    }
                }
                Err(expired) => {
                    self.ended = true;
                    return Some(error_line(&expired));
                }
            }
        }
        None
    }

    fn event_line(&self, kind: EventKind, object: &Arc<Stored>) -> Bytes {
        let kind = match kind {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        };
        match self.view {
            // The same text for all watches.
            View::Full if versions::shows_as_stored(&self.target) => line(kind, object.text()),
            View::Full | View::Metadata | View::Table => {
                let view = rendered(&self.target, object, self.view, &self.parameters);
                line(kind, view.to_string().as_bytes())
            }
        }
    }

    fn bookmark(&mut self, initial_events_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.watch.position().to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let kind = self.target.resource.kind();
        let object =
            json!({"kind": kind, "apiVersion": self.target.api_version(), "metadata": metadata});
        line("BOOKMARK", object.to_string().as_bytes())
    }
}

/// Returns when the definition of a custom kind is gone: there is nothing left
/// to watch, and the kind may come back as another one.
async fn withdrawn(definitions: &mut Option<Watch>, resource: &Resource) {
    let name = resource.qualified_name();
    while let Some(watch) = definitions {
        match watch.next().await {
            Ok(event)
                if event.kind == EventKind::Deleted && object::name(&event.object) == name =>
            {
                return;
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
    std::future::pending().await
}

/// An event as it looks through a filter: entering it is an addition, leaving
/// it a deletion.
fn seen_through(filter: &Filter, event: &Event) -> Option<(EventKind, Arc<Stored>)> {
    let before = event
        .previous
        .as_ref()
        .is_some_and(|previous| filter.matches(previous));
    let after = event.kind != EventKind::Deleted && filter.matches(&event.object);
    match (before, after) {
        (false, false) => None,
        (false, true) => Some((EventKind::Added, Arc::clone(&event.object))),
        (true, true) => Some((EventKind::Modified, Arc::clone(&event.object))),
        (true, false) if event.kind == EventKind::Deleted => {
            Some((EventKind::Deleted, Arc::clone(&event.object)))
        }
        (true, false) => {
            // The last state that matched, at the version at which it no longer does.
            let previous = event.previous.as_deref();
            let mut last = previous
                .map(|previous| Value::clone(previous))
                .unwrap_or_default();
            last["metadata"]["resourceVersion"] = event.revision.to_string().into();
            Some((EventKind::Deleted, Arc::new(Stored::new(last))))
        }
    }
}

fn error_line(expired: &Expired) -> Bytes {
    line("ERROR", expired_status(expired).to_string().as_bytes())
}

/// The line of an event, given its object as JSON.
fn line(kind: &str, object: &[u8]) -> Bytes {
    let parts: [&[u8]; 5] = [
        br#"{"type":""#,
        kind.as_bytes(),
        br#"","object":"#,
        object,
        b"}\n",
    ];
    Bytes::from(parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::work;

    fn lines(store: &Store) -> Lines {
        let target = Target {
            resource: Resource::ConfigMaps,
            version: Resource::ConfigMaps.version().to_owned(),
            namespace: None,
            name: None,
            subresource: None,
        };
        let parameters = Parameters::default();
        let filter = parameters.filter(&target).unwrap();
        let watch = store.watch(target.resource.clone(), None).unwrap();
        let shutdown = CancellationToken::new();
        Lines::new(
            watch,
            None,
            target,
            filter,
            parameters,
            View::Full,
            shutdown,
        )
    }

    #[tokio::test]
    async fn an_event_is_written_once_for_all_watches() {
        for watches in [1, 10, 1000] {
            let store = Store::new();
            let mut watches: Vec<_> = (0..watches).map(|_| lines(&store)).collect();
            let object = json!({"metadata": {"name": "a", "namespace": "default"}});
            let created = store.create(Resource::ConfigMaps, object).unwrap();
            work::take();
            for watch in &mut watches {
                let line = watch.next().await.unwrap();
                let event: Value = serde_json::from_slice(&line).unwrap();
                assert_eq!(event, json!({"type": "ADDED", "object": **created}));
            }
            assert_eq!(work::take().written, 1);
        }
    }
}
