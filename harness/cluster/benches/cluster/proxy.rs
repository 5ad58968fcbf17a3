//! Connections through a Service: beside a direct connection and HAProxy, in the same run.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::PostParams;
use serde_json::{from_value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::site::{DEADLINE, Site};

/// The role of the process that answers.
pub(crate) const SERVER: &str = "proxy-server";

const BACKEND: &str = "127.98.1.1:18080";
const HAPROXY: &str = "127.98.1.2:18080";
const ROUNDS: usize = 3;

/// Answers every request with one line.
pub(crate) async fn serve(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let answer = service_fn(async |_: Request<hyper::body::Incoming>| {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"served\n"))))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            // A client that breaks off is none of the server's business.
            drop(connection.await);
        });
    }
}

/// Ends with the benchmark.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) async fn run() {
    println!("\n## Proxy ({ROUNDS} rounds by turns, medians; wrk, one thread)\n");
    if !is_there("wrk") {
        println!("not measured: wrk is not installed (Debian package wrk)");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let _server = Process(Command::new(own).args([SERVER, BACKEND]).spawn().unwrap());
    let site = Site::start().await;
    let service = service(&site).await;
    let mut ways = vec![("direct", BACKEND.to_owned()), ("holdfast", service)];
    let configuration = haproxy_configuration();
    let _haproxy = is_there("haproxy").then(|| {
        ways.push(("HAProxy (mode tcp)", HAPROXY.to_owned()));
        let path = configuration.path();
        let command = Command::new("haproxy").arg("-f").arg(path).spawn();
        Process(command.unwrap())
    });
    for (_, address) in &ways {
        until_listening(address).await;
    }
    println!(
        "| way | requests/s, 20 kept connections | requests/s, a new connection each | mean latency, 1 kept connection, µs |\n|---|---|---|---|"
    );
    let mut rows = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, address), figures) in ways.iter().zip(&mut rows) {
            figures.push([
                wrk(address, &["-c20"]).await.0,
                wrk(address, &["-c20", "-H", "Connection: close"]).await.0,
                wrk(address, &["-c1"]).await.1,
            ]);
        }
    }
    let direct = medians(&rows[0]);
    for ((way, _), figures) in ways.iter().zip(&rows) {
        let figures = medians(figures);
        let cell = |index: usize| {
            format!(
                "{:.0} ({:.2} ×)",
                figures[index],
                figures[index] / direct[index]
            )
        };
        println!("| {way} | {} | {} | {} |", cell(0), cell(1), cell(2));
    }
    if ways.len() == 2 {
        println!("\nHAProxy is not installed (Debian package haproxy), so it is missing here.");
    }
    site.end().await;
}

fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

/// A Service whose only endpoint is the server; returns its address.
async fn service(site: &Site) -> String {
    let (address, port) = BACKEND.split_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let ports = json!([{"port": port}]);
    let service = json!({"metadata": {"name": "bench"}, "spec": {"ports": ports}});
    let slice = json!({
        "metadata": {"name": "bench-1", "labels": {"kubernetes.io/service-name": "bench"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
    });
    let services: Api<Service> = Api::default_namespaced(site.client.clone());
    let slices: Api<EndpointSlice> = Api::default_namespaced(site.client.clone());
    let parameters = PostParams::default();
    let made = services
        .create(&parameters, &from_value(service).unwrap())
        .await;
    let address = made.unwrap().spec.unwrap().cluster_ip.unwrap();
    let made = slices
        .create(&parameters, &from_value(slice).unwrap())
        .await;
    made.unwrap();
    format!("{address}:{port}")
}

fn haproxy_configuration() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nlisten bench\n  bind {HAPROXY}\n  server one {BACKEND}\n"
    );
    file.write_all(text.as_bytes()).unwrap();
    file
}

async fn until_listening(address: &str) {
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, listening).await.unwrap();
}

/// Requests per second, and the mean latency in microseconds.
async fn wrk(address: &str, options: &[&str]) -> (f64, f64) {
    let script = std::env::temp_dir().join("holdfast-bench-report.lua");
    let text = "function done(summary, latency, requests)\n  io.write(string.format('figures %f %f', summary.requests / summary.duration * 1e6, latency.mean))\nend\n";
    std::fs::write(&script, text).unwrap();
    let output = tokio::process::Command::new("wrk")
        .args(["-t1", "-d2s", "-s"])
        .arg(&script)
        .args(options)
        .arg(format!("http://{address}/"))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let figures = text.split("figures ").nth(1).unwrap();
    let mut figures = figures
        .split_whitespace()
        .map(|figure| figure.parse().unwrap());
    (figures.next().unwrap(), figures.next().unwrap())
}

fn medians(rounds: &[[f64; 3]]) -> [f64; 3] {
    std::array::from_fn(|index| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[index]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}
