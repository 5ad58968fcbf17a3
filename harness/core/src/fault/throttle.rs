//! `throttle`: put a proxy in front of a Service that makes it slow, narrow or unreliable.
//!
//! ```yaml
//! fault: {throttle: {service: pay, delay: 800ms, jitter: 200ms}}
//! ```
//!
//! ```yaml
//! fault:
//!   throttle: {service: pay, from: {deployment: app, env: PAY_URL}, errors: 20, status: 503, abort: 5}
//! ```
//!
//! ```yaml
//! fault: {throttle: {service: pay, bandwidth: 1MiB/s}}
//! ```
//!
//! ```yaml
//! fault: {throttle: {service: pay, blackhole: true}}
//! ```
//!
//! At least one harm is needed:
//!
//! - `delay` is added to every request; with `jitter` it varies evenly by up to so much either way;
//! - `bandwidth` bounds the bytes per second in each direction, over all connections together;
//! - `errors` answers so many percent of the requests itself, with `status` (503 where it is left
//!   out);
//! - `abort` resets the connection of so many percent of the requests;
//! - `blackhole` accepts connections and never answers; nothing else goes with it.
//!
//! Without `from` every caller of the Service meets the proxy. With it only the pods of that
//! Deployment do: its variable `env`, which holds the Service's URL, is pointed at the proxy, so
//! its pods are rolled out at the beginning and at the end of the fault.
//!
//! Where nobody who meets the proxy is answered (`blackhole`, or `errors` and `abort` of 100 together),
//! the Service is as good as gone, which needs `safety.allow: [blastRadius]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::duration::{self, text};

/// What an error that was put in is called when the file does not say.
const USUAL_STATUS: u16 = 503;

/// Parameters of the `throttle` fault: at least one harm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttle {
    /// The Service's name in the system's namespace.
    pub service: String,
    /// The only caller that is to meet it; `None`: every caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Caller>,
    /// Added to every request; above zero.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub delay: Option<Duration>,
    /// How far a delay may be off either way; up to `delay`.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub jitter: Option<Duration>,
    /// Bytes per second in each direction, above zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Requests answered with `status`, in percent; above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<f64>,
    /// The status of these answers, 400 to 599; `None`: see [`Throttle::error_status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Requests whose connection is reset, in percent; above 0. With `errors` up to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<f64>,
    /// Accept and never answer; nothing else goes with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blackhole: bool,
}

/// A Deployment that calls the Service, and how it knows where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Caller {
    /// The Deployment's name in the system's namespace.
    pub deployment: String,
    /// Its environment variable with the Service's URL.
    pub env: String,
}

/// Bytes per second. In files and records text such as `1MiB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct Bandwidth(pub Bytes);

impl Bandwidth {
    /// Parses an amount with or without `/s` after it: `1MiB/s`, `65536`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Bytes::parse(text.strip_suffix("/s").unwrap_or(text)).map(Self)
    }
}

impl std::fmt::Display for Bandwidth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}B/s", self.0)
    }
}

impl Serialize for Bandwidth {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!("`{text}` is not a number of bytes per second"))
        })
    }
}

impl Throttle {
    /// The status of the answers that `errors` puts in.
    #[must_use]
    pub fn error_status(&self) -> u16 {
        self.status.unwrap_or(USUAL_STATUS)
    }

    pub(crate) fn describe(&self) -> String {
        let mut harms = Vec::new();
        if let Some(delay) = self.delay {
            let jitter = self
                .jitter
                .map(|jitter| format!(" ± {}", duration::format(jitter)));
            let delay = duration::format(delay);
            harms.push(format!("{delay}{} of delay", jitter.unwrap_or_default()));
        }
        if let Some(bandwidth) = self.bandwidth {
            harms.push(format!("{bandwidth} each way"));
        }
        if let Some(errors) = self.errors {
            harms.push(format!("{errors} % answered {}", self.error_status()));
        }
        if let Some(abort) = self.abort {
            harms.push(format!("{abort} % of connections reset"));
        }
        if self.blackhole {
            harms.push("no answer at all".to_owned());
        }
        let caller = match &self.from {
            Some(caller) => format!(" for deployment {}", caller.deployment),
            None => String::new(),
        };
        let service = &self.service;
        format!("throttle service {service}{caller}: {}", harms.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_is_read_with_and_without_its_unit() {
        for (text, bytes) in [("1MiB/s", 1 << 20), ("64Ki/s", 65_536), ("65536", 65_536)] {
            assert_eq!(
                Bandwidth::parse(text),
                Some(Bandwidth(Bytes(bytes))),
                "{text}"
            );
        }
        for text in ["1MiB/m", "/s", "fast"] {
            assert_eq!(Bandwidth::parse(text), None, "{text}");
        }
        assert_eq!(Bandwidth(Bytes(1 << 20)).to_string(), "1MiB/s");
        assert_eq!(Bandwidth(Bytes(1000)).to_string(), "1000B/s");
    }
}
