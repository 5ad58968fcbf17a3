//! What a customer sees of an order: everything that happened to it, and how far it is. The view is
//! a function of what happened alone, not of the order in which it was heard of.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use service_kit::events::EventId;

/// The order that something happened to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(String);

/// Text that cannot name an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order id has 1 to 64 ASCII letters, digits, '-' or '_'")]
pub struct InvalidOrderId;

impl FromStr for OrderId {
    type Err = InvalidOrderId;

    fn from_str(text: &str) -> Result<Self, InvalidOrderId> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=64).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidOrderId)
        }
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl OrderId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    pub item: String,
    pub quantity: u32,
    pub address: Option<String>,
    /// In won.
    pub amount: u32,
}

/// What can happen to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    OrderPaid(Purchase),
    OrderAccepted,
    CookingStarted,
    RiderAssigned,
    OrderDelivered,
    CancellationRequested,
    CancellationRefused,
    DeliveryCancelled,
    OrderCancelled { amount: u32 },
    OrderAbandoned { amount: u32 },
    PaymentRefunded { amount: u32 },
    CouponIssued { coupon_id: String, percent: u8 },
}

impl Happening {
    /// Its name among events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::OrderPaid(_) => "OrderPaid",
            Self::OrderAccepted => "OrderAccepted",
            Self::CookingStarted => "CookingStarted",
            Self::RiderAssigned => "RiderAssigned",
            Self::OrderDelivered => "OrderDelivered",
            Self::CancellationRequested => "CancellationRequested",
            Self::CancellationRefused => "CancellationRefused",
            Self::DeliveryCancelled => "DeliveryCancelled",
            Self::OrderCancelled { .. } => "OrderCancelled",
            Self::OrderAbandoned { .. } => "OrderAbandoned",
            Self::PaymentRefunded { .. } => "PaymentRefunded",
            Self::CouponIssued { .. } => "CouponIssued",
        }
    }

    /// What the customer is told.
    pub fn message(&self) -> String {
        match self {
            Self::OrderPaid(bought) => format!(
                "Your order of {} × {} is paid: {} won",
                bought.quantity, bought.item, bought.amount
            ),
            Self::OrderAccepted => "The store has accepted your order".to_owned(),
            Self::CookingStarted => "Your order is being cooked".to_owned(),
            Self::RiderAssigned => "A rider is on the way with your order".to_owned(),
            Self::OrderDelivered => "Your order has been delivered".to_owned(),
            Self::CancellationRequested => "You asked to cancel your order".to_owned(),
            Self::CancellationRefused => {
                "It is too late to cancel: your order is being cooked already".to_owned()
            }
            Self::DeliveryCancelled => "The store will not cook your order".to_owned(),
            Self::OrderCancelled { .. } => "Your order is cancelled".to_owned(),
            Self::OrderAbandoned { .. } => "Your order could not be accepted".to_owned(),
            Self::PaymentRefunded { amount } => format!("You get {amount} won back"),
            Self::CouponIssued { percent, .. } => {
                format!("A coupon for you: {percent} % off your next order")
            }
        }
    }
}

/// Something that happened to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub id: EventId,
    pub order_id: OrderId,
    /// The id of the event or request that caused it.
    pub cause: String,
    /// Milliseconds since the Unix epoch, by the clock of whoever told.
    pub at_ms: i64,
    pub what: Happening,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Paid,
    Accepted,
    Cooking,
    WithRider,
    Delivered,
    Cancelling,
    Cancelled,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Accepted => "accepted",
            Self::Cooking => "cooking",
            Self::WithRider => "withRider",
            Self::Delivered => "delivered",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An order on the page of its customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    pub bought: Purchase,
    pub placed_at_ms: i64,
    pub status: Status,
    /// What happened to it, causes before effects.
    pub history: Vec<Happened>,
}

impl Order {
    /// The order that `events` tell of, in whatever order they were heard. There is none before its
    /// payment was heard of: news of an unknown order say nothing that could be shown.
    pub fn of(events: &[Happened]) -> Option<Self> {
        let (payment, bought) = events.iter().find_map(|event| match &event.what {
            Happening::OrderPaid(bought) => Some((event, bought)),
            _ => None,
        })?;
        Some(Self {
            id: payment.order_id.clone(),
            bought: bought.clone(),
            placed_at_ms: payment.at_ms,
            status: status(events),
            history: in_order(events),
        })
    }
}

fn status(events: &[Happened]) -> Status {
    let count = |told: fn(&Happening) -> bool| events.iter().filter(|it| told(&it.what)).count();
    let any = |told| count(told) > 0;
    let requests = count(|it| matches!(it, Happening::CancellationRequested));
    let refusals = count(|it| matches!(it, Happening::CancellationRefused));
    if any(|it| {
        matches!(
            it,
            Happening::DeliveryCancelled | Happening::OrderCancelled { .. }
        )
    }) {
        Status::Cancelled
    } else if any(|it| matches!(it, Happening::OrderDelivered)) {
        Status::Delivered
    } else if any(|it| matches!(it, Happening::RiderAssigned)) {
        Status::WithRider
    } else if any(|it| matches!(it, Happening::CookingStarted)) {
        // The request to cancel it, if there is one, will be refused.
        Status::Cooking
    } else if requests > refusals {
        Status::Cancelling
    } else if any(|it| matches!(it, Happening::OrderAccepted)) {
        Status::Accepted
    } else {
        Status::Paid
    }
}

/// Sorts by time, and never puts an effect before its cause: the clocks of those who told may differ.
fn in_order(events: &[Happened]) -> Vec<Happened> {
    /// The latest time along the chain of causes, and how long the chain is.
    type Place = (i64, usize);
    let mut places: HashMap<String, Place> = events
        .iter()
        .map(|event| (event.id.to_string(), (event.at_ms, 0)))
        .collect();
    // A chain of causes has no more links than there are events.
    for _ in events {
        for event in events {
            if let Some(&(cause_at, depth)) = places.get(&event.cause) {
                let place = (event.at_ms.max(cause_at), depth.saturating_add(1));
                places.insert(event.id.to_string(), place);
            }
        }
    }
    let mut sorted = events.to_vec();
    sorted.sort_by_key(|event| (places.get(&event.id.to_string()).copied(), event.id));
    sorted
}

#[cfg(test)]
mod tests;
