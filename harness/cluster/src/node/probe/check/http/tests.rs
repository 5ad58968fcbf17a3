use std::sync::Mutex;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

/// A server that gives one answer to everything, and remembers what it was asked.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(answer: String, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::default();
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    Some(tls) => serve(tls.accept(stream).await.unwrap(), &answer, &seen).await,
                    None => serve(stream, &answer, &seen).await,
                }
            }
        });
        Self { port, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn action(&self) -> HTTPGetAction {
        HTTPGetAction {
            port: IntOrString::Int(self.port.into()),
            ..HTTPGetAction::default()
        }
    }

    async fn ask(&self) -> Outcome {
        ask(&self.action()).await
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &str,
    seen: &Mutex<Vec<String>>,
) {
    let mut request = [0; 1024];
    let length = stream.read(&mut request).await.unwrap();
    let text = String::from_utf8_lossy(&request[..length]).into_owned();
    seen.lock().unwrap().push(text);
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn ask(action: &HTTPGetAction) -> Outcome {
    let question = HttpGet::new(action, [127, 0, 0, 1].into(), &[]).unwrap();
    question.ask().await
}

fn response(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: 2\r\n\r\nno")
}

#[tokio::test]
async fn the_status_decides() {
    for (status, expected) in [
        ("200 OK", "passed"),
        ("299 Odd", "passed"),
        ("300 Choose", "warned"),
        ("304 Not Modified", "warned"),
        ("399 Odd", "warned"),
        ("400 Bad", "failed"),
        ("503 No", "failed"),
    ] {
        let outcome = Server::new(response(status, ""), None).await.ask().await;
        let what = match &outcome {
            Outcome::Passed => "passed",
            Outcome::PassedWithWarning(_) => "warned",
            Outcome::Failed(_) => "failed",
            Outcome::Unanswerable(_) => "unanswerable",
        };
        assert_eq!(what, expected, "{status}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_passes_with_a_warning() {
    for location in ["http://elsewhere.test/", "//elsewhere.test/x"] {
        let answer = response("302 Found", &format!("location: {location}\r\n"));
        let server = Server::new(answer, None).await;
        let outcome = server.ask().await;
        assert_eq!(
            outcome,
            Outcome::PassedWithWarning("Probe terminated redirects, Response body: no".to_owned())
        );
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn redirects_to_the_same_host_are_followed_but_not_for_ever() {
    let answer = response("302 Found", "location: sub/again?n=1\r\n");
    let server = Server::new(answer, None).await;
    let action = HTTPGetAction {
        path: Some("/a/b".to_owned()),
        ..server.action()
    };
    let Outcome::Failed(reason) = ask(&action).await else {
        panic!("ten requests are enough");
    };
    assert!(reason.contains("stopped after 10 redirects"), "{reason}");
    let requests = server.requests();
    assert_eq!(requests.len(), 10);
    assert!(requests[0].starts_with("GET /a/b HTTP/1.1"));
    assert!(
        requests[1].starts_with("GET /a/sub/again?n=1 HTTP/1.1"),
        "{}",
        requests[1]
    );
}

#[tokio::test]
async fn a_port_of_the_same_host_is_still_the_same_host() {
    let there = Server::new(response("200 OK", ""), None).await;
    let location = format!("location: http://127.0.0.1:{}/there\r\n", there.port);
    let here = Server::new(response("307 Moved", &location), None).await;
    assert_eq!(here.ask().await, Outcome::Passed);
    assert!(there.requests()[0].starts_with("GET /there "));
}

#[tokio::test]
async fn headers_are_sent_as_given() {
    let server = Server::new(response("200 OK", ""), None).await;
    server.ask().await;
    let usual = server.requests()[0].to_lowercase();
    assert!(usual.contains("user-agent: kube-probe/1.33\r\n"), "{usual}");
    assert!(usual.contains("accept: */*\r\n"), "{usual}");
    assert!(usual.contains("connection: close\r\n"), "{usual}");
    let host = format!("host: 127.0.0.1:{}\r\n", server.port);
    assert!(usual.contains(&host), "{usual}");

    let header = |name: &str, value: &str| HTTPHeader {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let action = HTTPGetAction {
        http_headers: Some(vec![
            header("Host", "shop.test"),
            header("X-Twice", "1"),
            header("X-Twice", "2"),
            header("User-Agent", "mine"),
            header("Accept", ""),
        ]),
        ..server.action()
    };
    ask(&action).await;
    let own = server.requests()[1].to_lowercase();
    for line in [
        "host: shop.test",
        "x-twice: 1",
        "x-twice: 2",
        "user-agent: mine",
    ] {
        assert!(own.contains(&format!("{line}\r\n")), "{line} in {own}");
    }
    assert!(!own.contains("accept"), "{own}");
    assert!(!own.contains("127.0.0.1"), "{own}");
}

#[tokio::test]
async fn any_certificate_will_do() {
    let certified = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let server = Server::new(response("200 OK", ""), Some(tls)).await;
    let action = HTTPGetAction {
        scheme: Some("HTTPS".to_owned()),
        ..server.action()
    };
    assert_eq!(ask(&action).await, Outcome::Passed);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_cannot_be_asked_is_said() {
    let nameless = HTTPGetAction {
        port: IntOrString::String("web".to_owned()),
        ..HTTPGetAction::default()
    };
    let error = HttpGet::new(&nameless, [127, 0, 0, 1].into(), &[]).unwrap_err();
    assert!(error.contains("web"), "{error}");
}
