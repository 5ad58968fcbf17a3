//! The contracts of the gateway with those it stands before: what it sends on is what they serve.

use std::collections::BTreeSet;

use axum::body::{Body, Bytes};
use axum::http::Request;
use gateway::domain::RESOURCES;

use crate::entry::{open_gateway, send};
use crate::scripted_upstream::{Asked, Script, ScriptedUpstream};

/// What the gateway says of a request by itself.
const ITS_OWN: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "traceparent"];

/// The same request as the client sends it.
fn from_client(mut request: Request<String>) -> Request<Body> {
    for name in ITS_OWN {
        request.headers_mut().remove(name);
    }
    request.map(Body::from)
}

fn arrived(asked: Asked) -> Request<Bytes> {
    let mut request = Request::new(asked.body);
    *request.method_mut() = asked.method;
    *request.uri_mut() = asked.uri;
    *request.headers_mut() = asked.headers;
    request
}

#[tokio::test]
async fn the_gateway_sends_on_what_was_agreed() {
    for contract in contracts::of_consumer("gateway") {
        let upstream = ScriptedUpstream::start(Script::Echo).await;
        let (name, url) = (contract.provider.to_uppercase() + "_URL", upstream.url());
        let gateway = open_gateway([(&*name, &*url)]);
        for exchange in &contract.exchanges {
            send(&gateway, from_client(exchange.request.example())).await;
        }
        let asked = upstream.asked_so_far();
        assert_eq!(asked.len(), contract.exchanges.len());
        for (exchange, asked) in contract.exchanges.iter().zip(asked) {
            assert_eq!(exchange.request.check(&arrived(asked)), []);
        }
    }
}

#[test]
fn each_resource_is_agreed_on_with_the_service_that_has_it() {
    for resource in &RESOURCES {
        let contract = contracts::between("gateway", resource.upstream.name());
        let exchanges = contract.exchanges.iter();
        let paths: BTreeSet<String> = exchanges
            .map(|exchange| exchange.request.example().uri().path().to_owned())
            .collect();
        assert!(paths.contains(resource.paths[0]), "{}", resource.name);
    }
}
