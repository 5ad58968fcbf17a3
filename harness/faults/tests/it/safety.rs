//! The safety nets: what is refused before anything is touched.

use holdfast_engine::FaultDriver;
use holdfast_faults::KubeFaults;

use crate::cluster::{NAMESPACE, RUN, TestCluster, outage};

/// The words with which a fault of `replicas` is refused, if it is.
async fn refusal(faults: &KubeFaults, replicas: u32) -> Option<String> {
    let checked = faults.check(&outage(replicas), &[]).await;
    checked.err().map(|error| error.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_s_own_namespace_is_refused() {
    let test = TestCluster::start().await;
    let faults = KubeFaults::start(test.client.clone(), "kube-system", RUN, "", &[]);
    assert_eq!(
        refusal(&faults, 1).await.unwrap(),
        "nothing is broken in namespace kube-system: the cluster itself would be"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_available_is_refused() {
    let test = TestCluster::start().await;
    let faults = KubeFaults::start(test.client.clone(), NAMESPACE, RUN, "", &[]);
    assert_eq!(
        refusal(&faults, 1).await.unwrap(),
        "deployment default/pay does not exist"
    );
    test.create_deployment("pay", 2).await;
    assert_eq!(
        refusal(&faults, 1).await.unwrap(),
        "deployment pay has no available pod, so there is nothing to break"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_half_of_the_pods_need_permission() {
    let test = TestCluster::start().await;
    let faults = KubeFaults::start(test.client.clone(), NAMESPACE, RUN, "", &[]);
    test.create_deployment("pay", 3).await;
    test.make_ready("pay", 3).await;
    assert_eq!(refusal(&faults, 2).await, None);
    assert_eq!(
        refusal(&faults, 1).await.unwrap(),
        "the fault leaves 1 of 3 ready pods of deployment pay; more than half, or the last one, needs safety.allow: [blastRadius] in the experiment"
    );
    assert!(refusal(&faults, 0).await.is_some());
    assert_eq!(refusal(&test.faults(), 0).await, None);
    test.shutdown().await;
}
