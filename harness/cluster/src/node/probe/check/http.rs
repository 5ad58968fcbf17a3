//! Asking a container with an HTTP GET, as the kubelet does: on a connection of its own, with any
//! certificate, following redirects only to the host that was asked.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ContainerPort, HTTPGetAction, HTTPHeader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use url::Url;

use super::{Outcome, PROBE_USER_AGENT, given, no_port, port_number};

/// How many requests may be made for one answer.
const MOST_REQUESTS: usize = 10;
/// How much of an answer is read; the rest does not matter.
const ANSWER_LIMIT: usize = 10 * 1024;

/// What to GET.
#[derive(Clone, Debug)]
pub(crate) struct HttpGet {
    url: Url,
    headers: HeaderMap,
}

impl HttpGet {
    /// The text says why it cannot be asked for.
    pub(super) fn new(
        action: &HTTPGetAction,
        pod: IpAddr,
        ports: &[ContainerPort],
    ) -> Result<Self, String> {
        let host = given(action.host.as_ref()).unwrap_or_else(|| pod.to_string());
        let port = port_number(&action.port, ports).ok_or_else(|| no_port(&action.port))?;
        let scheme = given(action.scheme.as_ref()).unwrap_or_else(|| "HTTP".to_owned());
        let path = given(action.path.as_ref()).unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        let text = format!(
            "{}://{host}:{port}{slash}{path}",
            scheme.to_ascii_lowercase()
        );
        let url = Url::parse(&text).map_err(|error| format!("{text} is not a URL: {error}"))?;
        Ok(Self {
            url,
            headers: headers(action.http_headers.as_deref().unwrap_or_default())?,
        })
    }

    pub(super) async fn ask(&self) -> Outcome {
        let mut url = self.url.clone();
        let mut headers = self.headers.clone();
        for _ in 0..MOST_REQUESTS {
            let answer = match get(&url, headers.clone()).await {
                Ok(answer) => answer,
                Err(error) => return Outcome::Failed(format!("Get \"{url}\": {error}")),
            };
            let location = match answer.status {
                200..300 => return Outcome::Passed,
                301 | 302 | 303 | 307 | 308 => answer.location,
                300..400 => None,
                status => {
                    return Outcome::Failed(format!("HTTP probe failed with statuscode: {status}"));
                }
            };
            let Some(location) = location else {
                return terminated(&answer.body);
            };
            let target = match url.join(&location) {
                Ok(target) => target,
                Err(error) => {
                    return Outcome::Failed(format!(
                        "Get \"{url}\": failed to parse Location header {location:?}: {error}"
                    ));
                }
            };
            if target.host() != self.url.host() {
                return terminated(&answer.body);
            }
            if Url::parse(&location).is_ok() {
                // Somebody else's name would be wrong for a place that has one.
                headers.remove(HOST);
            }
            url = target;
        }
        Outcome::Failed(format!(
            "Get \"{}\": stopped after {MOST_REQUESTS} redirects",
            self.url
        ))
    }
}

fn terminated(body: &[u8]) -> Outcome {
    let body = String::from_utf8_lossy(body);
    Outcome::PassedWithWarning(format!(
        "Probe terminated redirects, Response body: {}",
        body.trim()
    ))
}

/// The headers to send. A name may be given several times; an empty `Accept` or `User-Agent` takes
/// the usual one away.
fn headers(given: &[HTTPHeader]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for header in given {
        let name = HeaderName::try_from(&header.name)
            .map_err(|_| format!("{:?} is not the name of a header", header.name))?;
        let value = HeaderValue::try_from(&header.value)
            .map_err(|_| format!("{:?} is not the value of a header", header.value))?;
        headers.append(name, value);
    }
    for (name, usual) in [(ACCEPT, "*/*"), (USER_AGENT, PROBE_USER_AGENT)] {
        let value = headers
            .entry(&name)
            .or_insert(HeaderValue::from_static(usual));
        if value.is_empty() {
            headers.remove(&name);
        }
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(headers)
}

struct Answer {
    status: u16,
    location: Option<String>,
    body: Bytes,
}

#[derive(Debug, thiserror::Error)]
enum GetError {
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("{0}")]
    Name(#[from] InvalidDnsNameError),
}

/// One GET on a new connection.
async fn get(url: &Url, headers: HeaderMap) -> Result<Answer, GetError> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let mut request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery]);
    if !headers.contains_key(HOST) {
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        request = request.header(HOST, authority);
    }
    let mut request = request.body(Empty::<Bytes>::new())?;
    request.headers_mut().extend(headers);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    if url.scheme() == "https" {
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(trusting_config())
            .connect(name, stream)
            .await?;
        exchange(TokioIo::new(stream), request).await
    } else {
        exchange(TokioIo::new(stream), request).await
    }
}

async fn exchange(
    stream: impl Read + Write + Unpin,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, GetError> {
    let (mut sender, connection) = http1::handshake(stream).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|location| location.to_str().ok())
            .map(str::to_owned);
        // The answer counts; how its body ends does not.
        let body = Limited::new(response.into_body(), ANSWER_LIMIT)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        Ok(Answer {
            status,
            location,
            body,
        })
    };
    // The connection is polled only for as long as the exchange lasts, and closed with it.
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => answer,
        closed = &mut connection => {
            closed?;
            exchange.await
        }
    }
}

/// A TLS configuration for which every certificate will do.
fn trusting_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the usual protocol versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
            .with_no_client_auth();
        Arc::new(config)
    });
    Arc::clone(config)
}

/// Believes whatever a server says of itself: a probe asks whether it answers, not who it is.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
