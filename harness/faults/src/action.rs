//! What a fault does to a cluster, as data: each action knows how to happen, how to be undone, and
//! what is not as before. A kind of fault is a list of them; the list is stored before the first one
//! happens, and undone from its end.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::{Deserialize, Serialize};

use crate::error::{FaultError, one_line};
use crate::object::{Cluster, Object};

mod back;
mod create;
mod evict;
mod kill;
mod remove;
mod set;
mod wait;

pub(crate) use back::Back;
pub(crate) use create::Create;
pub use create::RUN_LABEL;
pub(crate) use evict::Evict;
pub(crate) use kill::{Kill, Means};
pub(crate) use remove::Remove;
pub(crate) use set::Set;
pub(crate) use wait::{Condition, Wait, has_ended, is_ready};

/// One action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Action {
    /// Fields of an object get other values.
    Set(Set),
    /// An object is made.
    Create(Create),
    /// An object is deleted, and made again afterwards.
    Remove(Remove),
    /// Pods are evicted or deleted; their controller replaces them.
    Kill(Kill),
    /// Pods are asked to leave a node, as far as disruption budgets permit.
    Evict(Evict),
    /// Nothing is done until something can be seen: evidence.
    Wait(Wait),
    /// Nothing is done: pods that the fault took are looked for when it is undone.
    Back(Back),
}

/// On whose behalf an action happens: objects made for it go when it goes.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) reference: OwnerReference,
    pub(crate) run: String,
}

/// How often an action has been tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    First,
    /// Perhaps it was done already by one who could not tell.
    Again,
}

impl Action {
    /// One line for people: what will happen.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Set(set) => set.describe(),
            Self::Create(create) => create.describe(),
            Self::Remove(remove) => remove.describe(),
            Self::Kill(kill) => kill.describe(),
            Self::Evict(evict) => evict.describe(),
            Self::Wait(wait) => wait.describe(),
            Self::Back(back) => back.describe(),
        }
    }

    /// One line for people: what undoes it; `None` where nothing is left to undo.
    pub(crate) fn describe_undo(&self) -> Option<String> {
        match self {
            Self::Set(set) => set.describe_undo(),
            Self::Create(create) => Some(create.describe_undo()),
            Self::Remove(remove) => Some(remove.describe_undo()),
            Self::Kill(_) | Self::Evict(_) | Self::Wait(_) | Self::Back(_) => None,
        }
    }

    /// Makes it happen, and says what proves it. Done again, it is done once.
    pub(crate) async fn inject(
        &self,
        cluster: &Cluster,
        owner: &Owner,
        attempt: Attempt,
    ) -> Result<Option<String>, FaultError> {
        match self {
            Self::Set(set) => set.inject(cluster, attempt).await,
            Self::Create(create) => create.inject(cluster, owner).await.map(Some),
            Self::Remove(remove) => remove.inject(cluster).await.map(Some),
            Self::Kill(kill) => kill.inject(cluster, attempt).await.map(Some),
            Self::Evict(evict) => evict.inject(cluster).await.map(Some),
            Self::Wait(wait) => wait.inject(cluster).await,
            Self::Back(_) => Ok(None),
        }
    }

    /// Whether the cluster would permit it, as far as it can say so beforehand; nothing is changed.
    pub(crate) async fn try_out(&self, cluster: &Cluster) -> Result<(), FaultError> {
        match self {
            Self::Create(create) => create.try_out(cluster).await,
            Self::Set(_)
            | Self::Remove(_)
            | Self::Kill(_)
            | Self::Evict(_)
            | Self::Wait(_)
            | Self::Back(_) => Ok(()),
        }
    }

    /// Whether it may be broken off half-way: it only looks, or nothing of it is put back.
    pub(crate) fn may_be_broken_off(&self) -> bool {
        match self {
            Self::Wait(_) | Self::Evict(_) | Self::Back(_) => true,
            Self::Set(_) | Self::Create(_) | Self::Remove(_) | Self::Kill(_) => false,
        }
    }

    /// Pods that are taken all at once, whatever becomes of the others.
    pub(crate) fn takes(&self) -> &[Object] {
        match self {
            Self::Kill(kill) => &kill.pods,
            _ => &[],
        }
    }

    /// Pods that are asked to leave, which their disruption budgets may refuse.
    pub(crate) fn evicts(&self) -> &[Object] {
        match self {
            Self::Kill(kill) if kill.means == Means::Eviction => &kill.pods,
            Self::Evict(evict) => &evict.pods,
            _ => &[],
        }
    }

    /// What is done again and again while the fault is held.
    pub(crate) fn repeated(&self) -> Option<(&Kill, Duration)> {
        match self {
            Self::Kill(kill) => kill.every.map(|every| (kill, every)),
            _ => None,
        }
    }

    /// Why what it has made no longer does its part, if that is so.
    pub(crate) async fn lost(
        &self,
        cluster: &Cluster,
        owner: &Owner,
    ) -> Result<Option<String>, FaultError> {
        match self {
            Self::Create(create) => create.lost(cluster, owner).await,
            Self::Set(_)
            | Self::Remove(_)
            | Self::Kill(_)
            | Self::Evict(_)
            | Self::Wait(_)
            | Self::Back(_) => Ok(None),
        }
    }

    /// Undoes it, whether it has happened or not, and says what proves that; what is already clean
    /// is success.
    async fn revert(&self, cluster: &Cluster, owner: &Owner) -> Result<Option<String>, FaultError> {
        match self {
            Self::Set(set) => set.revert(cluster).await,
            Self::Create(create) => create.revert(cluster, owner).await.map(Some),
            Self::Remove(remove) => remove.revert(cluster).await.map(Some),
            Self::Kill(_) | Self::Evict(_) | Self::Back(_) => Ok(None),
            Self::Wait(wait) => wait.revert(cluster).await,
        }
    }

    /// What is not as before, if anything, and how a person puts it back.
    pub(crate) async fn difference(
        &self,
        cluster: &Cluster,
        owner: &Owner,
    ) -> Result<Option<String>, FaultError> {
        match self {
            Self::Set(set) => set.difference(cluster).await,
            Self::Create(create) => create.difference(cluster, owner).await,
            Self::Remove(remove) => remove.difference(cluster).await,
            Self::Kill(_) | Self::Evict(_) | Self::Wait(_) | Self::Back(_) => Ok(None),
        }
    }

    fn back(&self) -> Option<&Back> {
        match self {
            Self::Back(back) => Some(back),
            _ => None,
        }
    }
}

/// Undoes actions from their end, and says what proves that and whether the pods are back; what fails
/// does not keep the rest from being undone.
pub(crate) async fn revert_all(
    actions: &[Action],
    cluster: &Cluster,
    owner: &Owner,
) -> Result<String, FaultError> {
    let (mut evidence, mut failures) = (Vec::new(), Vec::new());
    for action in actions.iter().rev() {
        match action.revert(cluster, owner).await {
            Ok(seen) => evidence.extend(seen),
            Err(error) => failures.push(one_line(&error)),
        }
    }
    if !failures.is_empty() {
        return Err(FaultError::NotReverted(failures.join("; ")));
    }
    let proof = if evidence.is_empty() {
        "there was nothing to put back".to_owned()
    } else {
        evidence.join("; ")
    };
    let taken = actions.iter().filter_map(Action::back);
    Ok(back::look(proof, taken, cluster).await)
}
