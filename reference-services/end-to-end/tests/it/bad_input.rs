//! Clients that send what makes no sense, or mean no good, at the gateway of the whole system: each
//! is told what is wrong, and nobody behind notes anything.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use end_to_end::system::{PATIENCE, Part, System};

/// What the gateway signs tokens with.
const KEY: &str = "a key for tests, long enough for HS256";

/// `printf %s '{"alg":"none","typ":"at+jwt"}' | basenc --base64url | tr -d =`
const HEAD_OF_NO_ALGORITHM: &str = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";

/// How many orders the gateway may have in hand at once.
const IN_FLIGHT_LIMIT: usize = 8;

/// `printf %s secret | sha256sum`
const HASH_OF_SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// A system whose gateway lets in who has a token. Slow clients are left soon.
async fn closed_system() -> Option<System> {
    let mut system = System::new().await?;
    let scopes = ["orders:read", "orders:write", "my-page:read"];
    let clients = json!([{"id": "web", "secretSha256": HASH_OF_SECRET, "scopes": scopes}]);
    system.set(Part::Gateway, "GATEWAY_AUTH", "on");
    system.set(Part::Gateway, "OAUTH_CLIENTS", &clients.to_string());
    system.set(Part::Gateway, "JWT_KEY", KEY);
    let limit = IN_FLIGHT_LIMIT.to_string();
    system.set(Part::Gateway, "IN_FLIGHT_LIMIT", &limit);
    system.set(Part::Gateway, "HEADER_TIMEOUT", "500ms");
    system.set(Part::Gateway, "BODY_TIMEOUT", "500ms");
    for part in Part::ALL {
        system.start(part).await;
    }
    Some(system)
}

/// A client that has a token.
struct Client<'a> {
    system: &'a System,
    token: String,
}

impl<'a> Client<'a> {
    async fn of(system: &'a System) -> Self {
        let response = system
            .client
            .post(system.url(Part::Gateway, "/oauth2/token"))
            .basic_auth("web", Some("secret"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials")
            .send();
        let granted: Value = response.await.unwrap().json().await.unwrap();
        let token = granted["access_token"].as_str().unwrap().to_owned();
        Self { system, token }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.system.url(Part::Gateway, path);
        self.system
            .client
            .request(method, url)
            .bearer_auth(&self.token)
    }

    fn order(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, "/orders")
            .header("content-type", "application/json")
            .body(body)
    }
}

/// Sends what must be refused with this status, and told why as problem+json.
async fn refused(what: &str, request: RequestBuilder, status: u16) -> HeaderMap {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status, "{what}");
    let headers = response.headers().clone();
    assert_eq!(
        headers["content-type"], "application/problem+json",
        "{what}"
    );
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status, "{what}: {problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(!detail.is_empty(), "{what}: {problem}");
    headers
}

/// The books of all services have so many orders, and what belongs to them.
async fn books_have(system: &System, orders: usize) {
    let report = system.until_settled().await;
    let entries = &report["entries"];
    for book in ["orders", "payments", "deliveries", "coupons"] {
        assert_eq!(entries[book], orders, "{entries}");
    }
    // Nothing that the auditor does not look at either.
    let payments = system.read(Part::Pay, "/payments").await;
    assert_eq!(payments.as_array().unwrap().len(), orders, "{payments}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_told_so_and_noted_by_nobody() {
    let Some(system) = closed_system().await else {
        return;
    };
    let client = Client::of(&system).await;
    let deep = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
    let deep_item = format!(r#"{{"item": {deep}}}"#);
    let deep_quantity = format!(r#"{{"item": "chicken", "quantity": {deep}}}"#);
    for (body, status) in [
        ("", 400),
        ("{", 400),
        (r#"{"item": "chicken""#, 400),
        (r#"{"item": "chicken",}"#, 400),
        ("item=chicken", 400),
        // Anything may be a quantity until it is read, which ends at some depth.
        (&*deep_quantity, 400),
        (&*deep_item, 422),
        (&*deep, 422),
        ("null", 422),
        (r#""chicken""#, 422),
        ("[1, 2]", 422),
        (r#"["chicken", 1, null]"#, 422),
        ("{}", 422),
        (r#"{"item": 5}"#, 422),
        (r#"{"item": null}"#, 422),
        (r#"{"item": "gold"}"#, 422),
        (r#"{"item": "chicken", "quantity": -1}"#, 422),
        (r#"{"item": "chicken", "quantity": "-1"}"#, 422),
        (r#"{"item": "chicken", "quantity": 0}"#, 422),
        (r#"{"item": "chicken", "quantity": 1.5}"#, 422),
        (r#"{"item": "chicken", "quantity": 4294967296}"#, 422),
        (r#"{"item": "chicken", "quantity": 1e99}"#, 422),
        (r#"{"item": "chicken", "quantity": "two"}"#, 422),
        (r#"{"item": "chicken", "quantity": [1]}"#, 422),
        (r#"{"item": "chicken", "address": 5}"#, 422),
        // It would be paid, and never delivered: the store cannot write it down.
        (r#"{"item": "chicken", "address": "a\u0000"}"#, 422),
        (r#"{"품목": "치킨", "주소": "\u0000"}"#, 422),
    ] {
        let what = &body[..body.len().min(60)];
        refused(what, client.order(body.to_owned()), status).await;
    }
    refused(
        "not UTF-8",
        client.order(b"{\"item\": \"\xff\"}".as_slice()),
        400,
    )
    .await;
    let good = json!({"item": "chicken"}).to_string();
    let huge = format!(
        r#"{{"item": "chicken", "address": "{}"}}"#,
        "x".repeat(1 << 20)
    );
    refused("a huge body", client.order(huge), 413).await;
    for r#type in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = client
            .request(Method::POST, "/orders")
            .header("content-type", r#type);
        refused(r#type, request.body(good.clone()), 415).await;
    }
    for key in ["", &"x".repeat(1_000)] {
        let request = client.order(good.clone()).header("idempotency-key", key);
        refused("a key that is none", request, 400).await;
    }

    let unknown = "0af7651916cd43dd8448eb211c80319c";
    for (method, path, status) in [
        (Method::GET, format!("/orders/{unknown}"), 404),
        (Method::GET, "/orders/x".to_owned(), 404),
        (Method::GET, "/orders/%FF".to_owned(), 400),
        (Method::GET, "/my-page/%FF".to_owned(), 400),
        (Method::POST, format!("/orders/{unknown}/cancellation"), 404),
        (Method::GET, format!("/my-page/{unknown}"), 404),
        (Method::GET, "/nothing".to_owned(), 404),
        (Method::GET, "/metrics/orders".to_owned(), 404),
        (Method::GET, "/orders/..%2fmetrics".to_owned(), 400),
        (Method::PUT, "/orders".to_owned(), 405),
    ] {
        let what = format!("{method} {path}");
        refused(&what, client.request(method, &path), status).await;
    }
    books_have(&system, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_over_or_forged_open_nothing() {
    let Some(system) = closed_system().await else {
        return;
    };
    let client = Client::of(&system).await;
    let now = get_current_timestamp();
    let claims = |issued: u64, scope: &str| {
        json!({
            "iss": "gateway", "sub": "web", "client_id": "web", "aud": "food-delivery",
            "scope": scope, "iat": issued, "exp": issued + 60, "jti": "1",
        })
    };
    let signed = |claims: &Value, key: &str| {
        let header = Header {
            typ: Some("at+jwt".to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let key = EncodingKey::from_secret(key.as_bytes()).unwrap();
        encode(&header, claims, &key).unwrap()
    };
    let writing = "orders:write";
    let of_another_key = signed(
        &claims(now, writing),
        "another key, as long as the gateway's own",
    );
    let (signed_part, signature) = client.token.rsplit_once('.').unwrap();
    let (head, own_claims) = signed_part.split_once('.').unwrap();
    let other_claims = signed(&claims(now, writing), KEY);
    let other_claims = other_claims.split('.').nth(1).unwrap();
    for (what, token, status) in [
        ("over", signed(&claims(now - 3_600, writing), KEY), 401),
        ("of another key", of_another_key, 401),
        ("changed", format!("{head}.{other_claims}.{signature}"), 401),
        ("not signed", format!("{signed_part}."), 401),
        (
            "of no algorithm",
            format!("{HEAD_OF_NO_ALGORITHM}.{own_claims}."),
            401,
        ),
        ("no token", "x".to_owned(), 401),
        (
            "good for less",
            signed(&claims(now, "orders:read"), KEY),
            403,
        ),
    ] {
        let client = Client {
            system: &system,
            token,
        };
        let request = client.order(json!({"item": "chicken"}).to_string());
        let headers = refused(what, request, status).await;
        assert!(headers.contains_key("www-authenticate"), "{what}");
    }
    let without = system
        .client
        .post(system.url(Part::Gateway, "/orders"))
        .json(&json!({"item": "chicken"}));
    refused("without a token", without, 401).await;
    books_have(&system, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_used_again_never_makes_another_order() {
    let Some(system) = closed_system().await else {
        return;
    };
    let client = Client::of(&system).await;
    let order = async |body: Value| {
        let request = client.order(body.to_string());
        request.header("idempotency-key", "a-1")
    };
    let chicken = json!({"item": "chicken", "quantity": 2});
    let mut ids = Vec::new();
    for status in [201, 200] {
        let response = order(chicken.clone()).await.send().await.unwrap();
        assert_eq!(response.status(), status);
        let placed: Value = response.json().await.unwrap();
        ids.push(placed["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    for other in [
        json!({"item": "pizza", "quantity": 2}),
        json!({"item": "chicken", "quantity": 3}),
        json!({"item": "chicken", "quantity": 2, "address": "elsewhere"}),
    ] {
        refused("other content", order(other).await, 422).await;
    }
    books_have(&system, 1).await;
}

/// What comes back until the connection ends.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("the connection was kept").unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_for_ever_are_left_and_keep_nobody_else_waiting() {
    let Some(system) = closed_system().await else {
        return;
    };
    let client = Client::of(&system).await;
    let header = format!(
        "POST /orders HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\n",
        client.token
    );
    let url = system.url(Part::Gateway, "");
    let address = url.strip_prefix("http://").unwrap();
    let slow = async |begun: String| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        stream
    };
    let (mut headers, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..IN_FLIGHT_LIMIT {
        headers.push(slow(header.clone()).await);
        bodies.push(slow(format!("{header}content-length: 99\r\n\r\n{{\"item\":")).await);
    }
    let good = client.order(json!({"item": "chicken"}).to_string());
    let placed = good.timeout(Duration::from_secs(5)).send().await.unwrap();
    assert_eq!(placed.status(), 201);
    for stream in headers {
        assert_eq!(rest(stream).await, "");
    }
    for stream in bodies {
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    books_have(&system, 1).await;
}
