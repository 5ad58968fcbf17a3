//! The name by which one request is found again in all logs, beside its trace: `x-request-id`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use service_kit::chance::Chance;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const LONGEST_ID: usize = 128;

/// Gives each request an id, its client's own where that is sensible. It is told in the answer.
pub fn correlated(router: Router) -> Router {
    let chance = Arc::new(Chance::new(None));
    router.layer(from_fn_with_state(chance, correlate))
}

async fn correlate(
    State(chance): State<Arc<Chance>>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers_mut();
    let id = headers
        .get(REQUEST_ID)
        .filter(|id| is_sensible(id))
        .cloned()
        .unwrap_or_else(|| value(&format!("{:032x}", chance.identifier())));
    headers.insert(REQUEST_ID, id.clone());
    // What an event is caused by is called so, too: the services behind name this request as that.
    let lines = tracing::info_span!("correlated", causation_id = id.to_str().ok());
    let mut response = next.run(request).instrument(lines).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Short, and nothing in it that could be taken for something else in a log.
fn is_sensible(id: &HeaderValue) -> bool {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b);
    (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("hexadecimal digits make a header value")
}
