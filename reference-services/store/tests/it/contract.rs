//! What every place for deliveries must do, asked of the double in memory and of every database.

use std::sync::Arc;

use service_kit::events::EventId;
use store::domain::{Change, Delivery, Meal, Stage, Trail};
use store::ports::{Deliveries, Outcome, StorageError};

use crate::doubles::{PACE, chicken, id, trail};
use crate::places::places;

fn new(order_id: &str, event: u128, now_ms: i64) -> Change {
    Delivery::receive(id(order_id), chicken(), trail(event), now_ms, PACE)
}

async fn receive(deliveries: &dyn Deliveries, change: &Change) -> Outcome {
    let cause = change.after.trail.event;
    deliveries.answer(cause, change).await.unwrap()
}

fn step(delivery: &Delivery, event: u128) -> Change {
    let due = delivery.due_at_ms.unwrap();
    delivery.advance(EventId::new(event), due, PACE).unwrap()
}

/// Tries until there is an answer: who comes at the same moment as another may be told to try again.
async fn answer(deliveries: &dyn Deliveries, cause: EventId, change: &Change) -> Outcome {
    loop {
        match deliveries.answer(cause, change).await {
            Ok(outcome) => return outcome,
            Err(StorageError::Broken(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn deliveries_are_found_and_listed_as_they_came() {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for place in places() {
        let deliveries = place.open().await;
        let mut changes = vec![new("b", 1, 5), new("a", 2, 3), new("A", 3, 4)];
        changes[1].after.meal = Meal {
            item: "x".repeat(10_000),
            quantity: u32::MAX,
            address: None,
        };
        changes[2].after.trail = Trail {
            event: EventId::new(u128::MAX),
            correlation_id: "다른 주문".to_owned(),
            traceparent: Some(traceparent.to_owned()),
        };
        for change in &changes {
            assert_eq!(receive(&*deliveries, change).await, Outcome::Done);
        }
        let expected: Vec<_> = changes.iter().map(|it| it.after.clone()).collect();
        assert_eq!(deliveries.list().await.unwrap(), expected);
        for delivery in expected {
            let found = deliveries.find(&delivery.order_id).await.unwrap();
            assert_eq!(found, Some(delivery));
        }
        assert_eq!(deliveries.find(&id("c")).await.unwrap(), None);
        assert_eq!(place.told().await, []);
    }
}

#[tokio::test]
async fn a_change_and_its_announcement_are_made_once_for_each_event() {
    for place in places() {
        let deliveries = place.open().await;
        let received = new("a", 1, 0);
        assert_eq!(receive(&*deliveries, &received).await, Outcome::Done);
        assert_eq!(receive(&*deliveries, &received).await, Outcome::Repeated);
        let cancel = received.after.cancel(trail(5), EventId::new(6), 0).unwrap();
        let outcome = deliveries.answer(EventId::new(5), &cancel).await.unwrap();
        assert_eq!(outcome, Outcome::Done);
        let outcome = deliveries.answer(EventId::new(5), &cancel).await.unwrap();
        assert_eq!(outcome, Outcome::Repeated);
        assert_eq!(deliveries.list().await.unwrap(), [cancel.after]);
        let told = place.told().await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].topic, "deliveries");
        assert_eq!(told[0].key, "a");
        assert_eq!(told[0].kind, "DeliveryCancelled");
        assert_eq!(told[0].id, EventId::new(6).to_string());
        assert_eq!(told[0].cause, EventId::new(5).to_string());
    }
}

#[tokio::test]
async fn an_overtaken_change_is_not_made_and_its_event_can_be_answered_otherwise() {
    for place in places() {
        let deliveries = place.open().await;
        let received = new("a", 1, 0);
        receive(&*deliveries, &received).await;
        let again = deliveries.answer(EventId::new(2), &received).await.unwrap();
        assert_eq!(again, Outcome::Overtaken);

        let cancel = received.after.cancel(trail(5), EventId::new(6), 0).unwrap();
        let accepted = step(&received.after, 3);
        let advanced = deliveries.advance(std::slice::from_ref(&accepted)).await;
        assert_eq!(advanced.unwrap(), [true]);
        let outcome = deliveries.answer(EventId::new(5), &cancel).await.unwrap();
        assert_eq!(outcome, Outcome::Overtaken);
        let found = deliveries.find(&id("a")).await.unwrap().unwrap();
        assert_eq!(found, accepted.after);
        let cancel = found.cancel(trail(5), EventId::new(6), 0).unwrap();
        let outcome = deliveries.answer(EventId::new(5), &cancel).await.unwrap();
        assert_eq!(outcome, Outcome::Done);
        let kinds: Vec<_> = place.told().await.into_iter().map(|it| it.kind).collect();
        assert_eq!(kinds, ["OrderAccepted", "DeliveryCancelled"]);
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_delivery_as_it_is() {
    for place in places() {
        let deliveries = place.open().await;
        let mut received = new("a", 1, 0);
        received.after.stage = Stage::Cooking;
        receive(&*deliveries, &received).await;
        for event in [5, 7] {
            let refuse = received
                .after
                .cancel(trail(event), EventId::new(event + 1), 0);
            let cause = EventId::new(event);
            let outcome = deliveries.answer(cause, &refuse.unwrap()).await.unwrap();
            assert_eq!(outcome, Outcome::Done);
        }
        assert_eq!(deliveries.list().await.unwrap(), [received.after]);
        assert_eq!(place.told().await.len(), 2);
    }
}

#[tokio::test]
async fn only_those_steps_are_made_that_were_not_overtaken() {
    for place in places() {
        let deliveries = place.open().await;
        let received = [new("a", 1, 0), new("b", 2, 0), new("c", 3, 0)];
        for change in &received {
            receive(&*deliveries, change).await;
        }
        let cancel = received[1].after.cancel(trail(5), EventId::new(6), 0);
        let outcome = deliveries.answer(EventId::new(5), &cancel.unwrap()).await;
        assert_eq!(outcome.unwrap(), Outcome::Done);
        let steps: Vec<_> = (10..)
            .zip(&received)
            .map(|(event, change)| step(&change.after, event))
            .collect();
        let made = deliveries.advance(&steps).await.unwrap();
        assert_eq!(made, [true, false, true]);
        let made = deliveries.advance(&steps).await.unwrap();
        assert_eq!(made, [false, false, false]);
        assert!(deliveries.advance(&[]).await.unwrap().is_empty());
        let stages: Vec<_> = deliveries.list().await.unwrap();
        let stages: Vec<_> = stages.into_iter().map(|it| it.stage).collect();
        assert_eq!(stages, [Stage::Accepted, Stage::Cancelled, Stage::Accepted]);
        let told: Vec<_> = place.told().await;
        let told: Vec<_> = told.iter().map(|it| (&*it.key, &*it.kind)).collect();
        let expected = [
            ("b", "DeliveryCancelled"),
            ("a", "OrderAccepted"),
            ("c", "OrderAccepted"),
        ];
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn what_is_due_longest_comes_first_and_what_has_ended_never() {
    for place in places() {
        let deliveries = place.open().await;
        assert_eq!(deliveries.next_due().await.unwrap(), None);
        for (event, (order_id, now_ms)) in (1..).zip([("c", 30), ("a", 10), ("b", 20)]) {
            receive(&*deliveries, &new(order_id, event, now_ms)).await;
        }
        let mut ended = new("d", 9, 0);
        ended.after.stage = Stage::Delivered;
        ended.after.due_at_ms = None;
        receive(&*deliveries, &ended).await;
        let due = async |now_ms, limit| {
            let due = deliveries.due(now_ms, limit).await.unwrap();
            let ids = due.iter().map(|it| it.order_id.to_string());
            ids.collect::<Vec<_>>().concat()
        };
        assert_eq!(due(1009, 9).await, "");
        assert_eq!(due(1020, 9).await, "ab");
        assert_eq!(due(i64::MAX, 2).await, "ab");
        assert_eq!(due(i64::MAX, 9).await, "abc");
        assert_eq!(deliveries.next_due().await.unwrap(), Some(1010));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_make_the_same_steps_each_step_is_made_by_one() {
    for place in places() {
        let deliveries = place.open().await;
        let received: Vec<_> = (0..40)
            .map(|number| new(&format!("order-{number}"), number, 0))
            .collect();
        for change in &received {
            receive(&*deliveries, change).await;
        }
        let mut racers = Vec::new();
        for racer in 0..4 {
            let replica = place.open().await;
            let steps = received
                .iter()
                .zip(0..)
                .map(|(change, number)| step(&change.after, 1000 * (racer + 1) + number));
            let steps: Vec<_> = steps.collect();
            racers.push(tokio::spawn(async move {
                loop {
                    match replica.advance(&steps).await {
                        Ok(made) => return made.into_iter().filter(|made| *made).count(),
                        Err(StorageError::Broken(_)) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
        }
        let mut made = 0;
        for racer in racers {
            made += racer.await.unwrap();
        }
        assert_eq!(made, 40);
        let mut keys: Vec<_> = place.told().await.into_iter().map(|it| it.key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 40);
        assert_eq!(place.told().await.len(), 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_answers_at_once_to_the_same_event_one_is_given() {
    for place in places() {
        let deliveries = place.open().await;
        let received = Arc::new(new("a", 1, 0));
        let racers: Vec<_> = (0..20)
            .map(|_| {
                let deliveries = Arc::clone(&deliveries);
                let received = Arc::clone(&received);
                tokio::spawn(async move { answer(&*deliveries, EventId::new(1), &received).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for racer in racers {
            outcomes.push(racer.await.unwrap());
        }
        outcomes.sort_by_key(|outcome| *outcome != Outcome::Done);
        assert_eq!(outcomes[0], Outcome::Done);
        assert_eq!(outcomes[1..], [Outcome::Repeated; 19]);
        assert_eq!(deliveries.list().await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_events_at_once_about_one_order_one_is_answered() {
    for place in places() {
        let deliveries = place.open().await;
        let racers: Vec<_> = (0..20)
            .map(|event| {
                let deliveries = Arc::clone(&deliveries);
                let received = new("a", event, 0);
                tokio::spawn(
                    async move { answer(&*deliveries, EventId::new(event), &received).await },
                )
            })
            .collect();
        let mut done = 0;
        for racer in racers {
            done += usize::from(racer.await.unwrap() == Outcome::Done);
        }
        assert_eq!(done, 1);
        assert_eq!(deliveries.list().await.unwrap().len(), 1);
    }
}
