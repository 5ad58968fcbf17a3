//! Asking a container with the gRPC health protocol (`grpc.health.v1.Health/Check`), unencrypted.
//!
//! The two messages have one field each, so they are written and read here by hand.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{self, ResponseFuture};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

use super::{Outcome, PROBE_USER_AGENT};

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// Flag and length, before each message.
const PREFIX_LENGTH: usize = 5;
/// The tag of both messages' only field: number 1, of type string or enum.
const SERVICE_TAG: u8 = 0x0a;
const STATUS_TAG: u8 = 0x08;
/// `ServingStatus`, from 0.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u8 = 1;
const UNIMPLEMENTED: &str = "12";
/// Far more than the message can need.
const ANSWER_LIMIT: usize = 1024;

/// What to ask whom.
#[derive(Clone, Debug)]
pub(crate) struct HealthQuestion {
    pub(super) address: SocketAddr,
    /// Empty for the server as a whole.
    pub(super) service: String,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("failed to connect service \"{address}\": {source}")]
    Connect {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("health rpc failed: {0}")]
    Transport(#[from] h2::Error),
    #[error("health rpc failed: {0}")]
    Request(#[from] http::Error),
    #[error("this server does not implement the grpc health protocol (grpc.health.v1.Health): {0}")]
    Unimplemented(String),
    #[error("health rpc failed: status {code}: {message}")]
    Status { code: String, message: String },
    #[error("health rpc failed: the answer is no HealthCheckResponse")]
    NoResponse,
}

impl HealthQuestion {
    pub(super) async fn ask(&self) -> Outcome {
        match self.call().await {
            Ok(SERVING) => Outcome::Passed,
            Ok(status) => {
                let name = STATUSES.get(usize::from(status)).unwrap_or(&"UNKNOWN");
                Outcome::Failed(format!("service unhealthy (responded with \"{name}\")"))
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// The number of the status.
    async fn call(&self) -> Result<u8, CallError> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|source| CallError::Connect {
            address: self.address,
            source,
        })?;
        let (sender, connection) = client::handshake(stream).await?;
        let exchange = async {
            let mut sender = sender.ready().await?;
            let request = Request::post(format!("http://{}{METHOD}", self.address))
                .header(CONTENT_TYPE, "application/grpc")
                .header(TE, "trailers")
                .header(USER_AGENT, PROBE_USER_AGENT)
                .body(())?;
            let (response, mut body) = sender.send_request(request, false)?;
            body.send_data(request_message(&self.service), true)?;
            status_of(response).await
        };
        // The connection is polled only for as long as the exchange lasts, and closed with it.
        tokio::pin!(exchange, connection);
        tokio::select! {
            status = &mut exchange => status,
            closed = &mut connection => {
                closed?;
                exchange.await
            }
        }
    }
}

async fn status_of(response: ResponseFuture) -> Result<u8, CallError> {
    let (head, mut body) = response.await?.into_parts();
    // An error may come without a body, and then with the head.
    check_status(&head.headers)?;
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
        if message.len() > ANSWER_LIMIT {
            return Err(CallError::NoResponse);
        }
    }
    if let Some(trailers) = body.trailers().await? {
        check_status(&trailers)?;
    }
    serving_status(&message).ok_or(CallError::NoResponse)
}

fn check_status(headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name: &str| {
        let value = headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let message = || text("grpc-message").unwrap_or_default();
    match text("grpc-status") {
        None => Ok(()),
        Some(code) if code == "0" => Ok(()),
        Some(code) if code == UNIMPLEMENTED => Err(CallError::Unimplemented(message())),
        Some(code) => Err(CallError::Status {
            code,
            message: message(),
        }),
    }
}

/// A `HealthCheckRequest` with its prefix.
fn request_message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE_TAG);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut request = BytesMut::with_capacity(PREFIX_LENGTH + message.len());
    request.put_u8(0);
    request.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    request.put_slice(&message);
    request.freeze()
}

fn put_varint(buffer: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        buffer.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// The status in a `HealthCheckResponse` with its prefix; an empty message means the first one.
fn serving_status(answer: &[u8]) -> Option<u8> {
    let (prefix, message) = answer.split_at_checked(PREFIX_LENGTH)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    let is_whole = prefix[0] == 0 && usize::try_from(length) == Ok(message.len());
    match message {
        _ if !is_whole => None,
        [] => Some(0),
        [STATUS_TAG, status] if *status < 0x80 => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers one call: with a message and trailers, or with an error.
    async fn server(status: Option<u8>, code: &'static str) -> HealthQuestion {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (mut request, mut respond) = connection.accept().await.unwrap().unwrap();
            assert_eq!(request.uri().path(), METHOD);
            assert_eq!(request.headers()[USER_AGENT], PROBE_USER_AGENT);
            let serving = async {
                let body = request.body_mut().data().await.unwrap().unwrap();
                assert_eq!(body, request_message("shop"));
                let head = Response::builder().header(CONTENT_TYPE, "application/grpc");
                let Some(status) = status else {
                    let head = head.header("grpc-status", code).body(()).unwrap();
                    respond.send_response(head, true).unwrap();
                    return;
                };
                let mut stream = respond
                    .send_response(head.body(()).unwrap(), false)
                    .unwrap();
                let message = Bytes::from(vec![0, 0, 0, 0, 2, STATUS_TAG, status]);
                stream.send_data(message, false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", code.parse().unwrap());
                stream.send_trailers(trailers).unwrap();
            };
            serving.await;
            // Polls the connection until the client closes it.
            while connection.accept().await.is_some() {}
        });
        HealthQuestion {
            address,
            service: "shop".to_owned(),
        }
    }

    #[tokio::test]
    async fn only_serving_passes() {
        assert_eq!(
            server(Some(SERVING), "0").await.ask().await,
            Outcome::Passed
        );
        assert_eq!(
            server(Some(2), "0").await.ask().await,
            Outcome::Failed("service unhealthy (responded with \"NOT_SERVING\")".to_owned())
        );
        for (status, code) in [(None, "12"), (None, "5"), (Some(SERVING), "14")] {
            let outcome = server(status, code).await.ask().await;
            assert!(matches!(outcome, Outcome::Failed(_)), "{code}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let question = HealthQuestion {
            address,
            service: String::new(),
        };
        assert!(matches!(question.ask().await, Outcome::Failed(_)));
    }

    #[test]
    fn messages_have_a_prefix() {
        assert_eq!(request_message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(
            request_message("ab")[..],
            [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']
        );
        assert_eq!(request_message(&"x".repeat(300))[5..8], [0x0a, 0xac, 0x02]);
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 3, 8, 1]), None);
        assert_eq!(serving_status(b"HTTP"), None);
    }
}
