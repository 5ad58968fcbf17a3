//! Asking a container one question: over HTTP, by a TCP connection, or by running a command in it.
//! Hooks (`preStop`) are asked the same way.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, LOCATION, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{
    ContainerPort, ExecAction, HTTPGetAction, HTTPHeader, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::node::process::{Launch, Shim};

const PROBE_USER_AGENT: &str = "kube-probe/1.33";
const MOST_REDIRECTS: usize = 10;
/// How much of an answer is read; the rest does not matter.
const ANSWER_LIMIT: usize = 10 * 1024;

/// A question to a container.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    Http {
        host: String,
        port: u16,
        path: String,
        headers: Vec<HTTPHeader>,
    },
    Tcp {
        host: String,
        port: u16,
    },
    Exec {
        shim: Shim,
        container: u32,
        launch: Launch,
    },
    /// The question cannot be asked, for the reason given.
    Impossible(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    PassedWithWarning(String),
    Failed(String),
    /// The question could not be asked; this says nothing about the container.
    Unanswerable(String),
}

impl Check {
    pub(crate) fn http(action: &HTTPGetAction, pod: IpAddr, ports: &[ContainerPort]) -> Self {
        let host = action.host.clone().filter(|host| !host.is_empty());
        match port_number(&action.port, ports) {
            Some(port) => Self::Http {
                host: host.unwrap_or_else(|| pod.to_string()),
                port,
                path: action.path.clone().unwrap_or_else(|| "/".to_owned()),
                headers: action.http_headers.clone().unwrap_or_default(),
            },
            None => Self::Impossible(no_port(&action.port)),
        }
    }

    pub(crate) fn tcp(action: &TCPSocketAction, pod: IpAddr, ports: &[ContainerPort]) -> Self {
        let host = action.host.clone().filter(|host| !host.is_empty());
        match port_number(&action.port, ports) {
            Some(port) => Self::Tcp {
                host: host.unwrap_or_else(|| pod.to_string()),
                port,
            },
            None => Self::Impossible(no_port(&action.port)),
        }
    }

    /// A command in the container whose program is the process `container`; `like` is what that was
    /// started with.
    pub(crate) fn exec(action: &ExecAction, shim: &Shim, container: u32, like: &Launch) -> Self {
        let mut words = action.command.iter().flatten();
        let Some(program) = words.next() else {
            return Self::Impossible("the command is empty".to_owned());
        };
        let launch = Launch {
            program: program.into(),
            arguments: words.map(Into::into).collect(),
            ..like.clone()
        };
        Self::Exec {
            shim: shim.clone(),
            container,
            launch,
        }
    }

    /// Asks once, on a connection of its own. No answer within `limit` is a failure.
    pub(crate) async fn ask(&self, limit: Duration) -> Outcome {
        let asked = async {
            match self {
                Self::Http {
                    host,
                    port,
                    path,
                    headers,
                } => ask_http(host, *port, path, headers).await,
                Self::Tcp { host, port } => ask_tcp(host, *port).await,
                Self::Exec {
                    shim,
                    container,
                    launch,
                } => ask_exec(shim, *container, launch).await,
                Self::Impossible(reason) => Outcome::Unanswerable(reason.clone()),
            }
        };
        match timeout(limit, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failed(format!("no answer within {} s", limit.as_secs())),
        }
    }
}

/// The number of a port given by number or by name.
fn port_number(port: &IntOrString, ports: &[ContainerPort]) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            match ports.iter().find(|port| port.name.as_ref() == Some(name)) {
                Some(port) => port.container_port,
                None => name.parse().ok()?,
            }
        }
    };
    u16::try_from(number).ok()
}

fn no_port(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => format!("{number} is not a port"),
        IntOrString::String(name) => format!("the container has no port named {name}"),
    }
}

async fn ask_tcp(host: &str, port: u16) -> Outcome {
    match TcpStream::connect((host, port)).await {
        Ok(_) => Outcome::Passed,
        Err(error) => Outcome::Failed(format!("dial tcp {host}:{port}: {error}")),
    }
}

async fn ask_exec(shim: &Shim, container: u32, launch: &Launch) -> Outcome {
    let mut running = match shim.run_inside(container, launch).await {
        Ok(running) => running,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let mut said = Vec::new();
    let mut complained = Vec::new();
    // Read to the end, so that the command is not blocked by a full pipe.
    let (stdout, stderr) = tokio::join!(
        running.stdout.read_to_end(&mut said),
        running.stderr.read_to_end(&mut complained)
    );
    let code = running.exit.code().await;
    if code == 0 {
        return Outcome::Passed;
    }
    if let Err(error) = stdout.and(stderr) {
        return Outcome::Failed(format!("exit code {code}; its output is lost: {error}"));
    }
    said.append(&mut complained);
    said.truncate(ANSWER_LIMIT);
    let text = String::from_utf8_lossy(&said);
    Outcome::Failed(format!("exit code {code}: {}", text.trim()))
}

async fn ask_http(host: &str, port: u16, path: &str, headers: &[HTTPHeader]) -> Outcome {
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let Ok(mut uri) = format!("http://{host}:{port}{path}").parse::<Uri>() else {
        return Outcome::Unanswerable(format!("{path} is not a path"));
    };
    for _ in 0..=MOST_REDIRECTS {
        let answer = match get(&uri, headers).await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Failed(format!("Get \"{uri}\": {error}")),
        };
        if !(200..400).contains(&answer.status) {
            return Outcome::Failed(format!(
                "HTTP probe failed with statuscode: {}",
                answer.status
            ));
        }
        let Some(target) = answer.redirect_from(&uri) else {
            return Outcome::Passed;
        };
        if target.host() != uri.host() {
            return Outcome::PassedWithWarning(format!("Probe terminated redirects to {target}"));
        }
        uri = target;
    }
    Outcome::Failed(format!("stopped after {MOST_REDIRECTS} redirects"))
}

struct Answer {
    status: u16,
    location: Option<String>,
}

impl Answer {
    /// Where a redirect leads to.
    fn redirect_from(&self, from: &Uri) -> Option<Uri> {
        let location = self.location.as_deref()?;
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        if location.starts_with('/') && !location.starts_with("//") {
            let authority = from.authority()?;
            return format!("http://{authority}{location}").parse().ok();
        }
        location
            .parse()
            .ok()
            .filter(|target: &Uri| target.host().is_some())
    }
}

#[derive(Debug, thiserror::Error)]
enum GetError {
    #[error("{0}")]
    Dial(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
}

/// One GET on a new connection.
async fn get(uri: &Uri, headers: &[HTTPHeader]) -> Result<Answer, GetError> {
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(80);
    let stream = match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect(SocketAddr::new(address, port)).await?,
        Err(_) => TcpStream::connect((host, port)).await?,
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, format!("{host}:{port}"))
        .header(USER_AGENT, PROBE_USER_AGENT)
        .body(Empty::<Bytes>::new())?;
    for header in headers {
        let name = HeaderName::try_from(&header.name).map_err(http::Error::from)?;
        let value = HeaderValue::try_from(&header.value).map_err(http::Error::from)?;
        request.headers_mut().insert(name, value);
    }
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|location| location.to_str().ok())
            .map(str::to_owned);
        // The answer counts; how its body ends does not.
        drop(
            Limited::new(response.into_body(), ANSWER_LIMIT)
                .collect()
                .await,
        );
        Ok(Answer { status, location })
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A server that gives one answer to everything, and a check that asks it.
    async fn server(answer: String) -> Check {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                assert!(String::from_utf8_lossy(&request[..length]).contains("kube-probe/"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let action = HTTPGetAction {
            port: IntOrString::Int(port.into()),
            ..HTTPGetAction::default()
        };
        Check::http(&action, [127, 0, 0, 1].into(), &[])
    }

    fn response(status: &str, headers: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n")
    }

    #[tokio::test]
    async fn everything_from_200_to_399_passes() {
        for (status, passes) in [
            ("200 OK", true),
            ("399 Odd", true),
            ("400 Bad", false),
            ("503 No", false),
        ] {
            let check = server(response(status, "")).await;
            let outcome = check.ask(LIMIT).await;
            assert_eq!(outcome == Outcome::Passed, passes, "{status}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_redirect_to_another_host_passes_with_a_warning() {
        let check = server(response(
            "302 Found",
            "location: http://elsewhere.test/\r\n",
        ))
        .await;
        assert!(matches!(
            check.ask(LIMIT).await,
            Outcome::PassedWithWarning(_)
        ));
    }

    #[tokio::test]
    async fn redirects_to_the_same_host_are_followed_but_not_for_ever() {
        let check = server(response("302 Found", "location: /again\r\n")).await;
        let outcome = check.ask(LIMIT).await;
        assert_eq!(
            outcome,
            Outcome::Failed("stopped after 10 redirects".to_owned())
        );
    }

    #[tokio::test]
    async fn silence_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let action = HTTPGetAction {
            port: IntOrString::Int(port.into()),
            ..HTTPGetAction::default()
        };
        let check = Check::http(&action, [127, 0, 0, 1].into(), &[]);
        assert!(matches!(
            check.ask(Duration::from_millis(50)).await,
            Outcome::Failed(_)
        ));
        let tcp = TCPSocketAction {
            port: IntOrString::Int(port.into()),
            host: None,
        };
        let tcp = Check::tcp(&tcp, [127, 0, 0, 1].into(), &[]);
        assert_eq!(tcp.ask(LIMIT).await, Outcome::Passed);
        drop(listener);
        assert!(matches!(tcp.ask(LIMIT).await, Outcome::Failed(_)));
    }

    #[test]
    fn ports_have_names() {
        let ports = [ContainerPort {
            container_port: 8080,
            name: Some("http".to_owned()),
            ..ContainerPort::default()
        }];
        assert_eq!(
            port_number(&IntOrString::String("http".to_owned()), &ports),
            Some(8080)
        );
        assert_eq!(
            port_number(&IntOrString::String("8081".to_owned()), &ports),
            Some(8081)
        );
        assert_eq!(
            port_number(&IntOrString::String("grpc".to_owned()), &ports),
            None
        );
    }
}
