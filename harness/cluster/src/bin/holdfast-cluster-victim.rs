//! A small program for this crate's tests to run in pods: an HTTP server whose behaviour can be
//! chosen.
//!
//! Environment: `PORT` (default 8080), `POD_IP`, `BIND` (an address other than `POD_IP`),
//! `REUSE_PORT` (anything: shares its port with whoever wants), `BOOT_DELAY` (seconds before it listens), `ON_SIGTERM` (`default`, `ignore`, `exit`, or a number
//! of seconds after which it exits with 0), `EXIT_AFTER` (seconds after which it exits with
//! `EXIT_CODE`), `GRANDCHILD` (anything: starts a process that never ends by itself).
//!
//! | request | answer |
//! |---|---|
//! | `GET /ready`, `GET /live` | 200 or 503 |
//! | `POST /ready/on`, `/ready/off`, `/live/on`, `/live/off` | decides that |
//! | `GET /env/<NAME>` | the value of an environment variable |
//! | anything else | 200 and the pod's name |

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

static READY: AtomicBool = AtomicBool::new(true);
static LIVE: AtomicBool = AtomicBool::new(true);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let environment: HashMap<String, String> = std::env::vars().collect();
    let number = |name: &str| {
        environment
            .get(name)
            .and_then(|text| text.parse::<u64>().ok())
    };
    READY.store(
        environment.get("READY").is_none_or(|text| text != "off"),
        Ordering::Relaxed,
    );
    // Kept, and never waited for.
    let _grandchild = environment.get("GRANDCHILD").map(|_| start_grandchild());
    tokio::select! {
        code = end_by_signal(environment.get("ON_SIGTERM").map_or("default", String::as_str)) => code,
        code = end_by_itself(number("EXIT_AFTER"), number("EXIT_CODE")) => code,
        () = serve(&environment, number("BOOT_DELAY").unwrap_or(0)) => ExitCode::FAILURE,
    }
}

fn start_grandchild() -> tokio::process::Child {
    let sleeping = Command::new("sleep").arg("1000000").spawn();
    sleeping.expect("every machine has sleep")
}

async fn end_by_signal(behaviour: &str) -> ExitCode {
    if behaviour == "default" {
        return std::future::pending().await;
    }
    let mut signals = signal(SignalKind::terminate()).expect("signals can be handled");
    loop {
        signals.recv().await;
        say("SIGTERM");
        match behaviour {
            "ignore" => {}
            "exit" => return ExitCode::SUCCESS,
            seconds => {
                sleep(Duration::from_secs(seconds.parse().unwrap_or(0))).await;
                return ExitCode::SUCCESS;
            }
        }
    }
}

async fn end_by_itself(after: Option<u64>, code: Option<u64>) -> ExitCode {
    match after {
        Some(seconds) => sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(0))
}

async fn serve(environment: &HashMap<String, String>, boot_delay: u64) {
    sleep(Duration::from_secs(boot_delay)).await;
    let variable = |name: &str| environment.get(name).map(String::as_str);
    let address = variable("BIND")
        .or(variable("POD_IP"))
        .unwrap_or("127.0.0.1");
    let port = variable("PORT").unwrap_or("8080");
    let listener = match listen(
        &format!("{address}:{port}"),
        variable("REUSE_PORT").is_some(),
    ) {
        Ok(listener) => listener,
        Err(error) => return say(&format!("cannot listen on {address}:{port}: {error}")),
    };
    say(&format!("listening on {address}:{port}"));
    while let Ok((stream, _)) = listener.accept().await {
        let environment = environment.clone();
        tokio::spawn(async move {
            // A client that leaves ends its connection only.
            drop(answer(stream, &environment).await);
        });
    }
}

fn listen(address: &str, reuse_port: bool) -> std::io::Result<TcpListener> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Answers the requests of one connection.
async fn answer(
    mut stream: TcpStream,
    environment: &HashMap<String, String>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    while let Some(request) = lines.next_line().await? {
        while lines
            .next_line()
            .await?
            .is_some_and(|header| !header.is_empty())
        {}
        let target = request.split_whitespace().nth(1).unwrap_or("/");
        say(&request);
        let (status, body) = respond(target, environment);
        let length = body.len();
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        write.write_all(response.as_bytes()).await?;
    }
    Ok(())
}

fn respond(target: &str, environment: &HashMap<String, String>) -> (&'static str, String) {
    let health = |flag: &AtomicBool| {
        if flag.load(Ordering::Relaxed) {
            "200 OK"
        } else {
            "503 Service Unavailable"
        }
    };
    match target {
        "/ready" => (health(&READY), String::new()),
        "/live" => (health(&LIVE), String::new()),
        "/ready/on" | "/ready/off" => {
            READY.store(target.ends_with("on"), Ordering::Relaxed);
            ("200 OK", String::new())
        }
        "/live/on" | "/live/off" => {
            LIVE.store(target.ends_with("on"), Ordering::Relaxed);
            ("200 OK", String::new())
        }
        _ => {
            let name = target.strip_prefix("/env/").unwrap_or("HOSTNAME");
            ("200 OK", environment.get(name).cloned().unwrap_or_default())
        }
    }
}

/// One line of output, at once.
fn say(line: &str) {
    // Nobody may be reading any longer.
    drop(std::io::stdout().write_all(format!("{line}\n").as_bytes()));
}
