//! The rule of the business: no order is accepted unless it is paid.

use std::sync::Arc;
use std::time::Duration;

use app::domain::{Item, Quantity};
use app::ports::PaymentError;
use app::service::{OrderError, OrderRequest, OrderService};
use service_kit::chance::Chance;
use tokio_util::task::TaskTracker;

use crate::doubles::{Always, InMemoryOrders};

fn service(answer: Result<(), PaymentError>) -> OrderService {
    OrderService::new(
        Arc::new(InMemoryOrders::default()),
        Arc::new(Always(answer)),
        Chance::new(None),
        TaskTracker::new(),
    )
}

fn chicken() -> OrderRequest {
    OrderRequest {
        item: Item::Chicken,
        quantity: Quantity::ONE,
        address: None,
    }
}

#[tokio::test]
async fn a_paid_order_is_accepted() {
    let service = service(Ok(()));
    let order = service.place(chicken()).await.unwrap();
    assert_eq!(service.find(order.id).await.unwrap(), Some(order.clone()));
    assert_eq!(service.list().await.unwrap(), [order]);
}

#[tokio::test]
async fn whatever_the_reason_an_unpaid_order_is_not() {
    for reason in [
        PaymentError::BreakerOpen {
            retry_after: Duration::ZERO,
        },
        PaymentError::BulkheadFull,
        PaymentError::Timeout,
        PaymentError::Connect,
        PaymentError::Upstream,
        PaymentError::Declined,
    ] {
        let service = service(Err(reason));
        let refused = service.place(chicken()).await.unwrap_err();
        assert!(matches!(refused, OrderError::Payment(given) if given == reason));
        assert_eq!(service.list().await.unwrap(), []);
    }
}
