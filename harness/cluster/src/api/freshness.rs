//! As of when: which state of the objects a list shows, and where a watch
//! begins, by `resourceVersion` and the parameters that go with it.

use super::error::ApiError;
use super::request::Parameters;
use crate::cause::{Cause, CauseReason};

/// The state of the objects which a list shows.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) enum ListFrom {
    /// The present, provided that it is no older than this revision.
    Present(u64),
    /// As it was at this revision.
    Exactly(u64),
    /// What follows a page, as it was when that was read.
    Continued(Place),
}

/// Where a page of a list ended; opaque to clients.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) struct Place {
    pub(super) revision: u64,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Where a watch begins.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum WatchFrom {
    /// With every object that is there.
    Objects,
    /// Behind this revision.
    Revision(u64),
    /// With the next change.
    Now,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.revision, self.namespace, self.name)
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        Some(Self {
            revision: parts.next()?.parse().ok()?,
            namespace: parts.next()?.to_owned(),
            name: parts.next()?.to_owned(),
        })
    }
}

/// What a list asks for.
pub(super) fn of_list(parameters: &Parameters) -> Result<ListFrom, ApiError> {
    let revision = revision(parameters)?;
    let meant = parameters.resource_version_match.as_str();
    if parameters.asks_for_initial_events().is_some() {
        let message = "sendInitialEvents is forbidden for list";
        return Err(refused(
            CauseReason::Forbidden,
            "sendInitialEvents",
            message,
        ));
    }
    if !parameters.continue_token.is_empty() {
        if !meant.is_empty() {
            let message = "resourceVersionMatch is forbidden when continue is provided";
            return Err(refused(
                CauseReason::Forbidden,
                "resourceVersionMatch",
                message,
            ));
        }
        if revision.is_some_and(|revision| revision != 0) {
            let message = "specifying resource version is not allowed when using continue";
            return Err(ApiError::BadRequest(message.to_owned()));
        }
        let place = Place::parse(&parameters.continue_token);
        let invalid = || ApiError::BadRequest("continue key is not valid".to_owned());
        return place.map(ListFrom::Continued).ok_or_else(invalid);
    }
    match (meant, revision) {
        ("", Some(revision)) if revision > 0 && parameters.limit > 0 => {
            Ok(ListFrom::Exactly(revision))
        }
        ("Exact", Some(revision)) if revision > 0 => Ok(ListFrom::Exactly(revision)),
        ("Exact", Some(_)) => {
            let message = "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"";
            Err(refused(
                CauseReason::Forbidden,
                "resourceVersionMatch",
                message,
            ))
        }
        ("" | "NotOlderThan", revision) if meant.is_empty() || revision.is_some() => {
            Ok(ListFrom::Present(revision.unwrap_or_default()))
        }
        _ => Err(unknown_match(parameters)),
    }
}

/// What a watch asks for.
pub(super) fn of_watch(parameters: &Parameters) -> Result<WatchFrom, ApiError> {
    let revision = revision(parameters)?;
    let meant = parameters.resource_version_match.as_str();
    let initial = parameters.asks_for_initial_events();
    if initial.is_some() && meant != "NotOlderThan" {
        let message =
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan".to_owned();
        return Err(refused(
            CauseReason::Forbidden,
            "resourceVersionMatch",
            message,
        ));
    }
    if initial.is_none() && !meant.is_empty() {
        let message =
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return Err(refused(
            CauseReason::Forbidden,
            "resourceVersionMatch",
            message,
        ));
    }
    Ok(match (initial, revision.unwrap_or_default()) {
        (Some(true), _) | (None, 0) => WatchFrom::Objects,
        (Some(false), 0) => WatchFrom::Now,
        (Some(false) | None, revision) => WatchFrom::Revision(revision),
    })
}

fn revision(parameters: &Parameters) -> Result<Option<u64>, ApiError> {
    match parameters.resource_version.as_str() {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| ApiError::BadRequest(format!("invalid resource version {text:?}"))),
    }
}

fn unknown_match(parameters: &Parameters) -> ApiError {
    let field = "resourceVersionMatch";
    match parameters.resource_version_match.as_str() {
        "Exact" | "NotOlderThan" => {
            let message = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            refused(CauseReason::Forbidden, field, message)
        }
        other => {
            let message = format!("{other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\"");
            refused(CauseReason::Invalid, field, message)
        }
    }
}

fn refused(reason: CauseReason, field: &str, message: impl Into<String>) -> ApiError {
    ApiError::InvalidOptions {
        kind: "ListOptions",
        causes: vec![Cause::new(reason, field, message)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str) -> Option<ListFrom> {
        of_list(&Parameters::parse(Some(query)).unwrap()).ok()
    }

    fn watch(query: &str) -> Option<WatchFrom> {
        of_watch(&Parameters::parse(Some(query)).unwrap()).ok()
    }

    #[test]
    fn a_list_is_of_the_present_unless_it_asks_for_a_revision() {
        assert_eq!(list(""), Some(ListFrom::Present(0)));
        assert_eq!(
            list("resourceVersion=0&limit=5"),
            Some(ListFrom::Present(0))
        );
        assert_eq!(list("resourceVersion=7"), Some(ListFrom::Present(7)));
        let at_least = "resourceVersion=7&limit=5&resourceVersionMatch=NotOlderThan";
        assert_eq!(list(at_least), Some(ListFrom::Present(7)));
        assert_eq!(
            list("resourceVersion=7&limit=5"),
            Some(ListFrom::Exactly(7))
        );
        let exact = "resourceVersion=7&resourceVersionMatch=Exact";
        assert_eq!(list(exact), Some(ListFrom::Exactly(7)));
        for refused in [
            "resourceVersionMatch=Exact",
            "resourceVersionMatch=NotOlderThan",
            "resourceVersion=0&resourceVersionMatch=Exact",
            "resourceVersion=1&resourceVersionMatch=About",
            "resourceVersion=new",
            "sendInitialEvents=true",
            "continue=x",
            "continue=1/a/b&resourceVersion=3",
            "continue=1/a/b&resourceVersionMatch=Exact",
        ] {
            assert_eq!(list(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_page_ends_where_the_next_begins() {
        let place = Place {
            revision: 12,
            namespace: String::new(),
            name: "a.b".to_owned(),
        };
        let next = list(&format!("continue={place}&limit=2"));
        assert_eq!(next, Some(ListFrom::Continued(place)));
    }

    #[test]
    fn a_watch_begins_with_objects_or_behind_a_revision() {
        assert_eq!(watch(""), Some(WatchFrom::Objects));
        assert_eq!(watch("resourceVersion=0"), Some(WatchFrom::Objects));
        assert_eq!(watch("resourceVersion=7"), Some(WatchFrom::Revision(7)));
        let streaming = |send: &str, version: &str| {
            watch(&format!(
                "sendInitialEvents={send}&resourceVersionMatch=NotOlderThan&resourceVersion={version}"
            ))
        };
        assert_eq!(streaming("true", "7"), Some(WatchFrom::Objects));
        assert_eq!(streaming("false", "7"), Some(WatchFrom::Revision(7)));
        assert_eq!(streaming("false", ""), Some(WatchFrom::Now));
        assert_eq!(watch("sendInitialEvents=true"), None);
        assert_eq!(
            watch("resourceVersion=7&resourceVersionMatch=NotOlderThan"),
            None
        );
        assert_eq!(watch("resourceVersion=x"), None);
    }
}
