//! A throttled Service, as its clients see it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::holdfast::{eventually, wait};
use crate::standing::{LONG, NAMESPACE, Standing, pid};

const FAULT: &str = "throttle: {service: web, delay: 700ms}";
const DELAY: Duration = Duration::from_millis(700);

#[test]
fn a_service_stays_slow_when_its_pods_are_replaced() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let address = "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}";
    let address = standing.kubectl(&["-n", NAMESPACE, "get", "service", "web", "-o", address]);
    standing.write_running("throttled.yaml", FAULT);
    let child = standing.run("throttled.yaml", &LONG).spawn().unwrap();
    standing.until_injected();
    let before = pods(&standing);
    // The proxies of a cluster hear of the throttle after it is in the Service.
    eventually("an old pod answers late", || {
        ask(&address).is_some_and(|(pod, took)| before.contains(&pod) && took >= DELAY)
    });

    let delete = [
        "delete",
        "pods",
        "-l",
        "app=web",
        "--grace-period=0",
        "--force",
    ];
    standing.kubectl(&[&["-n", NAMESPACE], delete.as_slice()].concat());
    let mut seen = None;
    eventually("a new pod answers", || {
        seen = ask(&address).filter(|(pod, _)| !before.contains(pod));
        seen.is_some()
    });
    let (pod, took) = seen.unwrap();
    assert!(pods(&standing).contains(&pod), "{pod}");
    assert!(took >= DELAY, "{took:?}");

    kill(pid(&child), Signal::SIGINT).unwrap();
    let ended = wait(child);
    assert_eq!(ended.status.code(), Some(130), "{}", ended.err);
    eventually("it is as fast as before", || {
        ask(&address).is_some_and(|(_, took)| took < DELAY)
    });
}

fn pods(standing: &Standing) -> Vec<String> {
    let names = "jsonpath={.items[*].metadata.name}";
    let get = ["get", "pods", "-l", "app=web", "-o", names];
    let names = standing.kubectl(&[&["-n", NAMESPACE], get.as_slice()].concat());
    names.split_whitespace().map(str::to_owned).collect()
}

/// The name of the pod that answers, and how long that takes; nothing where none does.
fn ask(address: &str) -> Option<(String, Duration)> {
    let asked = Instant::now();
    let mut connection = TcpStream::connect(address).ok()?;
    let patience = Duration::from_secs(5);
    connection.set_read_timeout(Some(patience)).unwrap();
    let request = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";
    connection.write_all(request.as_bytes()).ok()?;
    // The pod ends the connection when it has heard that nothing more comes.
    connection.shutdown(std::net::Shutdown::Write).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, pod) = answer.split_once("\r\n\r\n")?;
    (head.starts_with("HTTP/1.1 200") && !pod.is_empty()).then(|| (pod.to_owned(), asked.elapsed()))
}
