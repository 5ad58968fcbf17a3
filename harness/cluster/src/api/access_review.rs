//! May I? (`kubectl auth can-i`). Whoever is let in may do everything that
//! this cluster can do, so what is asked is what it can do.

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
    SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReviewStatus,
    SubjectRulesReviewStatus,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::discovery;
use super::error::ApiError;
use crate::store::Resource;

/// What is served apart from objects; a star at the end stands for any rest.
const PATHS: [&str; 9] = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi/*",
    "/readyz",
    "/version",
];

/// Answers whether one thing can be done.
pub(super) fn access(served: &[Resource], review: Value) -> Result<Value, ApiError> {
    let mut review: SelfSubjectAccessReview = typed(review)?;
    let asked = &review.spec;
    let refusal = match (&asked.resource_attributes, &asked.non_resource_attributes) {
        (Some(resource), None) => refusal_of_resource(served, resource),
        (None, Some(path)) => refusal_of_path(path),
        _ => {
            let message =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(ApiError::BadRequest(message.to_owned()));
        }
    };
    review.status = Some(SubjectAccessReviewStatus {
        allowed: refusal.is_none(),
        reason: refusal,
        ..SubjectAccessReviewStatus::default()
    });
    written(&review)
}

/// Answers with everything that can be done.
pub(super) fn rules(served: &[Resource], review: Value) -> Result<Value, ApiError> {
    let mut review: SelfSubjectRulesReview = typed(review)?;
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let rule = |group: &str, plural: String, verbs: &[&str]| ResourceRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![plural]),
        verbs: owned(verbs),
        ..ResourceRule::default()
    };
    let resource_rules = served.iter().flat_map(|resource| {
        let known = resource.description();
        let parts = known.subresources.iter().map(move |part| {
            let name = format!("{}/{}", known.plural, part.name());
            rule(known.group, name, discovery::subresource_verbs(*part))
        });
        let whole = rule(known.group, known.plural.to_owned(), known.verbs);
        std::iter::once(whole).chain(parts)
    });
    review.status = Some(SubjectRulesReviewStatus {
        resource_rules: resource_rules.collect(),
        non_resource_rules: vec![NonResourceRule {
            non_resource_urls: Some(owned(&PATHS)),
            verbs: owned(&["get"]),
        }],
        ..SubjectRulesReviewStatus::default()
    });
    written(&review)
}

/// Why something cannot be done with a kind; nothing if it can be done.
fn refusal_of_resource(served: &[Resource], asked: &ResourceAttributes) -> Option<String> {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let (group, plural) = (of(&asked.group), of(&asked.resource));
    let (part, verb) = (of(&asked.subresource), of(&asked.verb));
    let is = |asked: &str, known: &str| asked == "*" || asked == known;
    let mut kinds = served
        .iter()
        .map(|resource| resource.description())
        .filter(|known| is(&group, known.group) && is(&plural, known.plural))
        .peekable();
    if kinds.peek().is_none() {
        return Some(format!("the local cluster does not serve {plural:?}"));
    }
    let can = |verbs: &[&str]| verbs.iter().any(|known| is(&verb, known));
    let possible = kinds.any(|known| match part.as_str() {
        "" => can(known.verbs),
        part => known
            .subresources
            .iter()
            .any(|known| is(part, known.name()) && can(discovery::subresource_verbs(*known))),
    });
    let what = if part.is_empty() {
        plural
    } else {
        format!("{plural}/{part}")
    };
    (!possible).then(|| format!("the local cluster cannot {verb} {what}"))
}

fn refusal_of_path(asked: &NonResourceAttributes) -> Option<String> {
    let path = asked.path.as_deref().unwrap_or_default();
    let verb = asked.verb.as_deref().unwrap_or_default();
    let is_served = PATHS.iter().any(|known| match known.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == *known,
    });
    let possible = matches!(verb, "get" | "*") && (is_served || path == "*");
    (!possible).then(|| format!("the local cluster cannot {verb} {path}"))
}

fn typed<T: DeserializeOwned>(review: Value) -> Result<T, ApiError> {
    serde_json::from_value(review)
        .map_err(|error| ApiError::BadRequest(format!("the body is no such review: {error}")))
}

fn written<T: Serialize>(review: &T) -> Result<Value, ApiError> {
    serde_json::to_value(review)
        .map_err(|error| ApiError::BadRequest(format!("the review cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allowed(attributes: &Value) -> bool {
        let review = json!({"spec": attributes});
        let answer = access(&Resource::ALL, review).unwrap();
        answer["status"]["allowed"].as_bool().unwrap()
    }

    #[test]
    fn what_is_served_is_allowed_and_nothing_else() {
        let resource = |group: &str, resource: &str, part: &str, verb: &str| {
            allowed(&json!({"resourceAttributes": {
                "group": group, "resource": resource, "subresource": part, "verb": verb,
            }}))
        };
        assert!(resource("", "pods", "", "list"));
        assert!(resource("", "pods", "log", "get"));
        assert!(resource("apps", "deployments", "scale", "patch"));
        assert!(resource("*", "*", "", "*"));
        assert!(!resource("", "deployments", "", "get"));
        assert!(!resource("", "secrets", "", "get"));
        assert!(!resource("", "pods", "exec", "create"));
        assert!(!resource("", "pods", "log", "patch"));
        assert!(!resource("", "pods", "", "impersonate"));
    }

    #[test]
    fn paths_may_be_read_only() {
        let path = |path: &str, verb: &str| {
            allowed(&json!({"nonResourceAttributes": {"path": path, "verb": verb}}))
        };
        assert!(path("/version", "get"));
        assert!(path("/openapi/v3", "get"));
        assert!(!path("/version", "post"));
        assert!(!path("/metrics", "get"));
    }

    #[test]
    fn a_question_about_nothing_is_refused() {
        assert!(access(&Resource::ALL, json!({"spec": {}})).is_err());
        assert!(access(&Resource::ALL, json!({"spec": 1})).is_err());
    }

    #[test]
    fn the_rules_name_every_kind() {
        let answer = rules(&Resource::ALL, json!({"spec": {"namespace": "default"}})).unwrap();
        let rules = answer["status"]["resourceRules"].as_array().unwrap();
        let named = |plural: &str| {
            rules
                .iter()
                .any(|rule| rule["resources"] == json!([plural]))
        };
        assert!(
            Resource::ALL
                .iter()
                .all(|resource| named(resource.plural()))
        );
        assert!(named("deployments/scale"));
    }
}
