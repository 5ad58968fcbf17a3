//! The clients that may ask for tokens, and how they prove who they are.

use std::collections::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

use crate::domain::{Scopes, UnknownScope};

/// The clients by their id.
#[derive(Clone, Debug, Default)]
pub struct Clients(HashMap<String, Client>);

/// A client.
///
/// Its secret is kept as its SHA-256. A slow hash would add nothing: secrets are drawn at random, not
/// thought up by people, and who asks for tokens must not cost the gateway much.
#[derive(Clone, Debug)]
pub struct Client {
    secret_hash: [u8; 32],
    /// All it may ask for.
    pub scopes: Scopes,
}

/// Why a list of clients cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    #[error("not a list of clients: {0}")]
    Json(#[from] serde_json::Error),
    #[error("client {id:?}: {source}")]
    Scope { id: String, source: UnknownScope },
    #[error("client {0:?}: secretSha256 has 64 hexadecimal digits")]
    Hash(String),
    #[error("client {0:?} is there twice")]
    Twice(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    id: String,
    secret_sha256: String,
    #[serde(default)]
    scopes: Vec<String>,
}

impl Clients {
    /// Reads a JSON list such as `[{"id": "web", "secretSha256": "…", "scopes": ["orders:read"]}]`.
    pub fn parse(json: &str) -> Result<Self, ClientsError> {
        let entries: Vec<Entry> = serde_json::from_str(json)?;
        let mut clients = HashMap::new();
        for Entry {
            id,
            secret_sha256,
            scopes,
        } in entries
        {
            let client = Client {
                secret_hash: hash_from_hex(&secret_sha256)
                    .ok_or_else(|| ClientsError::Hash(id.clone()))?,
                scopes: scopes
                    .join(" ")
                    .parse()
                    .map_err(|source| ClientsError::Scope {
                        id: id.clone(),
                        source,
                    })?,
            };
            if clients.insert(id.clone(), client).is_some() {
                return Err(ClientsError::Twice(id));
            }
        }
        Ok(Self(clients))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The client `id`, if `secret` is its secret. Takes as long for an unknown client as for a wrong
    /// secret.
    pub fn authenticate(&self, id: &str, secret: &str) -> Option<&Client> {
        let given = digest(&SHA256, secret.as_bytes());
        let client = self.0.get(id);
        let expected = client.map_or([0; 32], |client| client.secret_hash);
        let is_equal = verify_slices_are_equal(given.as_ref(), &expected).is_ok();
        client.filter(|_| is_equal)
    }
}

fn hash_from_hex(text: &str) -> Option<[u8; 32]> {
    let is_hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let half = |text: &str| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes);
    let (first, second) = is_hex.then(|| text.split_at(32))?;
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(&half(first)?);
    hash[16..].copy_from_slice(&half(second)?);
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s secret | sha256sum`
    const HASH_OF_SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn entry(id: &str, hash: &str, scope: &str) -> String {
        format!(r#"{{"id": "{id}", "secretSha256": "{hash}", "scopes": ["{scope}"]}}"#)
    }

    #[test]
    fn a_client_is_known_by_its_secret() {
        let list = format!("[{}]", entry("web", HASH_OF_SECRET, "orders:read"));
        let clients = Clients::parse(&list).unwrap();
        let client = clients.authenticate("web", "secret").unwrap();
        assert_eq!(client.scopes.to_string(), "orders:read");
        for (id, secret) in [("web", "Secret"), ("web", ""), ("Web", "secret"), ("", "")] {
            assert!(clients.authenticate(id, secret).is_none(), "{id} {secret}");
        }
    }

    #[test]
    fn a_hash_of_nothing_but_zeros_lets_no_unknown_client_in() {
        assert!(Clients::default().authenticate("web", "secret").is_none());
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        let good = entry("web", HASH_OF_SECRET, "orders:read");
        for (list, part) in [
            ("{".to_owned(), "not a list of clients"),
            (
                r#"[{"id": "web", "secret": "x"}]"#.to_owned(),
                "unknown field",
            ),
            (
                format!("[{}]", entry("web", "2bb8", "orders:read")),
                "64 hexadecimal",
            ),
            (
                format!("[{}]", entry("web", HASH_OF_SECRET, "all")),
                "no scope \"all\"",
            ),
            (format!("[{good}, {good}]"), "there twice"),
        ] {
            let message = Clients::parse(&list).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
