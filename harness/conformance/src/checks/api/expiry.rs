//! A watch whose version the API server no longer remembers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{WatchEvent, WatchParams};
use kube::runtime::watcher;
use serde_json::json;
use tokio::time::timeout;

use crate::check::{Finding, Shortfall, failed, verdict};
use crate::context::Context;

/// More changes than the local cluster remembers.
const CHANGES: usize = 4300;
/// Large enough that a watcher which does not read cannot have them all in its buffers.
const SIZE: usize = 2 * 1024;
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn expired_version(context: Context) -> Finding {
    if !context.bounds.local {
        let reason = "local only: another cluster's history cannot be outrun";
        return Err(Shortfall::Skipped(reason.to_owned()));
    }
    let first = context
        .create::<ConfigMap>(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": context.name("map"), "labels": context.labels("map")},
        }))
        .await?;
    let name = first.name_any();
    let version = first.resource_version().unwrap_or_default();
    let configuration = watcher::Config::default().labels(&context.selector("map"));
    let mut slow = Box::pin(watcher(context.api::<ConfigMap>(), configuration));
    until_listed(&mut slow).await?;
    outrun(&context, &name).await?;
    let answer = first_event(&context, &version).await?;
    let relisted = relists(&mut slow).await?;
    verdict(
        answer == "ERROR 410" && relisted.contains("listed again"),
        format!("watch: {answer}; kube's watcher: {relisted}"),
    )
}

/// Lets the watcher list, and begin to watch.
async fn until_listed(
    events: &mut (impl Stream<Item = watcher::Result<watcher::Event<ConfigMap>>> + Unpin),
) -> Result<(), Shortfall> {
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::InitDone) => break,
            Ok(_) => {}
            Err(error) => return Err(failed(format!("kube's watcher: {error}"))),
        }
    }
    // One more step begins the watch; nothing happens in it, so it is not waited for.
    let step = timeout(Duration::from_millis(500), events.next()).await;
    match step {
        Err(_elapsed) => Ok(()),
        Ok(event) => Err(failed(format!("kube's watcher saw {event:?}"))),
    }
}

/// Changes the map more often than the API server remembers.
async fn outrun(context: &Context, name: &str) -> Result<(), Shortfall> {
    let padding = "x".repeat(SIZE);
    let changes = stream::iter(0..CHANGES).map(|number| {
        let data = BTreeMap::from([("number", number.to_string()), ("padding", padding.clone())]);
        context.patch::<ConfigMap>(name, json!({"data": data}))
    });
    changes
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await
}

async fn first_event(context: &Context, version: &str) -> Result<String, Shortfall> {
    let maps = context.api::<ConfigMap>();
    let stream = maps.watch(&WatchParams::default(), version).await?;
    let mut stream = stream.boxed();
    let event = timeout(PATIENCE, stream.try_next()).await;
    let event = event.map_err(|_| failed("the watch said nothing"))??;
    Ok(match event {
        Some(WatchEvent::Error(status)) => format!("ERROR {}", status.code),
        Some(other) => format!("{other:?}").chars().take(60).collect(),
        None => "ended at once".to_owned(),
    })
}

/// What the watcher does when it reads on.
async fn relists(
    events: &mut (impl Stream<Item = watcher::Result<watcher::Event<ConfigMap>>> + Unpin),
) -> Result<String, Shortfall> {
    let mut error = None;
    let search = async {
        while let Some(event) = events.next().await {
            match event {
                Err(problem) => error = Some(problem.to_string()),
                Ok(watcher::Event::InitDone) => return true,
                Ok(_) => {}
            }
        }
        false
    };
    match timeout(PATIENCE, search).await {
        Ok(true) => Ok("listed again".to_owned()),
        Ok(false) => Ok("ended".to_owned()),
        Err(_) => Ok(format!("did not list again ({error:?})")),
    }
}
