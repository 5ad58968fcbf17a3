//! Objects that one run makes and removes again. Each carries the run's name: what does not is
//! somebody else's, and is left alone.

use std::time::Duration;

use holdfast_faults::{CHAOS_LABEL, RUN_LABEL};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, PostParams, Preconditions, PropagationPolicy};
use kube::core::ApiResource;
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::{Failure, chain};
use crate::{manifests, system};

/// Pods may take their time to end; what is there longer is stuck.
const GONE_WITHIN: Duration = Duration::from_secs(120);

/// Where an object is that a run makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Made {
    resource: ApiResource,
    /// None for an object of the cluster.
    namespace: Option<String>,
    name: String,
}

impl Made {
    fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }

    fn describe(&self) -> String {
        let kind = self.resource.kind.to_lowercase();
        match &self.namespace {
            Some(namespace) => format!("{kind} {namespace}/{}", self.name),
            None => format!("{kind} {}", self.name),
        }
    }
}

/// The namespace and these objects, in the order in which they are made.
pub(crate) async fn of(
    client: &Client,
    namespace: &str,
    objects: &[Value],
) -> Result<Vec<Made>, Failure> {
    let mut made = vec![Made {
        resource: ApiResource::erase::<Namespace>(&()),
        namespace: None,
        name: namespace.to_owned(),
    }];
    for object in system::in_creation_order(objects) {
        made.push(Made {
            resource: system::resource(client, object).await?,
            namespace: Some(namespace.to_owned()),
            name: manifests::name(object).to_owned(),
        });
    }
    Ok(made)
}

/// What has to be made for these objects, in order; nothing is changed. The namespace, if it is not
/// there, is made with permission for faults.
pub(crate) async fn plan(
    client: &Client,
    namespace: &str,
    objects: &[Value],
) -> Result<Vec<(Value, Made)>, Failure> {
    let mut plan = Vec::new();
    let mut all = of(client, namespace, objects).await?.into_iter();
    if let Some(place) = all.next()
        && find(client, &place).await?.is_none()
    {
        let labels = json!({CHAOS_LABEL: "allowed"});
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": labels},
        });
        plan.push((object, place));
    }
    let mut taken = Vec::new();
    for (object, one) in system::in_creation_order(objects).into_iter().zip(all) {
        if let Some(found) = find(client, &one).await? {
            let run = found.labels().get(RUN_LABEL);
            let by = run
                .map(|run| format!(" (of run {run})"))
                .unwrap_or_default();
            taken.push(format!("{}{by}", one.describe()));
        }
        plan.push((object.clone(), one));
    }
    if taken.is_empty() {
        return Ok(plan);
    }
    Err(Failure::input(format!(
        "the cluster already has {}; a run applies its manifests only where it can remove them \
         again, so nothing was changed",
        taken.join(", ")
    ))
    .hint(
        "leave system.manifests out to test what already runs, name a namespace of its own, or \
         delete what an earlier run has left",
    ))
}

/// Makes one, marked as the run's.
pub(crate) async fn create(
    client: &Client,
    made: &Made,
    object: Value,
    run: &str,
) -> Result<(), Failure> {
    let what = made.describe();
    let mut object: DynamicObject = serde_json::from_value(object)
        .map_err(|error| Failure::input(format!("{what} is no object: {error}")))?;
    object
        .labels_mut()
        .insert(RUN_LABEL.to_owned(), run.to_lowercase());
    let api = made.api(client);
    let created = api.create(&PostParams::default(), &object).await;
    created
        .map(drop)
        .map_err(|error| system::refused(&what, &error))
}

/// Removes what the run has made, the latest first, and waits until it is gone; returns what could
/// not be removed. What is gone, or not the run's, is no matter.
pub(crate) async fn remove(client: &Client, run: &str, made: &[Made]) -> Vec<String> {
    let mut left = Vec::new();
    for one in made.iter().rev() {
        if let Err(why) = remove_one(client, run, one).await {
            left.push(format!("{}: {why}", one.describe()));
        }
    }
    left
}

async fn remove_one(client: &Client, run: &str, made: &Made) -> Result<(), String> {
    let api = made.api(client);
    let found = api.get_opt(&made.name).await;
    let Some(found) = found.map_err(|error| chain(&error))? else {
        return Ok(());
    };
    if found.labels().get(RUN_LABEL) != Some(&run.to_lowercase()) {
        return Ok(());
    }
    let uid = found.uid().unwrap_or_default();
    let parameters = DeleteParams {
        // Gone means that its pods are gone, too.
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&made.name, &parameters).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(chain(&error)),
    }
    let gone = await_condition(api, &made.name, is_deleted(&uid));
    match tokio::time::timeout(GONE_WITHIN, gone).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_elapsed) => Err(format!("still there after {} s", GONE_WITHIN.as_secs())),
    }
}

async fn find(client: &Client, made: &Made) -> Result<Option<DynamicObject>, Failure> {
    let found = made.api(client).get_opt(&made.name).await;
    found.map_err(|error| {
        let what = made.describe();
        Failure::carrying_out(format!("cannot look for {what}: {}", chain(&error)))
    })
}
