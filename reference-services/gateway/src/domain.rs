//! What can be reached through the gateway, and what a client must be allowed to do to reach it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use axum::http::Method;

/// A service behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upstream {
    App,
    Pay,
    Store,
    Customer,
    Marketing,
}

impl Upstream {
    pub const ALL: [Self; 5] = [
        Self::App,
        Self::Pay,
        Self::Store,
        Self::Customer,
        Self::Marketing,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Pay => "pay",
            Self::Store => "store",
            Self::Customer => "customer",
            Self::Marketing => "marketing",
        }
    }

    /// The port it listens on where nothing else is said.
    pub fn home_port(self) -> u16 {
        match self {
            Self::App => 8081,
            Self::Pay => 8082,
            Self::Store => 8083,
            Self::Customer => 8084,
            Self::Marketing => 8085,
        }
    }
}

/// Something clients can use. What is not on the list of [`RESOURCES`] is not reachable.
#[derive(Debug)]
pub struct Resource {
    /// What scopes call it.
    pub name: &'static str,
    pub upstream: Upstream,
    /// The paths it is at; so is everything below them.
    pub paths: &'static [&'static str],
    pub offer: Offer,
}

/// What can be done with a resource from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Reading,
    ReadingAndWriting,
}

pub const RESOURCES: [Resource; 6] = [
    Resource {
        name: "orders",
        upstream: Upstream::App,
        // `/주문s` as clients send it: percent-encoded in either case of letters, or raw.
        paths: &[
            "/orders",
            "/%EC%A3%BC%EB%AC%B8s",
            "/%ec%a3%bc%eb%ac%b8s",
            "/주문s",
        ],
        offer: Offer::ReadingAndWriting,
    },
    Resource {
        name: "payments",
        upstream: Upstream::Pay,
        paths: &["/payments"],
        // Only app takes payments.
        offer: Offer::Reading,
    },
    Resource {
        name: "deliveries",
        upstream: Upstream::Store,
        paths: &["/deliveries"],
        offer: Offer::ReadingAndWriting,
    },
    Resource {
        name: "my-page",
        upstream: Upstream::Customer,
        paths: &["/my-page"],
        offer: Offer::ReadingAndWriting,
    },
    Resource {
        name: "notifications",
        upstream: Upstream::Customer,
        paths: &["/notifications"],
        offer: Offer::ReadingAndWriting,
    },
    Resource {
        name: "coupons",
        upstream: Upstream::Marketing,
        paths: &["/coupons"],
        offer: Offer::ReadingAndWriting,
    },
];

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    Read,
    Write,
}

impl Access {
    pub fn of(method: &Method) -> Self {
        if *method == Method::GET || *method == Method::HEAD {
            Self::Read
        } else {
            Self::Write
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// The right to one kind of access to one resource, such as `orders:write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    resource: &'static str,
    access: Access,
}

/// Text that names no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope {0:?}")]
pub struct UnknownScope(String);

impl Scope {
    /// What a request with `method` to `resource` needs.
    pub fn needed(resource: &'static Resource, method: &Method) -> Self {
        Self {
            resource: resource.name,
            access: Access::of(method),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.access.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        RESOURCES
            .iter()
            .flat_map(|resource| {
                [Access::Read, Access::Write].map(|access| Self {
                    resource: resource.name,
                    access,
                })
            })
            .find(|scope| scope.to_string() == text)
            .ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// Several scopes, written one after the other with a space between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(pub BTreeSet<Scope>);

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(" "))
    }
}

impl FromStr for Scopes {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        text.split_ascii_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_survive_being_written_down() {
        let text = "my-page:read orders:read orders:write";
        let scopes: Scopes = text.parse().unwrap();
        assert_eq!(scopes.to_string(), text);
        assert_eq!("".parse(), Ok(Scopes::default()));
        for unknown in [
            "orders",
            "orders:",
            "orders:delete",
            "Orders:read",
            "metrics:read",
        ] {
            assert_eq!(
                unknown.parse::<Scopes>(),
                Err(UnknownScope(unknown.to_owned()))
            );
        }
    }

    #[test]
    fn whatever_may_change_something_needs_the_right_to_write() {
        let orders = &RESOURCES[0];
        for (method, scope) in [
            (Method::GET, "orders:read"),
            (Method::HEAD, "orders:read"),
            (Method::POST, "orders:write"),
            (Method::DELETE, "orders:write"),
            (Method::OPTIONS, "orders:write"),
        ] {
            assert_eq!(Scope::needed(orders, &method).to_string(), scope);
        }
    }
}
