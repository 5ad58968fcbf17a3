//! Access tokens: JWTs (RFC 9068) that the gateway itself signs and accepts.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp,
};
use serde::{Deserialize, Serialize};
use service_kit::chance::Chance;

use crate::domain::{Scope, Scopes};

/// What tells an access token from other JWTs.
const TYPE: &str = "at+jwt";

/// What tokens are made with.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    pub key: SigningKey,
    pub issuer: String,
    pub audience: String,
    pub lifetime: Duration,
}

/// The HMAC key that signs tokens, of at least [`SigningKey::MIN_LENGTH`] bytes.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// As long as the hash: a shorter key would be the weakest part.
    pub const MIN_LENGTH: usize = 32;

    /// A key of these bytes, if there are enough.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() >= Self::MIN_LENGTH).then_some(Self(bytes))
    }

    /// A key that nobody knows and that is gone with this process.
    pub fn generate() -> Self {
        let mut bytes = vec![0; Self::MIN_LENGTH];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
        Self(bytes)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// Who a valid token was issued to, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub client: String,
    pub scopes: Scopes,
}

/// Why a token does not let anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("an access token is needed")]
    Missing,
    #[error("the access token expired")]
    Expired,
    #[error("the access token is not valid")]
    Invalid,
}

/// Issues tokens and verifies them.
#[derive(Debug)]
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    issuer: String,
    audience: String,
    pub lifetime: Duration,
    names: Chance,
}

#[derive(Deserialize, Serialize)]
struct Claims {
    iss: String,
    sub: String,
    client_id: String,
    aud: String,
    scope: String,
    iat: u64,
    exp: u64,
    jti: String,
}

impl Tokens {
    pub fn new(settings: TokenSettings) -> Self {
        let TokenSettings {
            key: SigningKey(key),
            issuer,
            audience,
            lifetime,
        } = settings;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        // In its last second a token is over (RFC 7519: "on or after").
        validation.reject_tokens_expiring_in_less_than = 1;
        let is_whole = "a key is not empty";
        Self {
            encoding: EncodingKey::from_secret(&key).expect(is_whole),
            decoding: DecodingKey::from_secret(&key).expect(is_whole),
            validation,
            issuer,
            audience,
            lifetime,
            names: Chance::new(None),
        }
    }

    /// A token for `client` that is good for `scopes`.
    pub fn issue(&self, client: &str, scopes: &Scopes) -> String {
        let now = get_current_timestamp();
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: client.to_owned(),
            client_id: client.to_owned(),
            aud: self.audience.clone(),
            scope: scopes.to_string(),
            iat: now,
            exp: now.saturating_add(self.lifetime.as_secs()),
            jti: format!("{:032x}", self.names.identifier()),
        };
        let header = Header {
            typ: Some(TYPE.to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        encode(&header, &claims, &self.encoding).expect("texts and numbers can always be signed")
    }

    /// Whose token this is, if it is one of ours and still good.
    pub fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        let token =
            decode::<Claims>(token, &self.decoding, &self.validation).map_err(
                |error| match error.kind() {
                    ErrorKind::ExpiredSignature => TokenError::Expired,
                    _ => TokenError::Invalid,
                },
            )?;
        if token.header.typ.as_deref() != Some(TYPE) {
            return Err(TokenError::Invalid);
        }
        // Scopes that this version does not know open nothing.
        let scopes = token.claims.scope.split(' ');
        let scopes = scopes.filter_map(|scope| scope.parse::<Scope>().ok());
        Ok(Identity {
            client: token.claims.sub,
            scopes: Scopes(scopes.collect()),
        })
    }
}
