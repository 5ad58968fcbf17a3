//! A web server that does what the path asks for, so that siege and ours can be told to meet the
//! same answers: `/404/x` is a 404 with a short body, `/200/big` one with a whole mebibyte, `/302`
//! leads to `/200/there`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The body of most answers.
const BODY: &str = "a body of some bytes";

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// `POST /orders HTTP/1.1`.
    pub(crate) line: String,
    /// `name: value`, names in lower case.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

/// A running server; goes on until the test process ends.
pub(crate) struct Web {
    pub(crate) origin: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Web {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || answer_all(&stream.unwrap(), &kept));
            }
        });
        Self { origin, received }
    }

    /// What came in since the last call.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

fn answer_all(stream: &TcpStream, kept: &Mutex<Vec<Received>>) {
    let mut reader = BufReader::new(stream);
    while let Some(received) = read(&mut reader) {
        let path = received.line.split(' ').nth(1).unwrap().to_owned();
        let closes = received.headers.iter().any(|it| it == "connection: close");
        kept.lock().unwrap().push(received);
        // A client that has left is the client's business.
        if answer(stream, &path).is_err() || closes {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        match line.trim_end() {
            "" if lines.is_empty() => {}
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let line = lines.remove(0);
    let in_lower_case = |header: &String| {
        let (name, value) = header.split_once(':').unwrap();
        format!(
            "{}: {}",
            name.to_lowercase(),
            value.trim().replace("Close", "close")
        )
    };
    let headers: Vec<String> = lines.iter().map(in_lower_case).collect();
    let length = headers
        .iter()
        .find_map(|header| header.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        line,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

fn answer(mut stream: &TcpStream, path: &str) -> std::io::Result<()> {
    let status = path.split('/').nth(1).filter(|word| word.len() == 3);
    let status: u16 = status.and_then(|word| word.parse().ok()).unwrap_or(200);
    if status == 204 {
        return stream.write_all(b"HTTP/1.1 204 x\r\n\r\n");
    }
    let body = if path.ends_with("/big") {
        "b".repeat(1 << 20)
    } else {
        BODY.to_owned()
    };
    let location = if (300..400).contains(&status) {
        "location: /200/there\r\n"
    } else {
        ""
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{location}content-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
