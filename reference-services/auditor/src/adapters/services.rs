//! The books of the services, read as anybody can read them: by their public API over HTTP.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Method, Response, Url, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use service_kit::trace::{self, TRACEPARENT};

use crate::books::{Books, Coupon, Delivery, Notification, Order, Payment, Stage};
use crate::ports::{ReadError, Services};

/// How long a service may take over one page of its book.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the services are: scheme, host and port of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub app: String,
    pub pay: String,
    /// `None`: not there, and not asked.
    pub store: Option<String>,
    pub customer: Option<String>,
    pub marketing: Option<String>,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the HTTP client")]
pub struct ClientError(#[source] reqwest::Error);

/// The services over HTTP.
#[derive(Debug)]
pub struct HttpServices {
    client: Client,
    addresses: Addresses,
}

#[derive(Deserialize)]
struct OrderEntry {
    id: String,
    amount: u32,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PaymentEntry {
    order_id: String,
    amount: Option<u32>,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryEntry {
    order_id: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CouponEntry {
    order_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NotificationEntry {
    order_id: String,
    r#type: String,
}

impl HttpServices {
    pub fn new(addresses: Addresses) -> Result<Self, ClientError> {
        let client = Client::builder().timeout(PATIENCE).build();
        Ok(Self {
            client: client.map_err(ClientError)?,
            addresses,
        })
    }
}

/// One look into all books.
struct Look<'a> {
    client: &'a Client,
    addresses: &'a Addresses,
    /// What it is taken because of.
    traceparent: Option<&'a str>,
}

impl Look<'_> {
    async fn orders(&self) -> Result<Vec<Order>, ReadError> {
        let entries: Vec<OrderEntry> = self.book("app", &self.addresses.app, "orders").await?;
        let order = |entry: OrderEntry| Order {
            stage: stage(&entry.status),
            id: entry.id,
            amount: entry.amount,
        };
        Ok(entries.into_iter().map(order).collect())
    }

    async fn payments(&self) -> Result<Vec<Payment>, ReadError> {
        let entries: Vec<PaymentEntry> = self.book("pay", &self.addresses.pay, "payments").await?;
        // The others are orders that can never be paid.
        let was_taken = |entry: &PaymentEntry| ["taken", "refunded"].contains(&&*entry.status);
        let payment = |entry: PaymentEntry| Payment {
            is_refunded: entry.status == "refunded",
            order_id: entry.order_id,
            amount: entry.amount,
        };
        Ok(entries.into_iter().filter(was_taken).map(payment).collect())
    }

    async fn deliveries(&self) -> Result<Option<Vec<Delivery>>, ReadError> {
        let Some(address) = &self.addresses.store else {
            return Ok(None);
        };
        let entries: Vec<DeliveryEntry> = self.book("store", address, "deliveries").await?;
        let delivery = |entry: DeliveryEntry| Delivery {
            stage: stage(&entry.status),
            order_id: entry.order_id,
        };
        Ok(Some(entries.into_iter().map(delivery).collect()))
    }

    async fn coupons(&self) -> Result<Option<Vec<Coupon>>, ReadError> {
        let Some(address) = &self.addresses.marketing else {
            return Ok(None);
        };
        let entries: Vec<CouponEntry> = self.book("marketing", address, "coupons").await?;
        let coupon = |entry: CouponEntry| Coupon {
            order_id: entry.order_id,
        };
        Ok(Some(entries.into_iter().map(coupon).collect()))
    }

    async fn notifications(&self) -> Result<Option<Vec<Notification>>, ReadError> {
        let Some(address) = &self.addresses.customer else {
            return Ok(None);
        };
        let entries: Vec<NotificationEntry> =
            self.book("customer", address, "notifications").await?;
        let notification = |entry: NotificationEntry| Notification {
            order_id: entry.order_id,
            kind: entry.r#type,
        };
        Ok(Some(entries.into_iter().map(notification).collect()))
    }

    /// All pages of one book.
    async fn book<T: DeserializeOwned>(
        &self,
        service: &'static str,
        address: &str,
        book: &'static str,
    ) -> Result<Vec<T>, ReadError> {
        self.pages(address, book).await.map_err(|source| ReadError {
            service,
            book,
            source,
        })
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        address: &str,
        book: &str,
    ) -> Result<Vec<T>, Box<dyn Error + Send + Sync>> {
        let mut next = Some(Url::parse(address)?.join(book)?);
        let mut entries = Vec::new();
        while let Some(url) = next {
            let mut span = trace::calling(&Method::GET, book, &url, self.traceparent);
            let request = self.client.get(url).header(TRACEPARENT, span.header());
            let response = request.send().await.inspect_err(|error| {
                span.fail("broken", error);
            })?;
            trace::answered(&mut span, response.status());
            let response = response.error_for_status()?;
            next = next_page(&response);
            let page: Vec<T> = response.json().await.inspect_err(|error| {
                span.fail("broken", error);
            })?;
            entries.extend(page);
        }
        Ok(entries)
    }
}

#[async_trait]
impl Services for HttpServices {
    async fn read(&self, traceparent: Option<&str>) -> Result<Books, ReadError> {
        let look = Look {
            client: &self.client,
            addresses: &self.addresses,
            traceparent,
        };
        // The order matters: see `Books`.
        Ok(Books {
            coupons: look.coupons().await?,
            orders_before: look.orders().await?,
            deliveries: look.deliveries().await?,
            payments: look.payments().await?,
            orders_after: look.orders().await?,
            notifications: look.notifications().await?,
        })
    }
}

fn stage(status: &str) -> Stage {
    match status {
        "delivered" => Stage::Delivered,
        "cancelled" => Stage::Cancelled,
        _ => Stage::UnderWay,
    }
}

/// Where a list that comes in parts goes on: `link: </notifications?before=7>; rel="next"` (RFC 8288).
fn next_page(response: &Response) -> Option<Url> {
    let link = response.headers().get(header::LINK)?.to_str().ok()?;
    let target = link.strip_suffix("; rel=\"next\"")?;
    let target = target.strip_prefix('<')?.strip_suffix('>')?;
    response.url().join(target).ok()
}
