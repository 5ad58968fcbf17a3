//! The client of a cluster, and what it asks for again by itself.

use http::{Request, Response};
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use tower::BoxError;
use tower::retry::{Policy, Retry};

/// A client for a cluster. What a cluster is too busy for (429, 503, 504), it asks for again, as kube's
/// own does, but for evictions: there a 429 is the answer of a disruption budget, which would be heard
/// minutes later.
///
/// # Errors
/// A configuration with which nothing can be reached.
pub fn client(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    let once = Client::try_from(config)?;
    let sending = tower::service_fn(move |request: Request<Body>| {
        let once = once.clone();
        async move { once.send(request).await.map_err(BoxError::from) }
    });
    let sending = Retry::new(ButEvictions(RetryPolicy::server_retry()), sending);
    Ok(Client::new(sending, namespace))
}

#[derive(Clone)]
struct ButEvictions(RetryPolicy);

impl<Res> Policy<Request<Body>, Response<Res>, BoxError> for ButEvictions {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<Res>, BoxError>,
    ) -> Option<Self::Future> {
        self.0.retry(request, result)
    }

    /// What is not kept is not sent again.
    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        if request.uri().path().ends_with("/eviction") {
            return None;
        }
        Policy::<_, Response<Res>, BoxError>::clone_request(&mut self.0, request)
    }
}
