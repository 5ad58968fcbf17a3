//! Users who send a number of requests and end, and who hears of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_core::experiment::{Pauses, Request};
use holdfast_core::outcome::Source;
use holdfast_core::template::Template;
use holdfast_load::{Ended, Listener, Options};

use crate::load::{order, plan, run};
use crate::server::{Act, Server};

/// Longer than any test may take: a load that goes on to its planned end fails.
const FAR_AWAY: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn a_load_ends_when_every_user_has_sent_its_requests() {
    let server = Server::start(|number, _| match number % 3 {
        0 => Act::Answer(503, "", "not now"),
        _ => Act::Created,
    })
    .await;
    let mut plan = plan(3, FAR_AWAY);
    let second = Request {
        path: Template::fixed("/second"),
        ..order()
    };
    plan.journeys[0].requests.push(second);
    plan.requests_per_user = Some(5);
    let told = run(&server.url(), &plan, Options::default()).await;
    assert!(told.finished.elapsed < FAR_AWAY / 2);
    let ledger = server.ledger();
    assert_eq!(ledger.requests(), 15);
    let seconds = ledger.heads.iter();
    let seconds = seconds.filter(|head| head.contains("/second")).count();
    assert_eq!(seconds, 3 * 2, "each user made two and a half journeys");
    assert_eq!(told.sum(Source::Users, |tick| tick.sent), 15);
    assert_eq!(told.expected(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_pauses_are_between_nothing_and_the_think_time() {
    let server = Server::start(|_, _| Act::Created).await;
    let mut plan = plan(4, FAR_AWAY);
    plan.journeys[0].think_time = Duration::from_millis(200);
    plan.journeys[0].pauses = Pauses::UpTo;
    plan.requests_per_user = Some(5);
    let told = run(&server.url(), &plan, Options::default()).await;
    assert_eq!(server.ledger().requests(), 20);
    // Sixteen pauses at least, of 0.1 s in the mean. None at all or all of the whole length has a
    // chance that nobody will live to see; timers only ever come late.
    assert!(told.finished.pause_seconds > 0.3, "{:?}", told.finished);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_of_each_request_of_the_users() {
    let server = Server::start(|number, _| match number % 2 {
        0 => Act::Answer(404, "", "not here"),
        _ => Act::Created,
    })
    .await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&heard);
    let listener = Listener::new(move |ended: &Ended<'_>| {
        let status = ended.sample.status.unwrap();
        list.lock()
            .unwrap()
            .push((ended.request.to_owned(), status));
    });
    let mut plan = plan(1, FAR_AWAY);
    plan.requests_per_user = Some(4);
    plan.prober = Some(1.0);
    let options = Options {
        listener: Some(listener),
        ..Options::default()
    };
    let told = run(&server.url(), &plan, options).await;
    let heard = heard.lock().unwrap();
    assert_eq!(told.sum(Source::Users, |tick| tick.sent), 4);
    assert_eq!(heard.len(), 4, "{heard:?}");
    assert!(heard.iter().all(|(request, _)| request == "POST /orders"));
    assert!(heard.iter().all(|(_, status)| [201, 404].contains(status)));
}
