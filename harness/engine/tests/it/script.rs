//! Scripted drivers: they do what a test tells them and keep a log of every call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_core::condition::{ClusterHealth, Condition, ObjectKind};
use holdfast_core::event::{
    Environment, Event, LoadFinished, RunStarted, Stamped, StopCause, Tick,
};
use holdfast_core::experiment::{
    Address, Model, Profile, StopCondition, Target, Transport, Windows,
};
use holdfast_core::fault::{Fault, Scale};
use holdfast_core::outcome::{Reason, Source};
use holdfast_core::plan::{LoadPlan, Plan, PlannedFault};
use holdfast_core::record::Record;
use holdfast_engine::{
    Because, ConditionReader, ConditionReaderError, Drivers, Events, FaultDriver, FaultDriverError,
    HttpAnswer, HttpClient, HttpClientError, LoadDriver, LoadDriverError, NoObserver,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a scripted fault driver does in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Succeed,
    Fail,
    Panic,
    Hang,
}

/// What a scripted load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadScript {
    /// One tick per second with ten expected answers.
    Healthy,
    /// From this second on, no request succeeds.
    BrokenFrom(u32),
    FailAtOnce,
    PanicAfter(u32),
    NeverEnd,
}

#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) load: LoadScript,
    pub(crate) prepare: Behaviour,
    pub(crate) inject: Behaviour,
    /// The first recoveries behave like this, one entry per call; then they succeed.
    pub(crate) recover: Vec<Behaviour>,
    pub(crate) inject_takes: Duration,
    pub(crate) residue: Behaviour,
    /// By fault; of the others, recovery takes no time.
    pub(crate) recover_takes: BTreeMap<&'static str, Duration>,
    /// What is answered over HTTP, one entry per question, the last one for ever after; with none,
    /// nobody answers.
    pub(crate) answers: Vec<Answers>,
    /// What an object shows, or the only node of the cluster, one entry per question, the last one for
    /// ever after; with none, nobody answers.
    pub(crate) shown: Vec<Shown>,
}

/// An answer over HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answers {
    With(u16, &'static str),
    /// The same with status 200, after so many seconds.
    After(u64, &'static str),
    Refused,
    Hang,
    Panic,
}

/// What an object of the cluster shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    /// The condition `Available` with this status; of a node `Ready`.
    Available(&'static str),
    NoObject,
    Refused,
    Hang,
    Panic,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            load: LoadScript::Healthy,
            prepare: Behaviour::Succeed,
            inject: Behaviour::Succeed,
            recover: Vec::new(),
            inject_takes: Duration::ZERO,
            residue: Behaviour::Succeed,
            recover_takes: BTreeMap::new(),
            answers: Vec::new(),
            shown: Vec::new(),
        }
    }
}

/// One call of the fault driver: which, for which fault, at which whole second of the run.
pub(crate) type Call = (&'static str, String, u64);

#[derive(Debug)]
struct ScriptedFaults {
    script: Script,
    began: Instant,
    calls: Mutex<Vec<Call>>,
    in_effect: Mutex<BTreeMap<String, bool>>,
    recoveries: Mutex<usize>,
}

impl ScriptedFaults {
    fn log(&self, call: &'static str, fault: &PlannedFault) {
        let second = self.began.elapsed().as_secs();
        self.calls
            .lock()
            .unwrap()
            .push((call, fault.name.clone(), second));
    }
}

async fn behave(behaviour: Behaviour, call: &str) -> Result<String, FaultDriverError> {
    match behaviour {
        Behaviour::Succeed => Ok(format!("{call} done")),
        Behaviour::Fail => Err(FaultDriverError(
            format!("{call} refused"),
            Because::Refused,
        )),
        Behaviour::Panic => panic!("scripted panic in {call}"),
        Behaviour::Hang => std::future::pending().await,
    }
}

#[async_trait]
impl FaultDriver for ScriptedFaults {
    async fn check(&self, _: &PlannedFault, _: &[PlannedFault]) -> Result<(), FaultDriverError> {
        Ok(())
    }

    async fn prepare(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        self.log("prepare", fault);
        behave(self.script.prepare, "prepare").await
    }

    async fn inject(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        self.log("inject", fault);
        tokio::time::sleep(self.script.inject_takes).await;
        // Whatever the call says, the deed may have been done: the worst case for recovery.
        self.in_effect
            .lock()
            .unwrap()
            .insert(fault.name.clone(), true);
        behave(self.script.inject, "inject").await
    }

    async fn recover(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        self.log("recover", fault);
        let nth = {
            let mut recoveries = self.recoveries.lock().unwrap();
            *recoveries += 1;
            *recoveries - 1
        };
        let behaviour = self
            .script
            .recover
            .get(nth)
            .copied()
            .unwrap_or(Behaviour::Succeed);
        let takes = self.script.recover_takes.get(fault.name.as_str());
        tokio::time::sleep(takes.copied().unwrap_or_default()).await;
        let evidence = behave(behaviour, "recover").await?;
        self.in_effect.lock().unwrap().remove(&fault.name);
        Ok(evidence)
    }

    async fn residue(&self) -> Vec<String> {
        if let Err(error) = behave(self.script.residue, "residue").await {
            return vec![error.to_string()];
        }
        self.in_effect.lock().unwrap().keys().cloned().collect()
    }
}

#[derive(Debug)]
struct ScriptedAnswers {
    answers: Vec<Answers>,
    asked: Mutex<usize>,
}

#[async_trait]
impl HttpClient for ScriptedAnswers {
    async fn get(&self, _: &Address) -> Result<HttpAnswer, HttpClientError> {
        let nth = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked - 1
        };
        let answer = self.answers.get(nth).or(self.answers.last());
        let told = |status, body: &str| HttpAnswer {
            status,
            body: body.as_bytes().to_vec(),
        };
        match answer.copied().unwrap_or(Answers::Refused) {
            Answers::With(status, body) => Ok(told(status, body)),
            Answers::After(seconds, body) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(told(200, body))
            }
            Answers::Refused => Err(HttpClientError("connection refused".to_owned())),
            Answers::Hang => std::future::pending().await,
            Answers::Panic => panic!("scripted panic in get"),
        }
    }
}

#[derive(Debug)]
struct ScriptedConditions {
    shown: Vec<Shown>,
    asked: Mutex<usize>,
}

impl ScriptedConditions {
    /// The condition of this type as it is shown the next time.
    async fn condition(&self, type_: &str) -> Result<Option<Vec<Condition>>, ConditionReaderError> {
        let nth = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked - 1
        };
        let shown = self.shown.get(nth).or(self.shown.last());
        match shown.copied().unwrap_or(Shown::Refused) {
            Shown::Available(status) => Ok(Some(vec![Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: "Scripted".to_owned(),
                message: String::new(),
            }])),
            Shown::NoObject => Ok(None),
            Shown::Refused => Err(ConditionReaderError("connection refused".to_owned())),
            Shown::Hang => std::future::pending().await,
            Shown::Panic => panic!("scripted panic in conditions"),
        }
    }
}

#[async_trait]
impl ConditionReader for ScriptedConditions {
    async fn conditions(
        &self,
        _: ObjectKind,
        _: &str,
    ) -> Result<Option<Vec<Condition>>, ConditionReaderError> {
        self.condition("Available").await
    }

    async fn cluster_health(&self) -> Result<ClusterHealth, ConditionReaderError> {
        let node = self.condition("Ready").await?;
        Ok(ClusterHealth {
            readyz: "ok".to_owned(),
            nodes: node
                .map(|shown| ("a".to_owned(), shown))
                .into_iter()
                .collect(),
        })
    }
}

#[derive(Debug)]
struct ScriptedLoad(LoadScript);

#[async_trait]
impl LoadDriver for ScriptedLoad {
    async fn run(
        &self,
        plan: &LoadPlan,
        events: Events,
        stop: CancellationToken,
    ) -> Result<(), LoadDriverError> {
        if self.0 == LoadScript::FailAtOnce {
            return Err(LoadDriverError("no such host".to_owned()));
        }
        events.send(Event::LoadStarted);
        for second in 0.. {
            let last = u64::from(second) >= plan.duration.as_secs();
            if last && self.0 != LoadScript::NeverEnd {
                break;
            }
            if self.0 == LoadScript::PanicAfter(second) {
                panic!("scripted panic in load");
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = stop.cancelled(), if self.0 != LoadScript::NeverEnd => break,
            }
            let mut tick = Tick::new(Source::Users, second, false);
            tick.sent = 10;
            match self.0 {
                LoadScript::BrokenFrom(from) if second >= from => {
                    tick.unexpected.insert(Reason::ConnectRefused, 10);
                }
                _ => tick.expected = 10,
            }
            events.send(Event::Tick(Box::new(tick)));
        }
        events.send(Event::LoadStopped);
        events.send(Event::LoadFinished(Box::default()));
        Ok(())
    }
}

/// A fault of a plan: name, start and end in seconds of the load.
pub(crate) fn fault(name: &str, start: u64, end: u64) -> PlannedFault {
    PlannedFault {
        name: name.to_owned(),
        start: Duration::from_secs(start),
        end: Duration::from_secs(end),
        fault: Fault::Scale(Scale {
            deployment: name.to_owned(),
            replicas: 0,
        }),
    }
}

pub(crate) fn plan(load_seconds: u64, faults: Vec<PlannedFault>) -> Plan {
    Plan {
        experiment: "scripted".to_owned(),
        title: "scripted".to_owned(),
        load: LoadPlan {
            target: Target::Url("http://127.0.0.1:1".to_owned()),
            model: Model::Users(Vec::new()),
            duration: Duration::from_secs(load_seconds),
            requests_per_user: None,
            journeys: Vec::new(),
            timeout: Duration::from_secs(1),
            drain_limit: Duration::from_secs(1),
            prober: None,
            transport: Transport::default(),
            workers: 1,
            seed: 1,
        },
        windows: Windows {
            baseline: Duration::ZERO,
            recovery: Duration::from_secs(5),
        },
        faults,
        objectives: Vec::new(),
        invariants: Vec::new(),
        cluster: None,
        stop_conditions: Vec::<StopCondition>::new(),
        allow: Vec::new(),
        reference: None,
    }
}

/// A run under way: interrupt it with `stop`, then await `finish`.
pub(crate) struct Running {
    pub(crate) stop: UnboundedSender<StopCause>,
    task: tokio::task::JoinHandle<(Record, Vec<Stamped>)>,
    faults: Arc<ScriptedFaults>,
    answers: Arc<ScriptedAnswers>,
}

pub(crate) struct Finished {
    pub(crate) record: Record,
    pub(crate) events: Vec<Stamped>,
    pub(crate) calls: Vec<Call>,
    /// How often somebody was asked over HTTP.
    pub(crate) asked: usize,
}

pub(crate) fn start(plan: Plan, script: Script) -> Running {
    let load = script.load;
    let answers = Arc::new(ScriptedAnswers {
        answers: script.answers.clone(),
        asked: Mutex::default(),
    });
    let conditions = Arc::new(ScriptedConditions {
        shown: script.shown.clone(),
        asked: Mutex::default(),
    });
    let faults = Arc::new(ScriptedFaults {
        script,
        began: Instant::now(),
        calls: Mutex::default(),
        in_effect: Mutex::default(),
        recoveries: Mutex::default(),
    });
    let drivers = Drivers {
        load: Arc::new(ScriptedLoad(load)),
        faults: Arc::clone(&faults) as Arc<dyn FaultDriver>,
        observer: Arc::new(NoObserver),
        http: Arc::clone(&answers) as Arc<dyn HttpClient>,
        conditions,
    };
    let started = RunStarted {
        run_id: "run".to_owned(),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        source_file: "scripted.yaml".to_owned(),
        command: Vec::new(),
        profile: Profile::Full,
        params: BTreeMap::new(),
        environment: Environment::default(),
        plan,
    };
    let (stop, stopped) = unbounded_channel();
    let task = tokio::spawn(async move {
        let mut events = Vec::new();
        let mut sink = |stamped: &Stamped| events.push(stamped.clone());
        let record = holdfast_engine::run(started, &drivers, stopped, &mut sink).await;
        (record, events)
    });
    Running {
        stop,
        task,
        faults,
        answers,
    }
}

impl Running {
    pub(crate) async fn finish(self) -> Finished {
        let (record, events) = self.task.await.expect("the loop never panics");
        let calls = self.faults.calls.lock().unwrap().clone();
        let asked = *self.answers.asked.lock().unwrap();
        Finished {
            record,
            events,
            calls,
            asked,
        }
    }
}

impl Finished {
    /// The calls as `name fault@second`.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls
            .iter()
            .map(|(call, fault, second)| format!("{call} {fault}@{second}"))
            .collect()
    }

    pub(crate) fn load_finished(&self) -> Option<&LoadFinished> {
        self.record.load.as_ref()
    }
}
