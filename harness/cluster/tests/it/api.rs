//! The API through kube-rs.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::cluster::{DEADLINE, TestCluster, deployment, typed};

fn config_map(name: &str, tier: &str) -> ConfigMap {
    typed(json!({"metadata": {"name": name, "labels": {"tier": tier}}, "data": {"a": "1"}}))
}

pub(crate) fn status_of<T: std::fmt::Debug>(outcome: kube::Result<T>) -> kube::core::Status {
    match outcome {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("expected an API error, got {other:?}"),
    }
}

#[tokio::test]
async fn objects_are_created_read_changed_and_deleted() {
    let test = TestCluster::start().await;
    let maps: Api<ConfigMap> = test.api();
    let created = maps
        .create(&PostParams::default(), &config_map("a", "x"))
        .await
        .unwrap();
    assert!(created.uid().is_some());
    let again = status_of(
        maps.create(&PostParams::default(), &config_map("a", "x"))
            .await,
    );
    assert_eq!((again.code, again.reason.as_str()), (409, "AlreadyExists"));

    let mut replaced = created.clone();
    replaced.data = Some(BTreeMap::from([("b".to_owned(), "2".to_owned())]));
    let replaced = maps
        .replace("a", &PostParams::default(), &replaced)
        .await
        .unwrap();
    assert_eq!(replaced.data.unwrap().keys().collect::<Vec<_>>(), ["b"]);
    let stale = status_of(maps.replace("a", &PostParams::default(), &created).await);
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));

    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(status_of(maps.get("a").await).code, 404);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn each_kind_of_patch_is_applied() {
    let test = TestCluster::start().await;
    let deployments: Api<Deployment> = test.api();
    deployments
        .create(&PostParams::default(), &typed(deployment("web", 1)))
        .await
        .unwrap();
    let params = PatchParams::default();
    let variables = |deployment: &Deployment| {
        let container = &deployment
            .spec
            .as_ref()
            .unwrap()
            .template
            .spec
            .as_ref()
            .unwrap()
            .containers[0];
        let names = container
            .env
            .iter()
            .flatten()
            .map(|variable| variable.name.clone());
        (
            container.image.clone().unwrap(),
            names.collect::<Vec<_>>().join(","),
        )
    };
    let patched = |containers: serde_json::Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});

    let strategic = patched(json!([{"name": "main", "env": [{"name": "B", "value": "2"}]}]));
    let merged = deployments
        .patch("web", &params, &Patch::Strategic(strategic))
        .await
        .unwrap();
    assert_eq!(variables(&merged), ("web:1".to_owned(), "A,B".to_owned()));

    let operations = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:2"}]);
    let patch: Patch<()> = Patch::Json(typed(operations));
    let replaced = deployments.patch("web", &params, &patch).await.unwrap();
    assert_eq!(variables(&replaced), ("web:2".to_owned(), "A,B".to_owned()));

    let merge = patched(json!([{"name": "main", "image": "web:3"}]));
    let merged = deployments
        .patch("web", &params, &Patch::Merge(merge))
        .await
        .unwrap();
    assert_eq!(variables(&merged), ("web:3".to_owned(), String::new()));
    assert_eq!(merged.metadata.generation, Some(4));
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn selectors_choose_and_pages_are_complete() {
    let test = TestCluster::start().await;
    let maps: Api<ConfigMap> = test.api();
    for (name, tier) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "z")] {
        maps.create(&PostParams::default(), &config_map(name, tier))
            .await
            .unwrap();
    }
    let listed = async |params: ListParams| {
        let list = maps.list(&params).await.unwrap();
        list.iter()
            .map(ResourceExt::name_any)
            .collect::<Vec<_>>()
            .join("")
    };
    assert_eq!(
        listed(ListParams::default().labels("tier in (x,z)")).await,
        "acd"
    );
    assert_eq!(listed(ListParams::default().labels("tier!=x")).await, "bd");
    assert_eq!(
        listed(ListParams::default().fields("metadata.name=b")).await,
        "b"
    );
    let refused = status_of(maps.list(&ListParams::default().fields("data.a=1")).await);
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (400, "field label not supported: data.a")
    );

    let mut seen = String::new();
    let mut token = String::new();
    loop {
        let params = ListParams {
            continue_token: Some(token),
            ..ListParams::default().limit(3)
        };
        let page = maps.list(&params).await.unwrap();
        seen.extend(page.iter().map(ResourceExt::name_any));
        token = page.metadata.continue_.unwrap_or_default();
        if token.is_empty() {
            break;
        }
        assert_eq!(seen, "abc");
    }
    assert_eq!(seen, "abcd");
    test.cluster.shutdown().await;
}

/// What changes between two pages does not show in the second.
#[tokio::test]
async fn pages_show_the_same_moment() {
    let test = TestCluster::start().await;
    let maps: Api<ConfigMap> = test.api();
    let create = async |name: &str| {
        maps.create(&PostParams::default(), &config_map(name, "x"))
            .await
            .unwrap()
    };
    for name in ["a", "b", "c", "d"] {
        create(name).await;
    }
    let names = |list: &kube::core::ObjectList<ConfigMap>| {
        let names: Vec<_> = list.iter().map(ResourceExt::name_any).collect();
        names.join("")
    };
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(names(&first), "ab");
    assert_eq!(first.metadata.remaining_item_count, Some(2));
    maps.delete("c", &DeleteParams::default()).await.unwrap();
    create("e").await;
    let token = first.metadata.continue_.unwrap();
    let second = ListParams::default().limit(2).continue_token(&token);
    let second = maps.list(&second).await.unwrap();
    assert_eq!(names(&second), "cd");
    let version = first.metadata.resource_version.unwrap();
    assert_eq!(second.metadata.resource_version.as_ref(), Some(&version));
    let then = ListParams::default()
        .at(&version)
        .matching(kube::api::VersionMatch::Exact);
    assert_eq!(names(&maps.list(&then).await.unwrap()), "abcd");
    let now = maps
        .list(&ListParams::default().at(&version))
        .await
        .unwrap();
    assert_eq!(names(&now), "abde");
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_watch_with_a_selector_sees_objects_enter_and_leave() {
    let test = TestCluster::start().await;
    let maps: Api<ConfigMap> = test.api();
    maps.create(&PostParams::default(), &config_map("a", "x"))
        .await
        .unwrap();
    let from = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    for tier in ["y", "y", "x", "y"] {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"tier": tier}}}));
        maps.patch("a", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let events = maps
        .watch(&WatchParams::default().labels("tier=y").timeout(20), &from)
        .await
        .unwrap();
    let kinds = events.map_ok(|event| match event {
        WatchEvent::Added(_) => "added",
        WatchEvent::Modified(_) => "modified",
        WatchEvent::Deleted(_) => "deleted",
        WatchEvent::Bookmark(_) => "bookmark",
        WatchEvent::Error(_) => "error",
    });
    let kinds: Vec<_> = kinds.take(4).try_collect().await.unwrap();
    assert_eq!(kinds, ["added", "deleted", "added", "deleted"]);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn both_ways_to_start_a_watcher_work() {
    let test = TestCluster::start().await;
    let maps: Api<ConfigMap> = test.api();
    maps.create(&PostParams::default(), &config_map("a", "x"))
        .await
        .unwrap();
    for (way, config) in [
        ("list", watcher::Config::default()),
        ("stream", watcher::Config::default().streaming_lists()),
    ] {
        let mut events = watcher(maps.clone(), config).boxed();
        let mut seen = Vec::new();
        while !matches!(seen.last(), Some(&"done")) {
            let event = tokio::time::timeout(DEADLINE, events.next())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            seen.push(match event {
                watcher::Event::Init => "init",
                watcher::Event::InitApply(_) => "object",
                watcher::Event::InitDone => "done",
                watcher::Event::Apply(_) | watcher::Event::Delete(_) => "change",
            });
        }
        assert_eq!(seen, ["init", "object", "done"]);
        let patch = Patch::Merge(json!({"data": {"way": way}}));
        maps.patch("a", &PatchParams::default(), &patch)
            .await
            .unwrap();
        let event = tokio::time::timeout(DEADLINE, events.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(matches!(event, watcher::Event::Apply(_)), "{event:?}");
    }
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_by_field() {
    let test = TestCluster::start().await;
    let deployments: Api<Deployment> = test.api();
    let mut bad = deployment("web", 1);
    bad["spec"]["template"]["metadata"]["labels"]["app"] = "other".into();
    bad["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    let refused = status_of(
        deployments
            .create(&PostParams::default(), &typed(bad))
            .await,
    );
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    let fields: Vec<_> = refused
        .details
        .unwrap()
        .causes
        .into_iter()
        .map(|cause| cause.field)
        .collect();
    assert_eq!(
        fields,
        [
            "spec.template.metadata.labels",
            "spec.template.spec.hostNetwork"
        ]
    );

    let elsewhere: Api<ConfigMap> = Api::namespaced(test.client.clone(), "nowhere");
    let refused = status_of(
        elsewhere
            .create(&PostParams::default(), &config_map("a", "x"))
            .await,
    );
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (404, "namespaces \"nowhere\" not found")
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let test = TestCluster::start().await;
    let maps: Api<ConfigMap> = test.api();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let created = maps.create(&dry, &config_map("a", "x")).await.unwrap();
    assert!(created.uid().is_some());
    assert_eq!(maps.get_opt("a").await.unwrap(), None);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn services_get_addresses_and_endpoints() {
    let test = TestCluster::start().await;
    let services: Api<Service> = test.api();
    let service = |name: &str, spec: serde_json::Value| -> Service {
        let mut service = json!({"metadata": {"name": name}, "spec": spec});
        service["spec"]["selector"] = json!({"app": "web"});
        service["spec"]["ports"] = json!([{"port": 80}]);
        typed(service)
    };
    let create = async |name, spec| {
        services
            .create(&PostParams::default(), &service(name, spec))
            .await
    };
    let web = create("web", json!({})).await.unwrap().spec.unwrap();
    let other = create("other", json!({})).await.unwrap().spec.unwrap();
    assert_ne!(web.cluster_ip, other.cluster_ip);
    let headless = create("headless", json!({"clusterIP": "None"}))
        .await
        .unwrap()
        .spec
        .unwrap();
    assert_eq!(headless.cluster_ip.as_deref(), Some("None"));
    let taken = status_of(create("taken", json!({"clusterIP": web.cluster_ip})).await);
    assert_eq!(taken.code, 422);
    let node_port = status_of(create("node-port", json!({"type": "NodePort"})).await);
    assert_eq!(
        node_port.details.unwrap().causes[0].reason,
        "FieldValueForbidden"
    );

    let deployments: Api<Deployment> = test.api();
    deployments
        .create(&PostParams::default(), &typed(deployment("web", 1)))
        .await
        .unwrap();
    test.wait_for_deployment("web", |web| {
        web.status
            .as_ref()
            .is_some_and(|status| status.replicas == Some(1))
    })
    .await;
    test.make_ready("app=web").await;
    let slices: Api<EndpointSlice> = test.api();
    let ofweb = watcher::Config::default().labels("kubernetes.io/service-name=web");
    let ready = kube::runtime::watcher(slices, ofweb).try_filter_map(async |event| {
        let (watcher::Event::Apply(slice) | watcher::Event::InitApply(slice)) = event else {
            return Ok(None);
        };
        let conditions = slice
            .endpoints
            .first()
            .and_then(|endpoint| endpoint.conditions.clone());
        Ok(conditions.filter(|conditions| conditions.ready == Some(true)))
    });
    tokio::time::timeout(DEADLINE, ready.boxed().next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_namespace_goes_with_its_content() {
    let test = TestCluster::start().await;
    let namespaces: Api<Namespace> = Api::all(test.client.clone());
    let shop: Namespace = typed(json!({"metadata": {"name": "shop"}}));
    namespaces
        .create(&PostParams::default(), &shop)
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), "shop");
    maps.create(&PostParams::default(), &config_map("a", "x"))
        .await
        .unwrap();
    let uid = namespaces.get("shop").await.unwrap().uid().unwrap();
    namespaces
        .delete("shop", &DeleteParams::default())
        .await
        .unwrap();
    let gone = kube::runtime::wait::await_condition(
        namespaces,
        "shop",
        kube::runtime::conditions::is_deleted(&uid),
    );
    tokio::time::timeout(DEADLINE, gone).await.unwrap().unwrap();
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items, []);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn the_namespaces_of_every_cluster_cannot_be_deleted() {
    let test = TestCluster::start().await;
    let namespaces: Api<Namespace> = Api::all(test.client.clone());
    for name in ["default", "kube-system", "kube-public"] {
        let outcome = namespaces.delete(name, &DeleteParams::default()).await;
        let refused = match outcome {
            Err(kube::Error::Api(status)) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
        let message =
            format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted");
        assert_eq!(refused.message, message);
    }
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn nobody_is_served_without_the_token() {
    let test = TestCluster::start().await;
    let url = format!("http://{}", test.cluster.api_address());
    let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let refused = status_of(
        Api::<Pod>::default_namespaced(client)
            .list(&ListParams::default())
            .await,
    );
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (401, "Unauthorized")
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn two_clusters_do_not_meet() {
    let (one, other) = tokio::join!(TestCluster::start(), TestCluster::start());
    assert_ne!(one.cluster.api_address(), other.cluster.api_address());
    one.api::<ConfigMap>()
        .create(&PostParams::default(), &config_map("a", "x"))
        .await
        .unwrap();
    assert_eq!(other.api::<ConfigMap>().get_opt("a").await.unwrap(), None);
    one.cluster.shutdown().await;
    other.cluster.shutdown().await;
}

#[tokio::test]
async fn managers_share_an_object_by_server_side_apply() {
    let test = TestCluster::start().await;
    let deployments: Api<Deployment> = test.api();
    let apply = async |object: &serde_json::Value, params: PatchParams| {
        deployments
            .patch("web", &params, &Patch::Apply(object))
            .await
    };
    let mut wanted = deployment("web", 2);
    let created = apply(&wanted, PatchParams::apply("one")).await.unwrap();
    let again = apply(&wanted, PatchParams::apply("one")).await.unwrap();
    assert_eq!(created.metadata.generation, again.metadata.generation);

    wanted["spec"]["replicas"] = 5.into();
    let conflict = status_of(apply(&wanted, PatchParams::apply("two")).await);
    assert_eq!(conflict.code, 409);
    assert_eq!(conflict.details.unwrap().causes[0].field, ".spec.replicas");
    let forced = apply(&wanted, PatchParams::apply("two").force())
        .await
        .unwrap();
    assert_eq!(forced.spec.unwrap().replicas, Some(5));

    let container = &mut wanted["spec"]["template"]["spec"]["containers"][0];
    container.as_object_mut().unwrap().remove("env");
    apply(&wanted, PatchParams::apply("two")).await.unwrap();
    wanted["spec"].as_object_mut().unwrap().remove("replicas");
    let dropped = apply(&wanted, PatchParams::apply("one")).await.unwrap();
    let container = &dropped
        .spec
        .as_ref()
        .unwrap()
        .template
        .spec
        .as_ref()
        .unwrap()
        .containers[0];
    assert_eq!(container.env, None, "both managers dropped it");
    assert_eq!(
        dropped.spec.unwrap().replicas,
        Some(5),
        "the other manager keeps it"
    );
    test.cluster.shutdown().await;
}
