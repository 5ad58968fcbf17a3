//! `throttle`: of one caller, whose variable leads to the proxy while nobody else's way changes, and what
//! it refuses.

use holdfast_core::plan::PlannedFault;
use holdfast_engine::FaultDriver;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::cluster::{TestCluster, fault_of, in_time, state};

/// pay behind its Service, and a caller whose variable says where that is.
async fn create_both(test: &TestCluster, url: &str, links: bool) {
    test.create_deployment("pay", 1).await;
    test.create_service("pay").await;
    test.settled("pay", 1).await;
    test.create::<Deployment>(json!({
        "metadata": {"name": "app"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "app"}},
            "template": {
                "metadata": {"labels": {"app": "app"}},
                "spec": {
                    "enableServiceLinks": links,
                    "containers": [
                        {"name": "main", "image": "app:1", "env": [{"name": "PAY_URL", "value": url}]},
                        {"name": "log", "image": "log:1"},
                    ],
                },
            },
        },
    }))
    .await;
    test.settled("app", 1).await;
}

fn step() -> PlannedFault {
    let fault = json!({"throttle": {
        "service": "pay", "from": {"deployment": "app", "env": "PAY_URL"}, "delay": "50ms",
    }});
    fault_of(serde_json::from_value(fault).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_caller_is_sent_to_the_proxy_and_comes_back() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    create_both(&test, "http://pay/v1", true).await;
    let before = (
        state::<Deployment>(&test, "app").await,
        state::<Service>(&test, "pay").await,
    );
    let faults = test.faults();
    let step = step();

    faults.prepare(&step).await.unwrap();
    let evidence = in_time(faults.inject(&step)).await.unwrap();
    assert!(
        evidence.ends_with("deployment app is rolled out"),
        "{evidence}"
    );
    assert_eq!(state::<Service>(&test, "pay").await, before.1);
    let proxies = ListParams::default().labels("holdfast.dev/proxy");
    let proxies = test.api::<Pod>().list(&proxies).await.unwrap();
    let container = &proxies.items[0].spec.as_ref().unwrap().containers[0];
    let upstream = "$(PAY_SERVICE_HOST):80".to_owned();
    assert!(container.args.as_ref().unwrap().contains(&upstream));
    let services = test.api::<Service>().list(&ListParams::default()).await;
    let services = services.unwrap();
    let front = services.iter().map(ResourceExt::name_any);
    let front = front
        .filter(|name| name.ends_with("-proxy"))
        .collect::<Vec<_>>();
    let address = front[0].to_uppercase().replace('-', "_");
    let pods = ListParams::default().labels("app=app");
    for pod in test.api::<Pod>().list(&pods).await.unwrap() {
        let pod = serde_json::to_value(pod.spec).unwrap();
        let told = &pod["containers"][0]["env"][0]["value"];
        assert_eq!(*told, format!("http://$({address}_SERVICE_HOST):80/v1"));
        assert_eq!(pod["containers"][1]["env"], Value::Null);
    }

    in_time(faults.recover(&step)).await.unwrap();
    assert_eq!(state::<Deployment>(&test, "app").await, before.0);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_one_address_for_everybody_is_refused() {
    for (spec, why) in [
        (
            json!({"clusterIP": "None"}),
            "it is headless, so its clients go to its pods",
        ),
        (
            json!({"internalTrafficPolicy": "Local"}),
            "its nodes send nothing to one another (traffic policy Local), and the proxy is on one of \
             them",
        ),
    ] {
        let test = TestCluster::start().await;
        test.create_ready("pay", 1).await;
        let mut service = json!({
            "metadata": {"name": "pay"},
            "spec": {"selector": {"app": "pay"}, "ports": [{"port": 80}]},
        });
        let fields = service["spec"].as_object_mut().unwrap();
        fields.extend(spec.as_object().unwrap().clone());
        test.create::<Service>(service).await;
        let fault = json!({"throttle": {"service": "pay", "delay": "50ms"}});
        let step = fault_of(serde_json::from_value(fault).unwrap());
        let refused = test.faults().check(&step, &[]).await.unwrap_err();
        let words = "this cluster cannot do that: throttling service pay, for ";
        assert_eq!(refused.0, format!("{words}{why}"));
        test.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_would_not_hear_of_it_is_refused() {
    for (url, links, why) in [
        (
            "http://pay:1",
            false,
            "its pods are not told the addresses of Services (enableServiceLinks: false)",
        ),
        ("http://pay:1", true, "service pay has no port 1"),
        ("pay", true, "pay is no URL"),
    ] {
        let test = TestCluster::start().await;
        let _kubelet = test.kubelet();
        create_both(&test, url, links).await;
        let refused = test.faults().check(&step(), &[]).await.unwrap_err();
        let words = "variable PAY_URL of deployment app cannot be: pointed at the proxy, for ";
        assert_eq!(refused.0, format!("{words}{why}"));
        test.shutdown().await;
    }
}
