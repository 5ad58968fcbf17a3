//! A controller of kube-rs over a defined kind, as it would run on a real cluster.

use std::sync::Arc;

use futures::StreamExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::wait::await_condition;
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{Trouble, installed, trouble};
use crate::cluster::{DEADLINE, typed};

const FINALIZER: &str = "test.holdfast.dev/undo";

/// Says in the status that it is done, and that it was undone in the finalizer.
async fn reconcile(
    object: Arc<Trouble>,
    undone: Arc<tokio::sync::mpsc::UnboundedSender<String>>,
    api: Api<Trouble>,
) -> Result<Action, finalizer::Error<kube::Error>> {
    finalizer(&api, FINALIZER, object, async |event| {
        match event {
            finalizer::Event::Apply(object) => {
                let status =
                    json!({"status": {"conditions": [{"type": "Done", "status": "True"}]}});
                let params = PatchParams::default();
                api.patch_status(&object.name_any(), &params, &Patch::Merge(status))
                    .await?;
            }
            finalizer::Event::Cleanup(object) => {
                undone.send(object.name_any()).unwrap();
            }
        }
        Ok(Action::await_change())
    })
    .await
}

#[tokio::test]
async fn a_controller_with_a_finalizer_does_and_undoes() {
    let test = installed().await;
    let api: Api<Trouble> = test.api();
    let (sender, mut undone) = tokio::sync::mpsc::unbounded_channel();
    let reconciled = api.clone();
    let controller = Controller::new(api.clone(), watcher::Config::default()).run(
        move |object, context| reconcile(object, context, reconciled.clone()),
        |_, _, _| Action::requeue(DEADLINE),
        Arc::new(sender),
    );
    let running = tokio::spawn(controller.for_each(async |_| ()));
    let object: Trouble = typed(trouble("a"));
    api.create(&PostParams::default(), &object).await.unwrap();
    let done = |found: Option<&Trouble>| {
        found.is_some_and(|found| {
            let status = found.status.as_ref();
            status.is_some_and(|status| !status.conditions.is_empty())
                && found.finalizers().iter().any(|name| name == FINALIZER)
        })
    };
    let waited = tokio::time::timeout(DEADLINE, await_condition(api.clone(), "a", done)).await;
    waited.expect("it was not done in time").unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let name = tokio::time::timeout(DEADLINE, undone.recv()).await.unwrap();
    assert_eq!(name.as_deref(), Some("a"));
    let gone = await_condition(api, "a", |found: Option<&Trouble>| found.is_none());
    tokio::time::timeout(DEADLINE, gone).await.unwrap().unwrap();
    running.abort();
    test.cluster.shutdown().await;
}
