//! Pay over gRPC, beside HTTP: `proto/payments.proto`, on connections that speak HTTP/2
//! (`HTTP2_PORT`).

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderMap, HeaderValue};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use self::proto::payments_server::{Payments, PaymentsServer};
use self::proto::{FindRequest, PayRequest};
use super::http::SIMULATED_LATENCY;
use super::payment_span;
use crate::domain::{self, Entry, OrderId, Payment};
use crate::ports::StoreError;
use crate::service::{PayError, PaymentService};

/// What is said on the wire; generated from `proto/payments.proto` (`tests/it/proto.rs`).
pub mod proto {
    include!("grpc/fooddelivery.pay.v1.rs");
}

/// Everything is small here: an id and a number.
const LONGEST_MESSAGE: usize = 4 * 1024;

/// `fooddelivery.pay.v1.Payments`, each call at its own path.
pub fn router(service: Arc<PaymentService>) -> Router {
    let payments = PaymentsServer::new(GrpcPayments(service));
    let payments = payments.max_decoding_message_size(LONGEST_MESSAGE);
    ["Pay", "Find"]
        .into_iter()
        .fold(Router::new(), |router, call| {
            let path = format!("/{}/{call}", proto::payments_server::SERVICE_NAME);
            router.route_service(&path, payments.clone())
        })
}

struct GrpcPayments(Arc<PaymentService>);

#[async_trait]
impl Payments for GrpcPayments {
    async fn pay(&self, request: Request<PayRequest>) -> Result<Response<proto::Payment>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order_id = order_id(&request.order_id)?;
        let span = payment_span(&order_id, metadata.as_ref());
        let payment = Payment {
            order_id,
            amount: request.amount,
        };
        let paying = async { self.0.pay(payment).await.map_err(refuse) };
        let taken = paying.instrument(span).await?;
        let mut response = Response::new(paid(&taken.payment, proto::Status::Taken));
        let latency = format!("{:.3}", taken.latency.as_secs_f64() * 1e3);
        let latency = HeaderValue::try_from(latency).expect("digits make a header value");
        let headers: &mut HeaderMap = response.metadata_mut().as_mut();
        headers.insert(SIMULATED_LATENCY, latency);
        Ok(response)
    }

    async fn find(
        &self,
        request: Request<FindRequest>,
    ) -> Result<Response<proto::Payment>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order_id = order_id(&request.order_id)?;
        let span = payment_span(&order_id, metadata.as_ref());
        let finding = async {
            let found = self.0.find(&order_id).await;
            found.map_err(|error| unavailable(&error))
        };
        let found = finding.instrument(span).await?;
        let not_found = || {
            let order_id = order_id.as_str();
            Status::not_found(format!("the order {order_id} has not been paid"))
        };
        let Entry { payment, status } = found.ok_or_else(not_found)?;
        match status {
            domain::Status::Taken => Ok(Response::new(paid(&payment, proto::Status::Taken))),
            domain::Status::Refunded => Ok(Response::new(paid(&payment, proto::Status::Refunded))),
            domain::Status::Barred => Err(not_found()),
        }
    }
}

fn paid(payment: &Payment, status: proto::Status) -> proto::Payment {
    proto::Payment {
        order_id: payment.order_id.as_str().to_owned(),
        amount: payment.amount,
        status: status.into(),
    }
}

fn order_id(text: &str) -> Result<OrderId, Status> {
    OrderId::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn refuse(error: PayError) -> Status {
    match error {
        PayError::Conflict(_) => Status::already_exists(error.to_string()),
        PayError::GivenUp(_) => Status::failed_precondition(error.to_string()),
        PayError::Store(error) => unavailable(&error),
    }
}

fn unavailable(error: &StoreError) -> Status {
    match error {
        StoreError::Exhausted => Status::unavailable(error.to_string()),
        StoreError::Unreachable(cause) => {
            tracing::warn!(%cause, "{error}");
            Status::unavailable(error.to_string())
        }
        StoreError::Broken(cause) => {
            // What the database said is for the log, never for the client.
            tracing::error!(%cause, "{error}");
            Status::internal(error.to_string())
        }
    }
}
