//! All services and the broker as processes on an address of their own, each with a folder that
//! outlives its death.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How long anything may take that is to happen in the end: much longer than it takes on a quiet
/// machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long to leave a process in peace before it is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// One of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Broker,
    App,
    Pay,
    Store,
    Customer,
    Marketing,
    Gateway,
    Auditor,
}

impl Part {
    pub const ALL: [Self; 8] = [
        Self::Broker,
        Self::App,
        Self::Pay,
        Self::Store,
        Self::Customer,
        Self::Marketing,
        Self::Gateway,
        Self::Auditor,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::App => "app",
            Self::Pay => "pay",
            Self::Store => "store",
            Self::Customer => "customer",
            Self::Marketing => "marketing",
            Self::Gateway => "gateway",
            Self::Auditor => "auditor",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Gateway => 8080,
            Self::App => 8081,
            Self::Pay => 8082,
            Self::Store => 8083,
            Self::Customer => 8084,
            Self::Marketing => 8085,
            Self::Auditor => 8086,
            Self::Broker => 9092,
        }
    }

    /// Where it says whether it is ready.
    fn admin_port(self) -> u16 {
        match self {
            Self::Gateway => 9080,
            _ => self.port(),
        }
    }
}

/// The programs, built; or a word on standard error where the broker is not, and nobody asked for it.
async fn programs() -> Option<&'static BTreeMap<Part, PathBuf>> {
    static PROGRAMS: OnceCell<Option<BTreeMap<Part, PathBuf>>> = OnceCell::const_new();
    let programs = PROGRAMS.get_or_init(|| async {
        let broker = tokio::task::spawn_blocking(test_servers::broker_program);
        let broker = broker.await.unwrap()?;
        let folder = build_services().await;
        let mut programs = BTreeMap::from([(Part::Broker, broker)]);
        programs.extend(
            Part::ALL
                .into_iter()
                .filter(|part| *part != Part::Broker)
                .map(|part| (part, folder.join(part.name()))),
        );
        Some(programs)
    });
    programs.await.as_ref()
}

/// Builds what is not built yet, and tells the folder. Cargo knows the programs of one package only
/// while it tests that package. All that is below them is that of the tests, and not compiled once more:
/// an example is built with what tests need, and so is everything beside it.
async fn build_services() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(2).unwrap().to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--workspace", "--example", "soak"])
        .arg("--target-dir")
        .arg(folder.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    for part in Part::ALL.into_iter().filter(|part| *part != Part::Broker) {
        cargo.args(["--bin", part.name()]);
    }
    assert!(cargo.status().await.unwrap().success());
    folder
}

/// The system; it ends with this value.
#[derive(Debug)]
pub struct System {
    programs: &'static BTreeMap<Part, PathBuf>,
    address: Ipv4Addr,
    data: TempDir,
    processes: BTreeMap<Part, Child>,
    settings: BTreeMap<Part, Vec<(&'static str, String)>>,
    pub client: Client,
}

impl System {
    /// A system of which nothing runs yet; `None` where the broker has not been built.
    pub async fn new() -> Option<Self> {
        let programs = programs().await?;
        Some(Self {
            programs,
            address: own_address(),
            data: tempfile::tempdir().unwrap(),
            processes: BTreeMap::new(),
            settings: BTreeMap::new(),
            client: Client::builder()
                .pool_max_idle_per_host(0)
                .timeout(Duration::from_secs(10))
                .build()
                .unwrap(),
        })
    }

    /// A system of which everything is ready.
    pub async fn running() -> Option<Self> {
        let mut system = Self::new().await?;
        for part in Part::ALL {
            system.start(part).await;
        }
        Some(system)
    }

    /// Has `part` started with this setting, from its next start on.
    pub fn set(&mut self, part: Part, name: &'static str, value: &str) {
        let settings = self.settings.entry(part).or_default();
        settings.push((name, value.to_owned()));
    }

    /// Starts a part with the data of its last life, and returns when it is ready.
    pub async fn start(&mut self, part: Part) {
        let mut process = self.spawn(part, self.address, &self.data.path().join(part.name()));
        self.until_ready(part, self.address, &mut process).await;
        self.processes.insert(part, process);
    }

    /// Another process of `part` on the same data, and its own URL.
    pub async fn replica(&self, part: Part) -> (Child, String) {
        let address = own_address();
        let mut process = self.spawn(part, address, &self.data.path().join(part.name()));
        self.until_ready(part, address, &mut process).await;
        (process, format!("http://{address}:{}", part.port()))
    }

    /// SIGKILL: nothing is finished.
    pub async fn kill(&mut self, part: Part) {
        let mut process = self.processes.remove(&part).expect("it runs");
        process.kill().await.unwrap();
    }

    /// Memory of a part that is not on disk.
    pub fn resident_bytes(&self, part: Part) -> u64 {
        let pid = self.processes[&part].id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    pub fn url(&self, part: Part, path: &str) -> String {
        format!("http://{}:{}{path}", self.address, part.port())
    }

    pub fn brokers(&self) -> String {
        format!("{}:{}", self.address, Part::Broker.port())
    }

    pub fn get(&self, part: Part, path: &str) -> RequestBuilder {
        self.client.get(self.url(part, path))
    }

    /// What a part says at `path`, which must be there.
    pub async fn read(&self, part: Part, path: &str) -> Value {
        let response = self.get(part, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{part:?} {path}");
        response.json().await.unwrap()
    }

    /// Waits until a part says at `path` what `is_so` wants, and returns that.
    pub async fn until(&self, part: Part, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while Instant::now() < deadline {
            let answer = self.get(part, path).send().await;
            if let Some(value) = json(answer).await {
                if is_so(&value) {
                    return value;
                }
                last = value;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{part:?} {path} is still {last:#}");
    }

    /// Waits until all promises are kept and nothing is due any more.
    pub async fn until_settled(&self) -> Value {
        let report = self.until(Part::Auditor, "/invariants", |report| {
            assert_eq!(report["holds"], true, "{report:#}");
            report["settled"] == true
        });
        report.await
    }

    /// Orders something, and returns the order's id if it was accepted.
    pub async fn order(&self, part: Part, order: &Value) -> Result<String, StatusCode> {
        let response = self.client.post(self.url(part, "/orders")).json(order);
        let Ok(response) = response.send().await else {
            return Err(StatusCode::BAD_GATEWAY);
        };
        let status = response.status();
        let accepted: Option<Value> = json(Ok(response)).await;
        match accepted.as_ref().and_then(|order| order["id"].as_str()) {
            Some(id) if status == StatusCode::CREATED => Ok(id.to_owned()),
            _ => Err(status),
        }
    }

    fn spawn(&self, part: Part, address: Ipv4Addr, data: &Path) -> Child {
        std::fs::create_dir_all(data).unwrap();
        let mut command = Command::new(&self.programs[&part]);
        command
            .env_clear()
            .env("BIND_ADDR", address.to_string())
            .env("DATA_DIR", data)
            .env("TMPDIR", self.data.path())
            .env("RUST_LOG", "warn")
            .env("KAFKA_BROKERS", self.brokers())
            .env("GATEWAY_AUTH", "off")
            .env("RATE_LIMIT", "0")
            // Quick enough to wait for, and slow enough for kills to find work half done.
            .env("STORE_ACCEPT_TIME", "20ms")
            .env("STORE_START_TIME", "20ms")
            .env("STORE_COOKING_TIME", "50ms")
            .env("STORE_RIDER_TIME", "20ms")
            .env("STORE_POLL", "100ms")
            .env("COUPON_INTERVAL", "200ms")
            // How long the place of a dead consumer is kept for it.
            .env("KAFKA_SESSION_TIMEOUT", "2s")
            .env("PAY_LATENCY_BASE", "5ms")
            .env("PAY_LATENCY_JITTER", "5ms")
            .env("ORDER_INTENT_LIMIT", "3s");
        for other in Part::ALL {
            let name = format!("{}_URL", other.name().to_uppercase());
            command.env(name, self.url(other, ""));
        }
        let settings = self.settings.get(&part).into_iter().flatten();
        command
            .envs(settings.map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn until_ready(&self, part: Part, address: Ipv4Addr, process: &mut Child) {
        let deadline = Instant::now() + PATIENCE;
        let target = (address, part.port());
        let is_ready = async || match part {
            Part::Broker => tokio::net::TcpStream::connect(target).await.is_ok(),
            _ => {
                let url = format!("http://{address}:{}/readyz", part.admin_port());
                let answer = self.client.get(url).send().await;
                answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
            }
        };
        while !is_ready().await {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "{part:?} ended: {ended:?}");
            assert!(Instant::now() < deadline, "{part:?} does not get ready");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A loopback address that no other process of the tests uses, so that a service finds its port
/// free again after its death.
fn own_address() -> Ipv4Addr {
    let [_, b, c, d] = rand::random::<[u8; 4]>();
    Ipv4Addr::new(127, b.clamp(64, 191), c, d.clamp(2, 254))
}

/// The JSON body of a good answer.
async fn json(answer: reqwest::Result<Response>) -> Option<Value> {
    answer.ok()?.error_for_status().ok()?.json().await.ok()
}
