//! The server: answers, is ready and alive by its script, and takes SIGTERM as it is told.

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::arguments::{OnTerm, Serve};
use super::{burn, own_name, say, uptime};

/// Between two signs of life after SIGTERM: so exactly is the moment of a SIGKILL known.
const SIGN_OF_LIFE: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Requests that were read and are not answered yet.
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

pub(super) async fn serve(script: Serve) -> ExitCode {
    say(&format!("start {} {}", std::process::id(), own_name()));
    burn::start(script.burn_millicores, script.burn_until);
    let (stop_listening, stopped) = watch::channel(false);
    let local = tokio::task::LocalSet::new();
    let code = local
        .run_until(async {
            tokio::select! {
                code = end_by_signal(script.on_term, &stop_listening) => code,
                code = end_by_itself(script.exit_after, script.exit_code) => code,
                code = listen(Rc::new(script), stopped) => code,
            }
        })
        .await;
    say(&format!("exit {code}"));
    ExitCode::from(code)
}

async fn end_by_signal(behaviour: OnTerm, stop_listening: &watch::Sender<bool>) -> u8 {
    if behaviour == OnTerm::None {
        return std::future::pending().await;
    }
    let Ok(mut signals) = signal(SignalKind::terminate()) else {
        say("mistake SIGTERM cannot be handled");
        return 2;
    };
    signals.recv().await;
    say("sigterm");
    match behaviour {
        OnTerm::None | OnTerm::Exit => {}
        OnTerm::Ignore => loop {
            sleep(SIGN_OF_LIFE).await;
            say("alive");
        },
        OnTerm::Drain(limit) => {
            stop_listening.send_replace(true);
            let idle = async {
                while IN_FLIGHT.load(Ordering::Relaxed) > 0 {
                    sleep(LOOK_AGAIN).await;
                }
            };
            // What is still in flight after the limit is cut off, as the script says.
            timeout(limit, idle).await.unwrap_or_default();
        }
    }
    0
}

async fn end_by_itself(after: Option<Duration>, code: u8) -> u8 {
    match after {
        Some(time) => sleep(time.saturating_sub(uptime())).await,
        None => std::future::pending().await,
    }
    code
}

async fn listen(script: Rc<Serve>, mut stopped: watch::Receiver<bool>) -> u8 {
    sleep(script.boot_delay.saturating_sub(uptime())).await;
    let host = std::env::var("POD_IP").unwrap_or_else(|_| "[::]".to_owned());
    let address = format!("{host}:{}", script.port);
    let listener = match TcpListener::bind(&address).await {
        Ok(listener) => listener,
        Err(error) => {
            say(&format!("mistake cannot listen on {address}: {error}"));
            return 2;
        }
    };
    say(&format!("listen {address}"));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        if let Ok((stream, _)) = accepted {
            let script = Rc::clone(&script);
            tokio::task::spawn_local(async move {
                // A client that leaves ends its own connection only.
                drop(converse(stream, &script).await);
            });
        }
    }
    drop(listener);
    std::future::pending().await
}

/// Answers the requests of one connection until the client closes it, or asks for that.
async fn converse(mut stream: TcpStream, script: &Serve) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    while let Some(request) = lines.next_line().await? {
        let mut close = false;
        while let Some(header) = lines.next_line().await?.filter(|line| !line.is_empty()) {
            close |= header.eq_ignore_ascii_case("connection: close");
        }
        IN_FLIGHT.fetch_add(1, Ordering::Relaxed);
        let answered = answer(&request, script, close, &mut write).await;
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
        answered?;
        if close {
            break;
        }
    }
    Ok(())
}

async fn answer(
    request: &str,
    script: &Serve,
    close: bool,
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let path = request.split_whitespace().nth(1).unwrap_or("/");
    sleep(script.answer_delay).await;
    let (status, location) = status(path, script, uptime());
    say(&format!("get {path} {status}"));
    let location = location.map(|url| format!("location: {url}\r\n"));
    let close = if close { "connection: close\r\n" } else { "" };
    let body = own_name();
    let response = format!(
        "HTTP/1.1 {status} -\r\n{}{close}content-length: {}\r\n\r\n{body}",
        location.unwrap_or_default(),
        body.len()
    );
    write.write_all(response.as_bytes()).await
}

/// The status of the answer, and where it redirects to.
fn status<'a>(path: &'a str, script: &Serve, now: Duration) -> (u16, Option<&'a str>) {
    let by = |holds: bool| if holds { 200 } else { 503 };
    if let Some(url) = path.strip_prefix("/redirect?") {
        return (302, Some(url));
    }
    let chosen = path.strip_prefix("/status/");
    let status = match path {
        "/ready" => by(script.ready.contain(now)),
        "/live" => by(script.live.contain(now)),
        _ => chosen.and_then(|code| code.parse().ok()).unwrap_or(200),
    };
    (status, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::victim::Windows;

    #[test]
    fn probes_are_answered_by_the_script() {
        let script = Serve {
            ready: Windows::parse("3s..").unwrap(),
            ..Serve::default()
        };
        let at = |path, seconds| status(path, &script, Duration::from_secs(seconds));
        assert_eq!(at("/ready", 2), (503, None));
        assert_eq!(at("/ready", 3), (200, None));
        assert_eq!(at("/live", 0), (200, None));
        assert_eq!(at("/status/399", 0), (399, None));
        let elsewhere = "http://example.invalid/";
        assert_eq!(
            at("/redirect?http://example.invalid/", 0),
            (302, Some(elsewhere))
        );
        assert_eq!(at("/", 0), (200, None));
    }
}
