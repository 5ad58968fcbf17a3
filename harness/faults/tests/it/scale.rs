//! The fault `scale`: whatever happens in between, the Deployment is as before.

use holdfast_engine::FaultDriver;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

use crate::cluster::{TestCluster, outage};

const RECORD: &str = "run-1-outage";

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_is_recorded_before_the_deployment_is_scaled() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 3).await;
    let faults = test.faults();

    let early = faults.inject(&outage(0)).await.unwrap_err();
    assert_eq!(
        early.0,
        "how to undo outage is not recorded, so it is not injected"
    );

    let undo = faults.prepare(&outage(0)).await.unwrap();
    assert_eq!(
        undo,
        format!("deployment pay: spec.replicas to 3 (recorded in faultinjection/{RECORD})")
    );
    assert_eq!(test.records().await, [RECORD]);
    assert_eq!(test.replicas("pay").await, 3);

    let evidence = faults.inject(&outage(0)).await.unwrap();
    assert_eq!(evidence, "deployment pay: spec.replicas from 3 to 0");
    assert_eq!(test.replicas("pay").await, 0);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recovering_twice_is_recovering_once() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(0)).await.unwrap();
    faults.inject(&outage(0)).await.unwrap();

    let evidence = faults.recover(&outage(0)).await.unwrap();
    assert_eq!(
        evidence,
        "deployment pay put back: spec.replicas is 3 again"
    );
    let after_one = test.api::<Deployment>().get("pay").await.unwrap();
    assert_eq!(test.records().await, Vec::<String>::new());

    let evidence = faults.recover(&outage(0)).await.unwrap();
    assert_eq!(evidence, "deployment pay is as before");
    let after_two = test.api::<Deployment>().get("pay").await.unwrap();
    assert_eq!(after_one.spec, after_two.spec);
    assert!(after_two.labels().is_empty(), "{:?}", after_two.labels());
    assert_eq!(test.records().await, Vec::<String>::new());
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}
