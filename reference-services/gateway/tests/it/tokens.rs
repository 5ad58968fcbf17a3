//! What tokens open, and that no other text does.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use gateway::domain::Scopes;
use gateway::tokens::{SigningKey, TokenError, TokenSettings, Tokens};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::entry::{KEY, gateway, get, get_as, header, open_gateway, send};
use crate::scripted_upstream::{Script, ScriptedUpstream};

fn tokens() -> Tokens {
    Tokens::new(TokenSettings {
        key: SigningKey::new(KEY.into()).unwrap(),
        issuer: "gateway".to_owned(),
        audience: "food-delivery".to_owned(),
        lifetime: Duration::from_secs(60),
    })
}

fn token(scopes: &str) -> String {
    token_of("web", scopes)
}

pub(crate) fn token_of(client: &str, scopes: &str) -> String {
    let scopes: Scopes = scopes.parse().unwrap();
    format!("Bearer {}", tokens().issue(client, &scopes))
}

/// What a good token claims.
fn claims() -> Value {
    json!({
        "iss": "gateway",
        "sub": "web",
        "client_id": "web",
        "aud": "food-delivery",
        "scope": "orders:read",
        "iat": get_current_timestamp(),
        "exp": get_current_timestamp() + 60,
        "jti": "1",
    })
}

fn signed(algorithm: Algorithm, typ: &str, claims: &Value, key: &str) -> String {
    let header = Header {
        typ: Some(typ.to_owned()),
        ..Header::new(algorithm)
    };
    let key = EncodingKey::from_secret(key.as_bytes()).unwrap();
    encode(&header, claims, &key).unwrap()
}

fn forged(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims();
    change(&mut claims);
    signed(Algorithm::HS256, "at+jwt", &claims, KEY)
}

fn unsigned(header: &Value) -> String {
    use base64::Engine;
    let encode = |value: &Value| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", encode(header), encode(&claims()))
}

#[tokio::test]
async fn a_token_opens_what_it_is_good_for() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let gateway = gateway([("APP_URL", app.url().as_str())]);
    let opened = get_as(&gateway, "/orders", &token("orders:read")).await;
    assert_eq!(opened.status(), StatusCode::OK);

    let ordering = Request::post("/orders")
        .header("authorization", token("orders:read"))
        .body(Body::empty())
        .unwrap();
    let refused = send(&gateway, ordering).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        header(&refused, "www-authenticate"),
        "Bearer realm=\"food-delivery\", error=\"insufficient_scope\", scope=\"orders:write\""
    );
    let refused = get_as(&gateway, "/payments", &token("orders:read orders:write")).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(header(&refused, "content-type"), "application/problem+json");
    assert_eq!(app.asked_so_far().len(), 1);
}

#[tokio::test]
async fn without_a_token_nothing_opens() {
    let gateway = gateway([]);
    for path in [
        "/orders",
        "/orders/1",
        "/주문s",
        "/payments",
        "/my-page",
        "/coupons/1",
    ] {
        let refused = get(&gateway, path).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(
            header(&refused, "www-authenticate"),
            "Bearer realm=\"food-delivery\""
        );
        assert_eq!(header(&refused, "content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn tokens_that_are_not_ours_or_are_over_open_nothing() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let gateway = gateway([("APP_URL", app.url().as_str())]);
    let good = forged(|_| {});
    let over = get_current_timestamp();
    for (token, description) in [
        (forged(|claims| claims["exp"] = json!(over)), "expired"),
        (forged(|claims| claims["exp"] = json!(1)), "expired"),
        (forged(|claims| claims["aud"] = json!("bank")), "not valid"),
        (forged(|claims| claims["iss"] = json!("thief")), "not valid"),
        (
            forged(|claims| claims["nbf"] = json!(over + 60)),
            "not valid",
        ),
        (
            forged(|claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
            "not valid",
        ),
        (
            forged(|claims| drop(claims.as_object_mut().unwrap().remove("aud"))),
            "not valid",
        ),
        (
            signed(Algorithm::HS256, "at+jwt", &claims(), "another key"),
            "not valid",
        ),
        (
            signed(Algorithm::HS512, "at+jwt", &claims(), KEY),
            "not valid",
        ),
        (signed(Algorithm::HS256, "JWT", &claims(), KEY), "not valid"),
        (
            unsigned(&json!({"alg": "none", "typ": "at+jwt"})),
            "not valid",
        ),
        (
            unsigned(&json!({"alg": "HS256", "typ": "at+jwt"})),
            "not valid",
        ),
        (good[..good.len() - 1].to_owned(), "not valid"),
        (String::new(), "not valid"),
    ] {
        let refused = get_as(&gateway, "/orders", &format!("Bearer {token}")).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{token}");
        let challenge = header(&refused, "www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(challenge.contains(description), "{challenge}");
    }
    assert_eq!(app.asked_so_far().len(), 0);
    let opened = get_as(&gateway, "/orders", &format!("Bearer {good}")).await;
    assert_eq!(opened.status(), StatusCode::OK);
}

#[tokio::test]
async fn another_replica_knows_the_token_if_it_has_the_key() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let url = app.url();
    let token = token("orders:read");
    for (key, status) in [(KEY, StatusCode::OK), ("", StatusCode::UNAUTHORIZED)] {
        let replica = gateway([("APP_URL", url.as_str()), ("JWT_KEY", key)]);
        assert_eq!(get_as(&replica, "/orders", &token).await.status(), status);
    }
}

#[tokio::test]
async fn with_auth_off_everybody_is_let_in_and_nobody_gets_a_token() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let gateway = open_gateway([("APP_URL", app.url().as_str())]);
    assert_eq!(get(&gateway, "/orders").await.status(), StatusCode::OK);
    let asking = Request::post("/oauth2/token").body(Body::empty()).unwrap();
    assert_eq!(send(&gateway, asking).await.status(), StatusCode::NOT_FOUND);
}

fn edited(token: &str, edits: &[(usize, u8)]) -> String {
    let mut bytes = token.as_bytes().to_vec();
    for (place, byte) in edits {
        let place = place % bytes.len();
        bytes[place] = *byte;
    }
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #[test]
    fn a_token_with_any_letter_changed_is_refused(
        edits in prop::collection::vec((any::<usize>(), 0x21_u8..0x7f), 1..4),
    ) {
        let tokens = tokens();
        let good = tokens.issue("web", &"orders:read".parse().unwrap());
        let changed = edited(&good, &edits);
        prop_assume!(changed != good);
        prop_assert_eq!(tokens.verify(&changed), Err(TokenError::Invalid));
    }

    #[test]
    fn parts_of_two_tokens_make_no_third(mask in 1_usize..7) {
        let tokens = tokens();
        let mine = tokens.issue("mine", &"orders:read".parse().unwrap());
        let yours = tokens.issue("yours", &"orders:write".parse().unwrap());
        let mixed: Vec<_> = mine
            .split('.')
            .zip(yours.split('.'))
            .enumerate()
            .map(|(part, (mine, yours))| if mask >> part & 1 == 0 { mine } else { yours })
            .collect();
        let mixed = mixed.join(".");
        // The headers of both are the same.
        prop_assume!(mixed != mine && mixed != yours);
        prop_assert_eq!(tokens.verify(&mixed), Err(TokenError::Invalid));
    }

    #[test]
    fn no_other_text_is_a_token(text in "\\PC*", dots in "[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*") {
        let tokens = tokens();
        prop_assert_eq!(tokens.verify(&text), Err(TokenError::Invalid));
        prop_assert_eq!(tokens.verify(&dots), Err(TokenError::Invalid));
    }
}
