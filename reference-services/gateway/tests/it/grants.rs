//! The token endpoint.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::entry::{gateway, get, get_as, header, json_of, send};
use crate::scripted_upstream::{Script, ScriptedUpstream};

const FORM: &str = "application/x-www-form-urlencoded";

async fn ask(gateway: &Router, authorization: Option<&str>, form: &str) -> Response<Body> {
    let mut request = Request::post("/oauth2/token").header("content-type", FORM);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    send(gateway, request.body(Body::from(form.to_owned())).unwrap()).await
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{id}:{secret}")))
}

#[tokio::test]
async fn a_client_gets_a_token_and_is_let_in_with_it() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let gateway = gateway([("APP_URL", app.url().as_str()), ("JWT_LIFETIME", "5m")]);
    let in_body = "grant_type=client_credentials&client_id=web&client_secret=secret";
    let by_header = (
        Some(basic("web", "secret")),
        "grant_type=client_credentials",
    );
    for (authorization, form) in [(None, in_body), by_header] {
        let granted = ask(&gateway, authorization.as_deref(), form).await;
        assert_eq!(granted.status(), StatusCode::OK);
        assert_eq!(header(&granted, "cache-control"), "no-store");
        assert_eq!(header(&granted, "content-type"), "application/json");
        let granted = json_of(granted).await;
        assert_eq!(granted["token_type"], "Bearer");
        assert_eq!(granted["expires_in"], 300);
        assert_eq!(granted["scope"], "my-page:read orders:read orders:write");
        let token = granted["access_token"].as_str().unwrap();
        let opened = get_as(&gateway, "/orders", &format!("Bearer {token}")).await;
        assert_eq!(opened.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_client_can_ask_for_less() {
    let gateway = gateway([]);
    let form = "grant_type=client_credentials&scope=orders:read";
    let granted = ask(&gateway, Some(&basic("web", "secret")), form).await;
    let granted = json_of(granted).await;
    assert_eq!(granted["scope"], "orders:read");
    let token = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    let refused = get_as(&gateway, "/my-page", &token).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_is_not_granted_says_why() {
    let gateway = gateway([]);
    let grant = "grant_type=client_credentials";
    let web = basic("web", "secret");
    let odd = basic("we%62", "sec%72et");
    let granted = ask(&gateway, Some(&odd), grant).await;
    assert_eq!(granted.status(), StatusCode::OK, "both may be encoded");

    let (bad, unauthorized) = (StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED);
    for (authorization, form, status, error) in [
        (Some(web.as_str()), String::new(), bad, "invalid_request"),
        (
            Some(&web),
            format!("{grant}&{grant}"),
            bad,
            "invalid_request",
        ),
        (
            Some(&web),
            "grant_type=password".to_owned(),
            bad,
            "unsupported_grant_type",
        ),
        (
            Some(&web),
            format!("{grant}&scope=payments:read"),
            bad,
            "invalid_scope",
        ),
        (
            Some(&web),
            format!("{grant}&scope=everything"),
            bad,
            "invalid_scope",
        ),
        (
            Some(&web),
            format!("{grant}&client_id=web&client_secret=secret"),
            bad,
            "invalid_request",
        ),
        (None, grant.to_owned(), unauthorized, "invalid_client"),
        (
            None,
            format!("{grant}&client_id=web"),
            unauthorized,
            "invalid_client",
        ),
        (
            Some("Basic !"),
            grant.to_owned(),
            unauthorized,
            "invalid_client",
        ),
        (
            Some("Bearer x"),
            grant.to_owned(),
            unauthorized,
            "invalid_client",
        ),
        (
            Some(&basic("web", "Secret")),
            grant.to_owned(),
            unauthorized,
            "invalid_client",
        ),
        (
            Some(&basic("nobody", "secret")),
            grant.to_owned(),
            unauthorized,
            "invalid_client",
        ),
    ] {
        let refused = ask(&gateway, authorization, &form).await;
        assert_eq!(refused.status(), status, "{form}");
        assert_eq!(header(&refused, "cache-control"), "no-store");
        let challenge = refused.headers().contains_key("www-authenticate");
        assert_eq!(challenge, status == unauthorized);
        assert_eq!(json_of(refused).await["error"], error, "{form}");
    }
}

#[tokio::test]
async fn forms_are_forms_and_are_posted() {
    let gateway = gateway([]);
    let json = Request::post("/oauth2/token")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"grant_type": "client_credentials"}"#))
        .unwrap();
    let refused = send(&gateway, json).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json_of(refused).await["error"], "invalid_request");
    let got = get(&gateway, "/oauth2/token").await;
    assert_eq!(got.status(), StatusCode::METHOD_NOT_ALLOWED);
}
