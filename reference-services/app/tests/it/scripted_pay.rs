//! A pay service that does what the test says.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// What a scripted pay service answers with.
#[derive(Clone, Copy)]
pub(crate) enum Script {
    Answer(StatusCode),
    /// Answers 201 once the test allows it.
    Hold,
    /// Answers the first with this, and the others with 201.
    First(StatusCode),
    /// Answers the first as `Hold` does, and the others with this.
    HoldFirst(StatusCode),
}

/// One request for a payment.
#[derive(Clone)]
struct Asked {
    order_id: String,
    traceparent: String,
}

/// A running scripted pay service.
#[derive(Clone)]
pub(crate) struct ScriptedPay {
    address: SocketAddr,
    asked: watch::Receiver<Vec<Asked>>,
    allowed: Arc<Semaphore>,
}

#[derive(Clone)]
struct Play {
    script: Script,
    asked: Arc<watch::Sender<Vec<Asked>>>,
    allowed: Arc<Semaphore>,
}

impl ScriptedPay {
    pub(crate) async fn start(script: Script) -> Self {
        let (asked_sender, asked) = watch::channel(Vec::new());
        let allowed = Arc::new(Semaphore::new(0));
        let play = Play {
            script,
            asked: Arc::new(asked_sender),
            allowed: Arc::clone(&allowed),
        };
        let router = Router::new()
            .route("/payments", post(answer))
            .with_state(play);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            asked,
            allowed,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until `count` payments have been asked for, and returns their order ids.
    pub(crate) async fn asked(&self, count: usize) -> Vec<String> {
        let mut asked = self.asked.clone();
        let asked = asked.wait_for(|asked| asked.len() >= count).await.unwrap();
        asked.iter().map(|it| it.order_id.clone()).collect()
    }

    /// The `traceparent` of every request until now.
    pub(crate) fn traceparents(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        asked.iter().map(|it| it.traceparent.clone()).collect()
    }

    /// Lets `count` held payments be answered.
    pub(crate) fn allow(&self, count: usize) {
        self.allowed.add_permits(count);
    }
}

async fn answer(
    State(play): State<Play>,
    headers: HeaderMap,
    Json(payment): Json<Value>,
) -> StatusCode {
    let request = Asked {
        order_id: payment["orderId"].as_str().unwrap().to_owned(),
        traceparent: headers["traceparent"].to_str().unwrap().to_owned(),
    };
    let is_first = play.asked.borrow().is_empty();
    play.asked.send_modify(|asked| asked.push(request));
    match play.script {
        Script::Answer(status) => status,
        Script::First(status) if is_first => status,
        Script::First(_) => StatusCode::CREATED,
        Script::HoldFirst(status) if !is_first => status,
        Script::Hold | Script::HoldFirst(_) => {
            play.allowed.acquire().await.unwrap().forget();
            StatusCode::CREATED
        }
    }
}
