//! The rules of the business: no order is accepted unless it is paid, and what was perhaps paid for
//! an order that is not accepted is given back.

use std::sync::Arc;
use std::time::Duration;

use app::domain::{AcceptedOrder, Fact, Item, News, Order, Quantity, Status};
use app::ports::{Cause, Connection, Intent, Orders, Origin, PaymentError, Payments, StoreError};
use app::service::{OrderError, OrderRequest, OrderService, Placed};
use async_trait::async_trait;
use service_kit::chance::Chance;
use service_kit::clock::now_ms;
use service_kit::events::EventId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::doubles::{Always, InMemoryOrders};

struct Fixture {
    orders: InMemoryOrders,
    service: OrderService,
}

impl Fixture {
    fn new(answer: Result<(), PaymentError>) -> Self {
        let orders = InMemoryOrders::default();
        let service = OrderService::new(
            Arc::new(orders.clone()),
            Arc::new(Always(answer)),
            Chance::new(None),
            TaskTracker::new(),
        );
        Self { orders, service }
    }

    /// Places an order that is accepted, and returns it.
    async fn placed(&self, request: OrderRequest) -> AcceptedOrder {
        match self.service.place(request, cause()).await.unwrap() {
            Placed::New(accepted) => accepted,
            Placed::Again(accepted) => panic!("placed before: {accepted:?}"),
        }
    }

    fn facts(&self) -> Vec<Fact> {
        self.orders.told().into_iter().map(|it| it.0).collect()
    }
}

fn cause() -> Cause {
    Cause {
        origin: Origin::Request { id: "r".to_owned() },
        traceparent: None,
    }
}

fn chicken() -> OrderRequest {
    OrderRequest {
        item: Item::Chicken,
        quantity: Quantity::ONE,
        address: None,
        key: None,
    }
}

fn chicken_with_key() -> OrderRequest {
    OrderRequest {
        key: Some("k".parse().unwrap()),
        ..chicken()
    }
}

#[tokio::test]
async fn a_paid_order_is_accepted() {
    let fixture = Fixture::new(Ok(()));
    let accepted = fixture.placed(chicken()).await;
    assert_eq!(accepted.status, Status::Paid);
    let found = fixture.service.find(accepted.order.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&accepted));
    assert_eq!(fixture.service.list().await.unwrap(), [accepted]);
    assert_eq!(fixture.facts(), [Fact::Paid]);
}

#[tokio::test]
async fn whatever_the_reason_an_unpaid_order_is_not() {
    let retry_after = Duration::ZERO;
    for (reason, told) in [
        (PaymentError::BreakerOpen { retry_after }, vec![]),
        (PaymentError::BulkheadFull, vec![]),
        (PaymentError::Connect, vec![]),
        (PaymentError::Declined, vec![]),
        (PaymentError::Timeout, vec![Fact::Abandoned]),
        (PaymentError::Upstream, vec![Fact::Abandoned]),
    ] {
        let fixture = Fixture::new(Err(reason));
        let refused = fixture.service.place(chicken_with_key(), cause()).await;
        assert!(matches!(refused, Err(OrderError::Payment(given)) if given == reason));
        assert_eq!(fixture.service.list().await.unwrap(), []);
        assert_eq!(fixture.facts(), told);
        // The key is as good as new.
        let refused = fixture.service.place(chicken_with_key(), cause()).await;
        assert!(matches!(refused, Err(OrderError::Payment(given)) if given == reason));
    }
}

#[tokio::test]
async fn a_repeated_request_is_one_order() {
    let fixture = Fixture::new(Ok(()));
    let first = fixture.placed(chicken_with_key()).await;
    let again = fixture.service.place(chicken_with_key(), cause()).await;
    assert_eq!(again.unwrap(), Placed::Again(first));
    for other in [
        OrderRequest {
            item: Item::Pizza,
            ..chicken_with_key()
        },
        OrderRequest {
            quantity: Quantity::new(2).unwrap(),
            ..chicken_with_key()
        },
        OrderRequest {
            address: Some("".parse().unwrap()),
            ..chicken_with_key()
        },
    ] {
        let refused = fixture.service.place(other, cause()).await;
        assert!(matches!(refused, Err(OrderError::KeyReused)));
    }
    fixture.placed(chicken()).await;
    assert_eq!(fixture.service.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_order_whose_app_has_ended_is_abandoned() {
    let mut fixture = Fixture::new(Ok(()));
    let order = fixture.placed(chicken()).await.order;
    let lost = Intent {
        order: Order {
            id: app::domain::OrderId::new(1),
            ..order.clone()
        },
        key: None,
        begun_at_ms: 0,
        traceparent: None,
    };
    fixture.orders.insert(&lost).await.unwrap();
    let stop = CancellationToken::new();
    let limit = Duration::from_secs(3_600);
    let abandoning = fixture.service.abandon_overdue(limit, &stop);
    let told = async {
        while fixture.facts().len() < 2 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(abandoning, told);
    let told = (Fact::Abandoned, lost.order.id, "clock".to_owned());
    assert_eq!(fixture.orders.told()[1..], [told]);
    assert_eq!(fixture.service.list().await.unwrap().len(), 1);
}

/// Gives a connection when the test allows it.
struct Slow {
    orders: InMemoryOrders,
    allowed: Arc<Semaphore>,
}

#[async_trait]
impl Orders for Slow {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        self.allowed.acquire().await.unwrap().forget();
        self.orders.connect().await
    }

    async fn connect_in_background(&self) -> Result<Box<dyn Connection>, StoreError> {
        self.orders.connect_in_background().await
    }
}

/// A pay service that does not answer.
struct Silent;

#[async_trait]
impl Payments for Silent {
    async fn pay(&self, _order: &Order, _cause: &Cause) -> Result<(), PaymentError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn the_wait_for_a_connection_is_none_for_the_payment() {
    let mut orders = InMemoryOrders::default();
    let allowed = Arc::new(Semaphore::new(0));
    let slow = Slow {
        orders: orders.clone(),
        allowed: Arc::clone(&allowed),
    };
    let (names, work) = (Chance::new(None), TaskTracker::new());
    let service = OrderService::new(Arc::new(slow), Arc::new(Silent), names, work);
    tokio::spawn(async move { service.place(chicken(), cause()).await });
    let asked = now_ms();
    while now_ms() == asked {
        tokio::task::yield_now().await;
    }
    let given = now_ms();
    allowed.add_permits(1);
    while orders.overdue(i64::MAX).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(orders.overdue(given).await.unwrap(), []);
}

#[tokio::test]
async fn an_order_is_cancelled_by_the_store_at_the_customers_wish() {
    let fixture = Fixture::new(Ok(()));
    let id = fixture.placed(chicken()).await.order.id;
    let status = fixture.service.cancel(id, cause()).await.unwrap();
    assert_eq!(status, Some(Status::Cancelling));
    let event = Cause {
        origin: Origin::Event {
            id: EventId::random(),
        },
        traceparent: None,
    };
    fixture
        .service
        .follow(id, News::Cancelled, event)
        .await
        .unwrap();
    let facts = [Fact::Paid, Fact::CancellationRequested, Fact::Cancelled];
    assert_eq!(fixture.facts(), facts);
    let unknown = app::domain::OrderId::new(1);
    assert_eq!(
        fixture.service.cancel(unknown, cause()).await.unwrap(),
        None
    );
}
