//! The Kubernetes API over HTTP: from a request to the store and back.
//!
//! This file routes; what a request means is decided in the modules below it.

mod access_review;
mod admission;
mod apply;
mod body;
mod decode;
mod delete;
mod discovery;
mod entrance;
mod error;
mod eviction;
mod freshness;
mod log;
mod measured;
mod protobuf;
mod read;
mod request;
pub(crate) mod scale;
mod server;
mod service_address;
mod table;
mod versions;
mod watch;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::node::logs::Logs;
use crate::store::{Store, Subresource};
use error::ApiError;
use request::{Parameters, Target, View};
pub(crate) use server::serve;
pub(crate) use service_address::ServiceAddresses;

use write::{Change, Edit, Origin};

/// What the API server works with.
#[derive(Clone, Debug)]
pub(crate) struct Api(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    token: String,
    addresses: ServiceAddresses,
    /// The logs of the node, if there is one.
    logs: Option<Logs>,
    metrics: Metrics,
    shutdown: CancellationToken,
}

/// One request for objects, taken apart.
#[derive(Debug)]
struct Call {
    method: Method,
    target: Target,
    parameters: Parameters,
    view: View,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// What the request does, as discovery names it.
    fn verb(&self) -> &'static str {
        let named = self.target.name.is_some();
        match self.method {
            Method::GET if named => "get",
            Method::GET if self.parameters.watch() => "watch",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if named => "delete",
            Method::DELETE => "deletecollection",
            _ => "",
        }
    }
}

impl Api {
    /// An API over `store`, for those who know `token`. Watches end at `shutdown`.
    pub(crate) fn new(
        store: Store,
        addresses: ServiceAddresses,
        token: String,
        logs: Option<Logs>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Parts {
            store,
            token,
            addresses,
            logs,
            metrics,
            shutdown,
        }))
    }

    /// Everything is below a path which begins with the token: kubectl sends
    /// a bearer token over TLS only, but keeps to the path of its server's URL.
    /// Who can send a bearer token needs no such path. Whoever comes without
    /// the token learns nothing.
    pub(crate) fn router(self) -> Router {
        let path = self.0.path();
        let token = self.0.token.clone();
        let router = self.authorized_router();
        let for_bearers = router
            .clone()
            .layer(from_fn_with_state(token, entrance::bearer_only));
        Router::new()
            .nest(&path, router)
            .fallback_service(for_bearers)
    }

    fn authorized_router(self) -> Router {
        Router::new()
            .route("/version", get(async || document(&discovery::version())))
            .route("/healthz", get(async || "ok"))
            .route("/livez", get(async || "ok"))
            .route("/readyz", get(async || "ok"))
            .route("/openapi/v3", get(openapi_index))
            .route("/openapi/v3/api/{version}", get(core_openapi))
            .route("/openapi/v3/apis/{group}/{version}", get(group_openapi))
            .route("/api", get(core_discovery))
            .route("/apis", get(group_discovery))
            .route("/api/{version}", get(core_resources))
            .route("/apis/{group}", get(group))
            .route("/apis/{group}/{version}", get(group_resources))
            .route(
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                post(access_review),
            )
            .route(
                "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
                post(rules_review),
            )
            .route("/api/{version}/{*path}", any(core_objects))
            .route("/apis/{group}/{version}/{*path}", any(group_objects))
            .fallback(async || ApiError::NoSuchPath)
            .method_not_allowed_fallback(async |method: Method, uri: Uri| {
                ApiError::MethodNotAllowed(format!("{method} is not supported on {}", uri.path()))
            })
            .layer(DefaultBodyLimit::disable())
            .layer(from_fn(entrance::whole_body))
            .with_state(self)
    }
}

impl Parts {
    /// The path of everything.
    fn path(&self) -> String {
        format!("/{}", self.token)
    }
}

async fn openapi_index(State(api): State<Api>) -> Response {
    document(&discovery::openapi_index(
        &api.0.store.served(),
        &api.0.path(),
    ))
}

async fn core_discovery(State(api): State<Api>, headers: HeaderMap) -> Response {
    typed_document(discovery::core(&api.0.store.served(), &headers))
}

async fn group_discovery(State(api): State<Api>, headers: HeaderMap) -> Response {
    typed_document(discovery::apis(&api.0.store.served(), &headers))
}

async fn group(State(api): State<Api>, Path(group): Path<String>) -> Result<Response, ApiError> {
    found(discovery::group(&api.0.store.served(), &group))
}

fn document(document: &Value) -> Response {
    read::json_response(document)
}

fn typed_document((content_type, document): (&'static str, Value)) -> Response {
    ([(header::CONTENT_TYPE, content_type)], document.to_string()).into_response()
}

fn found(found: Option<Value>) -> Result<Response, ApiError> {
    found
        .map(|found| document(&found))
        .ok_or(ApiError::NoSuchPath)
}

async fn core_openapi(
    State(api): State<Api>,
    Path(version): Path<String>,
) -> Result<Response, ApiError> {
    found(discovery::openapi(&api.0.store.served(), "", &version))
}

async fn group_openapi(
    State(api): State<Api>,
    Path((group, version)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    found(discovery::openapi(&api.0.store.served(), &group, &version))
}

async fn core_resources(
    State(api): State<Api>,
    Path(version): Path<String>,
) -> Result<Response, ApiError> {
    found(discovery::resources(&api.0.store.served(), "", &version))
}

async fn group_resources(
    State(api): State<Api>,
    Path((group, version)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    found(discovery::resources(
        &api.0.store.served(),
        &group,
        &version,
    ))
}

async fn access_review(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let review = body::object(&headers, &body)?.value;
    let answer = access_review::access(&api.0.store.served(), review)?;
    Ok((StatusCode::CREATED, document(&answer)).into_response())
}

async fn rules_review(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let review = body::object(&headers, &body)?.value;
    let answer = access_review::rules(&api.0.store.served(), review)?;
    Ok((StatusCode::CREATED, document(&answer)).into_response())
}

async fn core_objects(
    State(api): State<Api>,
    Path((version, path)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let target = Target::parse(&api.0.store.served(), "", &version, &path)?;
    objects(&api.0, call(target, method, &uri, headers, body)?)
}

async fn group_objects(
    State(api): State<Api>,
    Path((group, version, path)): Path<(String, String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let target = Target::parse(&api.0.store.served(), &group, &version, &path)?;
    objects(&api.0, call(target, method, &uri, headers, body)?)
}

fn call(
    target: Target,
    method: Method,
    uri: &Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Call, ApiError> {
    let mut parameters = Parameters::parse(uri.query())?;
    if method != Method::GET {
        parameters.check_change()?;
    }
    let patch_kind = body::patch_kind(&headers);
    apply::check_parameters(&method, patch_kind, &parameters)?;
    if parameters.field_manager.is_empty() {
        parameters.field_manager = program(&headers).to_owned();
    }
    let view = View::of(&headers);
    Ok(Call {
        method,
        target,
        parameters,
        view,
        headers,
        body,
    })
}

/// The client's name for itself, without version.
fn program(headers: &HeaderMap) -> &str {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok());
    let program = agent.and_then(|agent| agent.split('/').next());
    program
        .filter(|program| !program.is_empty())
        .unwrap_or("unknown")
}

fn objects(api: &Parts, call: Call) -> Result<Response, ApiError> {
    if !call
        .target
        .resource
        .description()
        .verbs
        .contains(&call.verb())
    {
        return Err(not_allowed(&call.method, &call.target));
    }
    if measured::is_measured(&call.target.resource) {
        return measured::answer(&api.store, &api.metrics, &call);
    }
    match (call.target.name.is_some(), call.target.subresource) {
        (false, _) => collection(api, call),
        (true, None) => object(api, &call),
        (true, Some(part @ (Subresource::Status | Subresource::Scale))) => {
            subresource(api, &call, part)
        }
        (true, Some(Subresource::Log)) => pod_log(api, &call),
        (true, Some(Subresource::Eviction)) => pod_eviction(api, &call),
    }
}

fn collection(api: &Parts, call: Call) -> Result<Response, ApiError> {
    let Call {
        method,
        target,
        parameters,
        view,
        headers,
        body,
    } = call;
    match method {
        Method::GET if parameters.watch() => {
            watch::watch(&api.store, &target, parameters, view, api.shutdown.clone())
        }
        Method::GET => Ok(document(&read::list(
            &api.store,
            &target,
            &parameters,
            view,
        )?)),
        Method::POST => {
            if target.namespace.is_none() && target.resource.namespaced() {
                return Err(not_allowed(&Method::POST, &target));
            }
            let (object, told) = body::object(&headers, &body)?.accept(&parameters)?;
            let store = store_for(api, parameters.dry_run());
            let origin = Origin::Sent(object);
            let mut written = write::create(&store, &api.addresses, &target, &parameters, origin)?;
            written.warnings.extend(told);
            Ok(written_response(
                StatusCode::CREATED,
                &target,
                &parameters,
                view,
                &written,
            ))
        }
        Method::DELETE => {
            let request = delete::parse(&parameters, &headers, &body)?;
            let store = store_for(api, request.dry_run);
            let answer = document(&delete::many(&store, &target, &parameters, &request)?);
            let warnings = request.warnings(&target.resource);
            Ok(with_warnings(answer, &warnings))
        }
        method => Err(not_allowed(&method, &target)),
    }
}

fn object(api: &Parts, call: &Call) -> Result<Response, ApiError> {
    match call.method {
        Method::GET => {
            let found = read::existing(&api.store, &call.target)?;
            Ok(document(&read::rendered(
                &call.target,
                &found,
                call.view,
                &call.parameters,
            )))
        }
        Method::PUT | Method::PATCH => {
            let (code, written) = changed(api, call)?;
            Ok(written_response(
                code,
                &call.target,
                &call.parameters,
                call.view,
                &written,
            ))
        }
        Method::DELETE => {
            let request = delete::parse(&call.parameters, &call.headers, &call.body)?;
            let store = store_for(api, request.dry_run);
            let answer = document(&delete::one(&store, &call.target, &request)?);
            let warnings = request.warnings(&call.target.resource);
            Ok(with_warnings(answer, &warnings))
        }
        _ => Err(not_allowed(&call.method, &call.target)),
    }
}

fn subresource(api: &Parts, call: &Call, part: Subresource) -> Result<Response, ApiError> {
    let object = match call.method {
        Method::GET => read::existing(&api.store, &call.target)?,
        Method::PUT | Method::PATCH => changed(api, call)?.1.object,
        _ => return Err(not_allowed(&call.method, &call.target)),
    };
    Ok(match part {
        Subresource::Scale => document(&scale::of(&call.target.resource, &object)),
        Subresource::Status | Subresource::Log | Subresource::Eviction => document(
            &read::rendered(&call.target, &object, call.view, &call.parameters),
        ),
    })
}

fn pod_log(api: &Parts, call: &Call) -> Result<Response, ApiError> {
    if call.method != Method::GET {
        return Err(not_allowed(&call.method, &call.target));
    }
    let pod = read::existing(&api.store, &call.target)?;
    let no_node =
        || ApiError::BadRequest("the cluster has no node, so that pods have no logs".to_owned());
    log::log(
        api.logs.as_ref().ok_or_else(no_node)?,
        &pod,
        &call.parameters,
    )
}

fn pod_eviction(api: &Parts, call: &Call) -> Result<Response, ApiError> {
    if call.method != Method::POST {
        return Err(not_allowed(&call.method, &call.target));
    }
    let eviction = body::object(&call.headers, &call.body)?.value;
    let request = eviction::parse(&call.target, &call.parameters, &eviction)?;
    let store = store_for(api, request.dry_run);
    let evicted = eviction::evict(&store, &call.target, &request)?;
    Ok((StatusCode::CREATED, document(&evicted)).into_response())
}

fn changed(api: &Parts, call: &Call) -> Result<(StatusCode, write::Written), ApiError> {
    let Call {
        target, parameters, ..
    } = call;
    let (change, told) = match call.method {
        Method::PUT => {
            let body = body::object(&call.headers, &call.body)?;
            let (replacement, told) = body.accept(parameters)?;
            (Change::Edit(Edit::Replace(replacement)), told)
        }
        _ => body::patch(&call.headers, &call.body, parameters)?,
    };
    // Who manages which field is known of the stored version only.
    let (change, target) = match change {
        Change::Apply(config) => {
            if target.subresource != Some(Subresource::Scale) {
                apply::check(target, &config)?;
            }
            let config = versions::to_stored(target, config)?;
            (Change::Apply(config), &target.as_stored())
        }
        Change::Edit(edit) => (Change::Edit(edit), target),
    };
    let store = store_for(api, parameters.dry_run());
    let (code, mut written) = match (&change, read::existing(&store, target)) {
        (Change::Apply(applied), Err(_)) if target.subresource.is_none() => {
            let origin = write::created_by_apply(target, applied, parameters)?;
            let written = write::create(&store, &api.addresses, target, parameters, origin)?;
            (StatusCode::CREATED, written)
        }
        _ => (
            StatusCode::OK,
            write::change(&store, &api.addresses, target, parameters, &change)?,
        ),
    };
    written.warnings.extend(told);
    Ok((code, written))
}

/// The store whose writes are kept, or the one whose are not.
fn store_for(api: &Parts, dry_run: bool) -> Store {
    if dry_run {
        api.store.dry_run()
    } else {
        api.store.clone()
    }
}

fn written_response(
    code: StatusCode,
    target: &Target,
    parameters: &Parameters,
    view: View,
    written: &write::Written,
) -> Response {
    let body = read::rendered(target, &written.object, view, parameters);
    let response = (code, document(&body)).into_response();
    with_warnings(response, &written.warnings)
}

fn with_warnings(mut response: Response, warnings: &BTreeSet<String>) -> Response {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn not_allowed(method: &Method, target: &Target) -> ApiError {
    ApiError::MethodNotAllowed(format!(
        "{method} is not supported on {}",
        target.resource.qualified_name()
    ))
}

#[cfg(test)]
mod tests;
