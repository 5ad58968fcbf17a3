//! From the cause of a failure to its reason and its words.

use std::error::Error;
use std::io;

use holdfast_core::outcome::Reason;
use nix::errno::Errno;

use crate::tls;

/// Longest detail of a failure that is kept, in characters.
const DETAIL_LIMIT: usize = 200;

/// Why a request did not end as expected.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    /// One line of at most [`DETAIL_LIMIT`] characters.
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(reason: Reason, detail: &str) -> Self {
        Self {
            reason,
            detail: one_line(detail),
        }
    }

    /// A connection that could not be made.
    pub(crate) fn of_connect(error: &io::Error) -> Self {
        let reason = client_side(error).unwrap_or(match error.kind() {
            io::ErrorKind::TimedOut => Reason::ConnectTimeout,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                Reason::ResetBeforeHeaders
            }
            // Refused, or no route: whatever answered said that nobody is there.
            _ => Reason::ConnectRefused,
        });
        Self::new(reason, &error.to_string())
    }

    /// A name that did not resolve.
    pub(crate) fn of_resolution(error: &io::Error) -> Self {
        let reason = client_side(error).unwrap_or(Reason::Dns);
        Self::new(reason, &error.to_string())
    }

    /// A TLS handshake that failed.
    pub(crate) fn of_handshake(error: &io::Error) -> Self {
        Self::new(Reason::Tls, &words(error))
    }

    /// A connection that broke during an exchange, which by itself means `reason`.
    pub(crate) fn of_exchange(error: &io::Error, reason: Reason) -> Self {
        // A server may refuse a handshake after the client took it for complete.
        let reason = match reason {
            Reason::ResetBeforeHeaders if tls::is_cause_of(error) => Reason::Tls,
            reason => reason,
        };
        Self::new(reason, &words(error))
    }
}

/// A request that got no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Nothing of it has reached the server: it can go out on another connection.
    Unsent(Failure),
    Failed(Failure),
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unsent(failure) | Unanswered::Failed(failure) => failure,
        }
    }
}

/// The reason for an unexpected status without a documented refusal header.
pub(crate) fn of_status(status: u16) -> Reason {
    match status {
        429 => Reason::Status429,
        400..=499 => Reason::Status4xx,
        500..=599 => Reason::Status5xx,
        _ => Reason::StatusOther,
    }
}

/// Failures of the generator itself.
fn client_side(error: &io::Error) -> Option<Reason> {
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::EADDRNOTAVAIL => Some(Reason::NoPort),
        Errno::EMFILE | Errno::ENFILE => Some(Reason::NoDescriptor),
        _ => None,
    }
}

/// An error and its sources.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// An error and its sources, `: ` between them.
pub(crate) fn words(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(DETAIL_LIMIT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generators_own_failures_are_told_apart() {
        let reason =
            |errno: Errno| Failure::of_connect(&io::Error::from_raw_os_error(errno as i32)).reason;
        assert_eq!(reason(Errno::EADDRNOTAVAIL), Reason::NoPort);
        assert_eq!(reason(Errno::EMFILE), Reason::NoDescriptor);
        assert_eq!(reason(Errno::ENFILE), Reason::NoDescriptor);
        assert_eq!(reason(Errno::ECONNREFUSED), Reason::ConnectRefused);
        assert_eq!(reason(Errno::ETIMEDOUT), Reason::ConnectTimeout);
        assert_eq!(reason(Errno::ECONNRESET), Reason::ResetBeforeHeaders);
    }

    #[test]
    fn details_are_one_bounded_line() {
        let failure = Failure::new(Reason::Dns, &format!("a\n\tb  {}", "é".repeat(500)));
        assert!(failure.detail.starts_with("a b éé"));
        assert_eq!(failure.detail.chars().count(), DETAIL_LIMIT);
    }
}
