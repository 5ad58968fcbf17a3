//! What every view must do, asked of redb and of the double in memory.

use std::sync::Arc;

use customer::adapters::kv::{KvViews, OpenError};
use customer::domain::{Happening, OrderId, Purchase, Status};
use customer::ports::{Recorded, Views};
use service_kit::folder::{FolderConfig, FolderError};

use crate::doubles::{InMemoryViews, happened, paid};

fn temporary() -> FolderConfig {
    FolderConfig::Temporary {
        prefix: "customer-".to_owned(),
    }
}

fn every_view() -> [Arc<dyn Views>; 2] {
    [
        Arc::new(InMemoryViews::default()),
        Arc::new(KvViews::open(&temporary()).unwrap()),
    ]
}

fn id(text: &str) -> OrderId {
    text.parse().unwrap()
}

/// One of everything that can happen.
fn everything() -> Vec<Happening> {
    vec![
        paid(),
        Happening::OrderAccepted,
        Happening::CookingStarted,
        Happening::RiderAssigned,
        Happening::OrderDelivered,
        Happening::CancellationRequested,
        Happening::CancellationRefused,
        Happening::DeliveryCancelled,
        Happening::OrderCancelled { amount: 1 },
        Happening::OrderAbandoned { amount: 2 },
        Happening::PaymentRefunded { amount: u32::MAX },
        Happening::CouponIssued {
            coupon_id: "c-1".to_owned(),
            percent: 10,
        },
    ]
}

#[tokio::test]
async fn what_is_recorded_is_shown_as_it_was() {
    for view in every_view() {
        let events: Vec<_> = (1..)
            .zip(everything())
            .map(|(number, what)| happened("a", number, i64::try_from(number).unwrap(), what))
            .collect();
        for event in &events {
            assert_eq!(view.record(event.clone()).await.unwrap(), Recorded::New);
        }
        let order = view.find(id("a")).await.unwrap().unwrap();
        assert_eq!(order.history, events);
        let Happening::OrderPaid(bought) = paid() else {
            unreachable!()
        };
        assert_eq!(order.bought, bought);
        let told = view.notifications(None, 100).await.unwrap();
        let told: Vec<_> = told.into_iter().rev().map(|it| it.event).collect();
        assert_eq!(told, events);
    }
}

#[tokio::test]
async fn an_event_that_comes_again_changes_nothing() {
    for view in every_view() {
        let event = happened("a", 1, 1, paid());
        view.record(event.clone()).await.unwrap();
        let again = view.record(event.clone()).await.unwrap();
        assert_eq!(again, Recorded::Repeated);
        assert_eq!(view.notifications(None, 100).await.unwrap().len(), 1);
        let order = view.find(id("a")).await.unwrap().unwrap();
        assert_eq!(order.history, [event]);
    }
}

#[tokio::test]
async fn of_many_at_once_one_is_new() {
    for view in every_view() {
        let racers: Vec<_> = (0..60)
            .map(|racer| {
                let view = Arc::clone(&view);
                let event = happened("a", racer % 3, 1, Happening::OrderAccepted);
                tokio::spawn(async move { view.record(event).await.unwrap() })
            })
            .collect();
        let mut new = 0;
        for racer in racers {
            new += usize::from(racer.await.unwrap() == Recorded::New);
        }
        assert_eq!(new, 3);
        let told = view.notifications(None, 100).await.unwrap();
        let numbers: Vec<_> = told.iter().map(|it| it.number).collect();
        assert_eq!(numbers, [3, 2, 1]);
    }
}

#[tokio::test]
async fn pages_show_the_newest_orders_first_and_each_once() {
    for view in every_view() {
        // Two were placed in the same millisecond.
        for (number, (order_id, at_ms)) in (1..).zip([("c", 10), ("a", 30), ("d", 20), ("b", 20)]) {
            let event = happened(order_id, number, at_ms, paid());
            view.record(event).await.unwrap();
        }
        let unknown_yet = happened("e", 9, 99, Happening::OrderDelivered);
        view.record(unknown_yet).await.unwrap();
        let page = async |before: Option<&str>, limit| {
            let orders = view.page(before.map(id), limit).await.unwrap();
            orders.map(|orders| {
                let ids = orders.iter().map(|order| order.id.to_string());
                ids.collect::<Vec<_>>().concat()
            })
        };
        assert_eq!(page(None, 10).await.unwrap(), "adbc");
        assert_eq!(page(None, 2).await.unwrap(), "ad");
        assert_eq!(page(Some("d"), 2).await.unwrap(), "bc");
        assert_eq!(page(Some("c"), 2).await.unwrap(), "");
        assert_eq!(page(Some("e"), 2).await, None);
        assert_eq!(page(Some("unknown"), 2).await, None);
    }
}

#[tokio::test]
async fn notifications_are_paged_by_their_numbers() {
    for view in every_view() {
        for number in 1..=5 {
            let event = happened("a", number, 1, Happening::OrderAccepted);
            view.record(event).await.unwrap();
        }
        let numbers = async |before, limit| {
            let told = view.notifications(before, limit).await.unwrap();
            told.iter().map(|it| it.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(None, 2).await, [5, 4]);
        assert_eq!(numbers(Some(4), 2).await, [3, 2]);
        assert_eq!(numbers(Some(1), 2).await, [0; 0]);
    }
}

#[tokio::test]
async fn news_of_a_delivery_may_come_before_those_of_the_payment() {
    for view in every_view() {
        let accepted = happened("a", 2, 20, Happening::OrderAccepted);
        view.record(accepted).await.unwrap();
        assert_eq!(view.find(id("a")).await.unwrap(), None);
        assert_eq!(view.page(None, 10).await.unwrap(), Some(Vec::new()));
        view.record(happened("a", 1, 10, paid())).await.unwrap();
        let order = view.find(id("a")).await.unwrap().unwrap();
        assert_eq!(order.status, Status::Accepted);
        assert_eq!(view.page(None, 10).await.unwrap(), Some(vec![order]));
    }
}

#[tokio::test]
async fn a_view_outlives_its_process_and_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = FolderConfig::At(folder.path().to_owned());
    let first = KvViews::open(&config).unwrap();
    first.record(happened("a", 1, 10, paid())).await.unwrap();
    let identity = first.identity().to_owned();
    let refused = KvViews::open(&config).unwrap_err();
    assert!(matches!(refused, OpenError::Folder(FolderError::InUse(_))));
    drop(first);

    let second = KvViews::open(&config).unwrap();
    assert_eq!(second.identity(), identity);
    let again = second.record(happened("a", 1, 10, paid())).await.unwrap();
    assert_eq!(again, Recorded::Repeated);
    let other = KvViews::open(&temporary()).unwrap();
    assert_ne!(other.identity(), identity);
    assert_eq!(other.find(id("a")).await.unwrap(), None);
}

#[tokio::test]
async fn an_address_may_be_missing() {
    for view in every_view() {
        let bought = Purchase {
            item: "pizza".to_owned(),
            quantity: 1,
            address: None,
            amount: 24_000,
        };
        let event = happened("a", 1, 1, Happening::OrderPaid(bought.clone()));
        view.record(event).await.unwrap();
        assert_eq!(view.find(id("a")).await.unwrap().unwrap().bought, bought);
    }
}
