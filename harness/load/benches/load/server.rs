//! The server that every generator meets: nginx, which answers at once and counts what it was
//! asked, on a processor of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use crate::process::{SERVER, is_there, pinned};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    nginx: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    /// `None`, and said so, where what it needs is not installed.
    pub(crate) fn start() -> Option<Self> {
        if !is_there("nginx") || !is_there("taskset") {
            println!(
                "not measured: nginx or taskset is not installed (Debian packages nginx-light, util-linux)"
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // Free a moment ago: nobody else here takes ports.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let configuration = folder.path().join("nginx.conf");
        std::fs::write(&configuration, text(address, folder.path())).unwrap();
        let mut nginx = pinned(SERVER, "nginx")
            .arg("-c")
            .arg(&configuration)
            .arg("-p")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(address).is_err() {
            let ended = nginx.try_wait().unwrap();
            assert!(ended.is_none(), "nginx ended at once: {ended:?}");
            thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            address,
            nginx,
            _folder: folder,
        })
    }

    /// Requests so far, this one left out.
    pub(crate) fn requests(&self) -> u64 {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET /status HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let counts = answer.split("requests\n").nth(1).unwrap();
        let requests = counts.split_whitespace().nth(2).unwrap();
        requests.parse::<u64>().unwrap() - 1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.nginx.kill());
        drop(self.nginx.wait());
    }
}

fn text(address: SocketAddr, folder: &std::path::Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 40000;
pid {folder}/pid; error_log /dev/null;
events {{ worker_connections 30000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {address} backlog=20000;
    location = /status {{ stub_status; }}
    location / {{ default_type application/json; return 200 '{{\"id\":1}}'; }}
  }}
}}
"
    )
}
