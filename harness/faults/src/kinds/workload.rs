//! What has pods: a Deployment or a StatefulSet, as most faults look at it.

use holdfast_core::fault::Count;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::DynamicObject;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;

use super::strategy;
use crate::action::{Action, Back, is_ready};
use crate::blueprint::Target;
use crate::error::FaultError;
use crate::object::{Cluster, Object, Resource};
use crate::pods::{self, size};

/// A workload as it was found.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) object: Object,
    pub(super) found: DynamicObject,
    /// Its pods, as the API's parameter.
    pub(super) selector: String,
    /// Those that are not on their way out.
    pub(super) pods: Vec<Pod>,
}

impl Workload {
    pub(super) async fn deployment(cluster: &Cluster, name: &str) -> Result<Self, FaultError> {
        Self::find(cluster, Resource::Deployment, name).await
    }

    pub(super) async fn find(
        cluster: &Cluster,
        resource: Resource,
        name: &str,
    ) -> Result<Self, FaultError> {
        let found = cluster.get(resource, name).await?;
        let labels = found.data["spec"]["selector"].clone();
        let labels: LabelSelector =
            serde_json::from_value(labels).map_err(FaultError::Malformed)?;
        let selector = pods::selector(&labels)?;
        Ok(Self {
            object: Object {
                resource,
                name: name.to_owned(),
                uid: found.uid().unwrap_or_default(),
            },
            pods: pods::all(cluster, &selector).await?,
            selector,
            found,
        })
    }

    /// Pods that are ready.
    pub(super) fn ready(&self) -> u32 {
        size(self.pods.iter().filter(|pod| is_ready(pod)).count())
    }

    /// Some of its ready pods: a draw that comes out alike for the same pods, so that a run takes those
    /// that its plan named. Others, such as those of the next round, are another draw.
    pub(super) fn choose(&self, count: Count) -> Vec<&Pod> {
        let ready: Vec<_> = self.pods.iter().filter(|pod| is_ready(pod)).collect();
        let mut draw = StdRng::from_seed(seed(&ready));
        let ready = ready.into_iter();
        let mut chosen = ready.choose_multiple(&mut draw, count.of(self.ready()) as usize);
        chosen.sort_by_key(|pod| pod.name_any());
        chosen
    }

    /// The look, once all is undone, whether as many pods are ready as now.
    pub(super) fn back(&self) -> Action {
        Action::Back(Back {
            workload: self.object.clone(),
            selector: self.selector.clone(),
            ready: self.ready(),
        })
    }

    /// What the fault leaves when it takes so many ready pods.
    pub(super) fn target(&self, taken: usize) -> Target {
        self.leaving(self.ready().saturating_sub(size(taken)))
    }

    /// What it leaves when so many stay ready at the least.
    pub(super) fn leaving(&self, left: u32) -> Target {
        let what = self.object.to_string();
        let itself = [(self.object.uid.clone(), what.clone())].into();
        Target {
            unavailable: self.unavailable(),
            ..Target::of(what, itself, &self.pods, left)
        }
    }

    /// Why it is not available, where its condition says so: a StatefulSet has none.
    pub(super) fn unavailable(&self) -> Option<String> {
        let conditions = self.found.data["status"]["conditions"].as_array()?;
        let said = conditions
            .iter()
            .find(|condition| condition["type"] == "Available" && condition["status"] == "False")?;
        Some(said["message"].as_str().unwrap_or_default().to_owned())
    }

    /// What a Deployment keeps while its pods are replaced, one after the other or all at once.
    pub(super) fn rolled_out(&self) -> Result<Target, FaultError> {
        Ok(self.leaving(strategy::kept(&self.found.data["spec"])?))
    }
}

/// What the UIDs of pods are together, in whatever order they come.
fn seed(pods: &[&Pod]) -> [u8; 32] {
    let mut seed = [0; 32];
    for pod in pods {
        let uid = pod.uid().unwrap_or_default();
        for (place, byte) in seed.iter_mut().zip(uid.bytes()) {
            *place ^= byte;
        }
    }
    seed
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectMeta;
    use rand::Rng as _;
    use serde_json::json;

    use super::*;

    fn pod(uid: &mut StdRng) -> Pod {
        let uid = uid.random::<u128>();
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        Pod {
            metadata: ObjectMeta {
                name: Some(format!("pay-{:x}", uid >> 108)),
                uid: Some(format!("{uid:032x}")),
                ..ObjectMeta::default()
            },
            status: serde_json::from_value(ready).unwrap(),
            ..Pod::default()
        }
    }

    fn workload(pods: Vec<Pod>) -> Workload {
        Workload {
            object: Object {
                resource: Resource::Deployment,
                name: "pay".to_owned(),
                uid: String::new(),
            },
            found: DynamicObject::new("pay", &Resource::Deployment.api_resource()),
            selector: String::new(),
            pods,
        }
    }

    #[test]
    fn every_round_is_a_draw_of_its_own() {
        let mut chance = StdRng::seed_from_u64(1);
        let mut by_age: Vec<_> = (0..4).map(|_| pod(&mut chance)).collect();
        let mut taken = [0; 4];
        for _ in 0..400 {
            let workload = workload(by_age.clone());
            let chosen = workload.choose(Count::Pods(1));
            assert_eq!(workload.choose(Count::Pods(1)), chosen);
            let age = by_age.iter().position(|pod| pod == chosen[0]).unwrap();
            taken[age] += 1;
            // Its successor is the newest.
            by_age.remove(age);
            by_age.push(pod(&mut chance));
        }
        assert!(
            taken.iter().all(|times| (60..140).contains(times)),
            "{taken:?}"
        );
    }
}
