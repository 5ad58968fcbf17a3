//! Asking a container one question: over HTTP or gRPC, by a TCP connection, or by running a command
//! in it. Hooks (`preStop`) are asked the same way.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ContainerPort, ExecAction, GRPCAction, HTTPGetAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::node::process::{Launch, Shim, StartError};

mod grpc;
mod http;

use grpc::HealthQuestion;
use http::HttpGet;

const PROBE_USER_AGENT: &str = "kube-probe/1.33";
/// How much of a command's output is told.
const OUTPUT_LIMIT: usize = 10 * 1024;

/// A question to a container.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    Http(HttpGet),
    Tcp {
        host: String,
        port: u16,
    },
    Grpc(HealthQuestion),
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
        HttpGet::new(action, pod, ports).map_or_else(Self::Impossible, Self::Http)
    }

    pub(crate) fn tcp(action: &TCPSocketAction, pod: IpAddr, ports: &[ContainerPort]) -> Self {
        match port_number(&action.port, ports) {
            Some(port) => Self::Tcp {
                host: given(action.host.as_ref()).unwrap_or_else(|| pod.to_string()),
                port,
            },
            None => Self::Impossible(no_port(&action.port)),
        }
    }

    pub(crate) fn grpc(action: &GRPCAction, pod: IpAddr) -> Self {
        match u16::try_from(action.port) {
            Ok(port) => Self::Grpc(HealthQuestion {
                address: SocketAddr::new(pod, port),
                service: action.service.clone().unwrap_or_default(),
            }),
            Err(_) => Self::Impossible(format!("{} is not a port", action.port)),
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
                Self::Http(question) => question.ask().await,
                Self::Tcp { host, port } => ask_tcp(host, *port).await,
                Self::Grpc(question) => question.ask().await,
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

/// A text that says something.
fn given(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
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
        // A command that is not there says nothing about the container.
        Err(
            error @ (StartError::Shim { .. } | StartError::Program(_) | StartError::NotPermitted),
        ) => return Outcome::Unanswerable(error.to_string()),
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
    said.truncate(OUTPUT_LIMIT);
    let text = String::from_utf8_lossy(&said);
    Outcome::Failed(format!("exit code {code}: {}", text.trim()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn silence_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let pod = [127, 0, 0, 1].into();
        let http = HTTPGetAction {
            port: IntOrString::Int(port.into()),
            ..HTTPGetAction::default()
        };
        let grpc = GRPCAction {
            port: port.into(),
            ..GRPCAction::default()
        };
        let briefly = Duration::from_millis(50);
        for check in [Check::http(&http, pod, &[]), Check::grpc(&grpc, pod)] {
            assert!(matches!(check.ask(briefly).await, Outcome::Failed(_)));
        }
        let tcp = TCPSocketAction {
            port: IntOrString::Int(port.into()),
            host: None,
        };
        let tcp = Check::tcp(&tcp, pod, &[]);
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
