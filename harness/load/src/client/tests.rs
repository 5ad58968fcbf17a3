use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use holdfast_core::experiment::Transport;
use tokio::runtime::Builder;

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

/// A server that answers every request of one connection after another, from threads of its own.
pub(crate) fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            while stream.read(&mut request).is_ok_and(|read| read > 0) {
                stream.write_all(ANSWER).unwrap();
            }
        }
    });
    address
}

fn client(url: &str, connections: Connections) -> (Client, Message) {
    let target = Arc::new(Target::parse(url, None).unwrap());
    let transport = Transport {
        connections,
        ..Transport::default()
    };
    let dialer = Arc::new(Dialer::new(transport, &target).unwrap());
    let mut message = Message::new(target, connections);
    message.expect = vec![200];
    let headers = [("content-type", "application/json")].into_iter();
    message
        .write("POST", "/orders", headers, Some("{}"))
        .unwrap();
    (Client::new(&dialer, connections), message)
}

#[test]
fn a_kept_connection_takes_no_memory_for_a_request() {
    const REQUESTS: u64 = 10_000;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let url = format!("http://{}", server());
    let (mut client, message) = client(&url, Connections::KeepAlive);
    let mut perform = |times: u64| {
        runtime.block_on(async {
            for _ in 0..times {
                let deadline = Instant::now() + Duration::from_secs(30);
                let outcome = client.perform(&message, deadline).await;
                assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
                assert_eq!((outcome.status, outcome.body_bytes), (Some(200), 2));
            }
        });
    };
    perform(10);
    // The runtime itself may take memory to begin.
    let one = allocation_counter::measure(|| perform(1));
    let many = allocation_counter::measure(|| perform(REQUESTS));
    assert_eq!(many.count_total, one.count_total, "{many:?}");
}
