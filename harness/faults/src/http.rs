//! Asks services over HTTP, apart from the load: for invariants and stop conditions.

use async_trait::async_trait;
use holdfast_core::experiment::Address;
use holdfast_engine::{HttpAnswer, HttpClient, HttpClientError};

use crate::error::one_line;

/// No answer that means something is longer.
const LONGEST_BODY: usize = 1 << 20;

/// Where a service of the system is reached, by its name: its base URL, or why there is none.
pub type Addresses = Box<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// An HTTP client that knows where the system's services are.
pub struct Http {
    client: reqwest::Client,
    addresses: Addresses,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// A client for services at `addresses`.
    ///
    /// # Errors
    /// The system's certificates cannot be read.
    pub fn new(addresses: Addresses) -> Result<Self, HttpClientError> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build();
        let client = client.map_err(|error| HttpClientError(one_line(&error)))?;
        Ok(Self { client, addresses })
    }

    fn url(&self, address: &Address) -> Result<String, HttpClientError> {
        match address {
            Address::Url(url) => Ok(url.clone()),
            Address::Service { name, path } => {
                let base = (self.addresses)(name).map_err(HttpClientError)?;
                Ok(format!("{}{path}", base.trim_end_matches('/')))
            }
        }
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn get(&self, address: &Address) -> Result<HttpAnswer, HttpClientError> {
        let failed = |error: reqwest::Error| HttpClientError(one_line(&error));
        let request = self.client.get(self.url(address)?).send();
        let mut response = request.await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_BODY {
                let words = format!("{address} answered more than {LONGEST_BODY} bytes");
                return Err(HttpClientError(words));
            }
        }
        Ok(HttpAnswer {
            status: response.status().as_u16(),
            body,
        })
    }
}
