//! The conditions in the status of a cluster's objects: what one must be, and why it is not. Of a
//! cluster as a whole: whether it is healthy, and why not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A kind of object whose status has conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectKind {
    /// In the system's namespace, as all but nodes.
    Deployment,
    /// One pod, by its own name.
    Pod,
    /// Belongs to no namespace.
    Node,
    /// Scales by metrics.
    HorizontalPodAutoscaler,
}

impl ObjectKind {
    /// Every kind, in the order of the reference.
    pub const ALL: [Self; 4] = [
        Self::Deployment,
        Self::Pod,
        Self::Node,
        Self::HorizontalPodAutoscaler,
    ];

    /// The word of the experiment file, which is Kubernetes' own.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
        }
    }
}

/// What a condition can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It is so.
    True,
    /// It is not.
    False,
    /// Whoever knew is silent.
    Unknown,
}

impl Status {
    /// Every one, in the order of the reference.
    pub const ALL: [Self; 3] = [Self::True, Self::False, Self::Unknown];

    /// The word of the experiment file, which is Kubernetes' own.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequiredCondition {
    /// Of which kind of object.
    pub kind: ObjectKind,
    /// Of which object.
    pub name: String,
    /// Which of its conditions. Any name: whoever extends a cluster adds conditions.
    #[serde(rename = "type")]
    pub type_: String,
    /// What it must be.
    pub status: Status,
}

/// A condition as an object shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Condition {
    /// Which one.
    #[serde(rename = "type")]
    pub type_: String,
    /// What it is: a [`Status`] by its name, unless the cluster knows more of them.
    pub status: String,
    /// Why, in one word; may be empty.
    #[serde(default)]
    pub reason: String,
    /// Why, for people; may be empty.
    #[serde(default)]
    pub message: String,
}

impl RequiredCondition {
    /// The object, for people.
    #[must_use]
    pub fn object(&self) -> String {
        format!("{} {}", self.kind.name().to_lowercase(), self.name)
    }

    /// Why the condition is not what it must be, if so. `shown`: all conditions of the object;
    /// `None`: there is no such object.
    #[must_use]
    pub fn unmet(&self, shown: Option<&[Condition]>) -> Option<String> {
        let (object, type_) = (self.object(), &self.type_);
        let Some(shown) = shown else {
            return Some(format!("{object} does not exist"));
        };
        let Some(found) = shown.iter().find(|condition| condition.type_ == *type_) else {
            return Some(format!("{object} has no condition {type_}"));
        };
        let is = match (self.status.name(), found.status.as_str()) {
            (wanted, status) if wanted == status => return None,
            ("True", "False") => format!("{object} is not {type_}"),
            (wanted, status) => format!("{type_} of {object} is {status}, not {wanted}"),
        };
        Some(match (found.reason.as_str(), found.message.as_str()) {
            ("", "") => is,
            ("", why) | (why, "") => format!("{is}: {why}"),
            (reason, message) => format!("{is}: {reason} ({message})"),
        })
    }
}

/// What a cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterHealth {
    /// What its API server answers at `/readyz`: `ok`, or a line for each thing that it has checked,
    /// such as its store (etcd).
    pub readyz: String,
    /// The conditions of each of its nodes, by the node's name.
    pub nodes: BTreeMap<String, Vec<Condition>>,
}

impl ClusterHealth {
    /// Why the cluster is not healthy, if so: its API server is not ready, or a node is not, or there
    /// is none.
    #[must_use]
    pub fn unmet(&self) -> Option<String> {
        let answer = self.readyz.trim();
        if answer != "ok" {
            let failed = answer.lines().filter_map(|line| line.strip_prefix("[-]"));
            let failed: Vec<_> = failed.collect();
            let why = match failed.as_slice() {
                [] => answer.to_owned(),
                failed => failed.join(", "),
            };
            return Some(format!("the API server is not ready: {why}"));
        }
        if self.nodes.is_empty() {
            return Some("the cluster has no nodes".to_owned());
        }
        self.nodes.iter().find_map(|(name, shown)| {
            let ready = RequiredCondition {
                kind: ObjectKind::Node,
                name: name.clone(),
                type_: "Ready".to_owned(),
                status: Status::True,
            };
            ready.unmet(Some(shown))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn required(type_: &str, status: Status) -> RequiredCondition {
        RequiredCondition {
            kind: ObjectKind::Deployment,
            name: "pay".to_owned(),
            type_: type_.to_owned(),
            status,
        }
    }

    fn shown(status: &str, reason: &str, message: &str) -> Condition {
        Condition {
            type_: "Available".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn what_is_as_it_must_be_is_no_news() {
        for status in Status::ALL {
            let shown = [shown(status.name(), "Because", "It is so.")];
            assert_eq!(required("Available", status).unmet(Some(&shown)), None);
        }
    }

    #[test]
    fn what_is_not_says_what_it_is_and_why() {
        let unmet = |wanted, condition| required("Available", wanted).unmet(Some(&[condition]));
        let words = |words: &str| Some(words.to_owned());
        assert_eq!(
            unmet(Status::True, shown("False", "TooFew", "None is left.")),
            words("deployment pay is not Available: TooFew (None is left.)")
        );
        assert_eq!(
            unmet(Status::True, shown("Unknown", "", "Nobody tells.")),
            words("Available of deployment pay is Unknown, not True: Nobody tells.")
        );
        assert_eq!(
            unmet(Status::False, shown("True", "Enough", "")),
            words("Available of deployment pay is True, not False: Enough")
        );
        assert_eq!(
            unmet(Status::True, shown("False", "", "")),
            words("deployment pay is not Available")
        );
    }

    #[test]
    fn no_data_is_not_as_it_must_be() {
        // Not even where it must not be: who misspells it would never hear of it.
        let absent = required("Availabel", Status::False);
        assert_eq!(
            absent.unmet(Some(&[shown("True", "", "")])),
            Some("deployment pay has no condition Availabel".to_owned())
        );
        assert_eq!(
            absent.unmet(None),
            Some("deployment pay does not exist".to_owned())
        );
    }

    fn node(name: &str, status: &str) -> (String, Vec<Condition>) {
        let mut ready = shown(status, "KubeletReady", "");
        ready.type_ = "Ready".to_owned();
        let pressure = shown("True", "", "");
        (name.to_owned(), vec![pressure, ready])
    }

    fn unhealthy(readyz: &str, nodes: &[(String, Vec<Condition>)]) -> Option<String> {
        let nodes = nodes.iter().cloned().collect();
        let readyz = readyz.to_owned();
        ClusterHealth { readyz, nodes }.unmet()
    }

    #[test]
    fn a_cluster_is_healthy_whose_api_server_and_nodes_are_ready() {
        let nodes = [node("a", "True"), node("b", "True")];
        assert_eq!(unhealthy("ok\n", &nodes), None);
    }

    #[test]
    fn a_cluster_that_is_not_healthy_says_why() {
        let words = |words: &str| Some(words.to_owned());
        let nodes = [node("a", "True"), node("b", "Unknown")];
        assert_eq!(
            unhealthy("ok", &nodes),
            words("Ready of node b is Unknown, not True: KubeletReady")
        );
        let answer = "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed";
        assert_eq!(
            unhealthy(answer, &nodes),
            words("the API server is not ready: etcd failed: reason withheld")
        );
        assert_eq!(
            unhealthy("shutting down", &nodes),
            words("the API server is not ready: shutting down")
        );
    }

    #[test]
    fn a_cluster_that_does_not_tell_is_not_healthy() {
        let words = |words: &str| Some(words.to_owned());
        let silent = [("a".to_owned(), Vec::new())];
        assert_eq!(
            unhealthy("ok", &silent),
            words("node a has no condition Ready")
        );
        assert_eq!(unhealthy("ok", &[]), words("the cluster has no nodes"));
    }
}
