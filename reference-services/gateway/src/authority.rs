//! Says who is who: grants tokens to clients that prove who they are, and knows their tokens again.

use crate::clients::Clients;
use crate::domain::{Scopes, UnknownScope};
use crate::tokens::{Identity, TokenError, Tokens};

/// Grants tokens and verifies them.
#[derive(Debug)]
pub struct Authority {
    clients: Clients,
    tokens: Tokens,
}

/// A token and what it is good for.
#[derive(Clone, Debug)]
pub struct Grant {
    pub access_token: String,
    pub lifetime_seconds: u64,
    pub scopes: Scopes,
}

/// Why no token was granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("no client of this id has this secret")]
    InvalidClient,
    #[error(transparent)]
    UnknownScope(#[from] UnknownScope),
    #[error("the client may not have the scopes {0}")]
    ForbiddenScopes(Scopes),
}

impl Authority {
    pub fn new(clients: Clients, tokens: Tokens) -> Self {
        Self { clients, tokens }
    }

    /// A token for the client of this id and secret, good for the scopes it asks for or, if it names
    /// none, for all it may have.
    pub fn grant(&self, id: &str, secret: &str, scope: Option<&str>) -> Result<Grant, GrantError> {
        let client = self
            .clients
            .authenticate(id, secret)
            .ok_or(GrantError::InvalidClient)?;
        let scopes = match scope {
            None => client.scopes.clone(),
            Some(text) => text.parse()?,
        };
        let forbidden: Scopes = Scopes(&scopes.0 - &client.scopes.0);
        if !forbidden.0.is_empty() {
            return Err(GrantError::ForbiddenScopes(forbidden));
        }
        Ok(Grant {
            access_token: self.tokens.issue(id, &scopes),
            lifetime_seconds: self.tokens.lifetime.as_secs(),
            scopes,
        })
    }

    /// Whose token this is.
    pub fn identify(&self, token: &str) -> Result<Identity, TokenError> {
        self.tokens.verify(token)
    }
}
