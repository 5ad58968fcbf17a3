//! Where a redirect leads, and what is sent there (RFC 9110, section 15.4).

use holdfast_core::outcome::Reason;
use url::{Position, Url};

use crate::dialer::Dialer;
use crate::failure::{self, Failure};
use crate::message::{Message, RequestError};

/// Most redirects in a row that are followed.
pub(crate) const LIMIT: usize = 10;

/// Headers that another origin must not see.
const PRIVATE: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// The request that follows `message` after an answer with a redirecting status.
pub(crate) fn next(
    message: &Message,
    status: u16,
    location: &[u8],
    dialer: &Dialer,
) -> Result<Message, Failure> {
    let location = String::from_utf8_lossy(location);
    let url = resolve(message, &location).map_err(|error| nowhere(&location, &error))?;
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}"));
    let origin = format!("{}://{host}{}", url.scheme(), port.unwrap_or_default());
    let target = dialer.target(&origin, &message.target);
    let target = target.map_err(|error| match error {
        RequestError::Tls(error) => Failure::new(Reason::Tls, &failure::words(&error)),
        error => nowhere(&location, &error),
    })?;
    let parts = message.parts();
    let becomes_get = match status {
        301 | 302 => parts.method == "POST",
        303 => parts.method != "HEAD",
        _ => false,
    };
    let stays = target.is_same_origin(&message.target);
    let goes_along = |name: &str| {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        !is("content-length")
            && (stays || !is("host") && !PRIVATE.into_iter().any(is))
            && !(becomes_get && is("content-type"))
    };
    let headers = parts.headers.filter(|(name, _)| goes_along(name));
    let (method, body) = match (becomes_get, parts.body) {
        (true, _) => ("GET", None),
        (false, "") => (parts.method, None),
        (false, body) => (parts.method, Some(body)),
    };
    let mut next = message.toward(target);
    next.write(
        method,
        &url[Position::BeforePath..Position::AfterQuery],
        headers,
        body,
    )
    .map_err(|error| nowhere(&location, &error))?;
    Ok(next)
}

/// A location is relative to the request's own URL.
fn resolve(message: &Message, location: &str) -> Result<Url, url::ParseError> {
    let target = &message.target;
    let path = message.parts().path;
    let own = format!("{}://{}{path}", target.scheme(), target.authority);
    Url::parse(&own)?.join(location)
}

fn nowhere(location: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let detail = format!(
        "the location `{location}` leads nowhere: {}",
        failure::words(error)
    );
    Failure::new(Reason::Redirect, &detail)
}
