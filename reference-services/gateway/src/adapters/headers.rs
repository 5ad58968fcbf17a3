//! Which headers pass through the gateway, and what it adds.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers about one connection, not about the message (RFC 9110, section 7.6.1), and their like.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers of a request that the gateway deals with itself, or says anew.
const ENDS_HERE: [HeaderName; 5] = [
    // Tokens are for the gateway alone.
    header::AUTHORIZATION,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    // Said again by whoever sends the body.
    header::CONTENT_LENGTH,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The headers that go on to the upstream with a request that came from `client`.
pub fn forwarded(received: &HeaderMap, client: IpAddr) -> HeaderMap {
    let mut headers = received.clone();
    remove_hop_by_hop(&mut headers);
    for name in &ENDS_HERE {
        headers.remove(name);
    }
    // Who the client says it speaks for comes first and is hearsay; what was seen here comes last.
    let mut chain: Vec<_> = received
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    chain.push(client.to_canonical().to_string());
    if let Ok(value) = HeaderValue::try_from(chain.join(", ")) {
        headers.insert(FORWARDED_FOR, value);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.remove(FORWARDED_HOST);
    if let Some(host) = received.get(header::HOST) {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    headers
}

/// Removes what is about the connection that a message came by.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn a_request_goes_on_without_what_was_for_the_gateway() {
        let received = headers(&[
            ("accept", "application/json"),
            ("authorization", "Bearer x"),
            ("connection", "keep-alive, X-Private"),
            ("content-length", "3"),
            ("expect", "100-continue"),
            ("forwarded", "for=192.0.2.60"),
            ("host", "food.example"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-host", "forged.example"),
            ("x-private", "1"),
        ]);
        let expected = headers(&[
            ("accept", "application/json"),
            ("x-forwarded-for", "203.0.113.7, 192.0.2.1"),
            ("x-forwarded-host", "food.example"),
            ("x-forwarded-proto", "http"),
        ]);
        let client = "192.0.2.1".parse().unwrap();
        assert_eq!(forwarded(&received, client), expected);
    }

    #[test]
    fn an_answer_comes_back_without_what_was_about_its_connection() {
        let mut answer = headers(&[
            ("connection", "close, x-hop"),
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
            ("x-hop", "1"),
        ]);
        remove_hop_by_hop(&mut answer);
        assert_eq!(answer, headers(&[("content-type", "text/plain")]));
    }
}
