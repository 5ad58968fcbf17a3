//! What a delivery is, and what may become of it. Knows no clock and no chance: both are given.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use service_kit::events::EventId;

/// The order a delivery is for. One order is delivered once.
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

/// What is cooked, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meal {
    pub item: String,
    pub quantity: u32,
    pub address: Option<String>,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The order is known, and nobody has looked at it yet.
    Received,
    Accepted,
    Cooking,
    WithRider,
    Delivered,
    Cancelled,
}

/// Text that is no stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no stage of a delivery")]
pub struct InvalidStage;

impl Stage {
    pub const ALL: [Self; 6] = [
        Self::Received,
        Self::Accepted,
        Self::Cooking,
        Self::WithRider,
        Self::Delivered,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Accepted => "accepted",
            Self::Cooking => "cooking",
            Self::WithRider => "withRider",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
        }
    }

    /// What comes next by itself, and what the world is told then.
    fn next(self) -> Option<(Self, News)> {
        match self {
            Self::Received => Some((Self::Accepted, News::OrderAccepted)),
            Self::Accepted => Some((Self::Cooking, News::CookingStarted)),
            Self::Cooking => Some((Self::WithRider, News::RiderAssigned)),
            Self::WithRider => Some((Self::Delivered, News::OrderDelivered)),
            Self::Delivered | Self::Cancelled => None,
        }
    }
}

impl FromStr for Stage {
    type Err = InvalidStage;

    fn from_str(text: &str) -> Result<Self, InvalidStage> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or(InvalidStage)
    }
}

/// How long a delivery stays in each stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From the payment until the store accepts the order.
    pub accept: Duration,
    /// From then until somebody begins to cook.
    pub start: Duration,
    pub cooking: Duration,
    /// On the way to the customer.
    pub rider: Duration,
}

impl Pace {
    fn of(self, stage: Stage) -> Option<Duration> {
        match stage {
            Stage::Received => Some(self.accept),
            Stage::Accepted => Some(self.start),
            Stage::Cooking => Some(self.cooking),
            Stage::WithRider => Some(self.rider),
            Stage::Delivered | Stage::Cancelled => None,
        }
    }

    /// When a delivery that enters `stage` now leaves it, in milliseconds since the Unix epoch.
    fn due(self, stage: Stage, now_ms: i64) -> Option<i64> {
        let stay = i64::try_from(self.of(stage)?.as_millis()).unwrap_or(i64::MAX);
        Some(now_ms.saturating_add(stay))
    }
}

/// Where a chain of events stands: its newest link causes the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    pub event: EventId,
    pub correlation_id: String,
    pub traceparent: Option<String>,
}

/// One order on its way to the customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub order_id: OrderId,
    pub meal: Meal,
    pub stage: Stage,
    /// When the next step is to be made, in milliseconds since the Unix epoch; a delivery that has
    /// ended makes none.
    pub due_at_ms: Option<i64>,
    pub trail: Trail,
}

/// What the world is told of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum News {
    OrderAccepted,
    CookingStarted,
    RiderAssigned,
    OrderDelivered,
    DeliveryCancelled,
    CancellationRefused,
}

/// What is told, and what it follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub id: EventId,
    pub news: News,
    pub cause: Trail,
    pub at_ms: i64,
}

/// A step of a delivery and what is told of it: both happen, or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where the delivery must still be for the change to make sense; `None`: not known at all.
    pub before: Option<Stage>,
    pub after: Delivery,
    pub announcement: Option<Announcement>,
}

impl Delivery {
    /// The delivery of an order that was paid, as the event at the end of `trail` told.
    pub fn receive(order_id: OrderId, meal: Meal, trail: Trail, now_ms: i64, pace: Pace) -> Change {
        Change {
            before: None,
            after: Self {
                order_id,
                meal,
                stage: Stage::Received,
                due_at_ms: pace.due(Stage::Received, now_ms),
                trail,
            },
            announcement: None,
        }
    }

    /// The step that is due by now, if one is. It is announced under the name `id`.
    pub fn advance(&self, id: EventId, now_ms: i64, pace: Pace) -> Option<Change> {
        let (stage, news) = self.stage.next()?;
        self.due_at_ms.filter(|due| *due <= now_ms)?;
        let after = Self {
            stage,
            due_at_ms: pace.due(stage, now_ms),
            trail: Trail {
                event: id,
                ..self.trail.clone()
            },
            ..self.clone()
        };
        Some(self.change(after, id, news, self.trail.clone(), now_ms))
    }

    /// What the request at the end of `trail` to cancel the delivery leads to. Food that is being
    /// cooked is delivered; who asks for the second time has been answered already.
    pub fn cancel(&self, trail: Trail, id: EventId, now_ms: i64) -> Option<Change> {
        match self.stage {
            Stage::Received | Stage::Accepted => {
                let after = Self {
                    stage: Stage::Cancelled,
                    due_at_ms: None,
                    ..self.clone()
                };
                Some(self.change(after, id, News::DeliveryCancelled, trail, now_ms))
            }
            Stage::Cooking | Stage::WithRider | Stage::Delivered => {
                let after = self.clone();
                Some(self.change(after, id, News::CancellationRefused, trail, now_ms))
            }
            Stage::Cancelled => None,
        }
    }

    fn change(&self, after: Self, id: EventId, news: News, cause: Trail, at_ms: i64) -> Change {
        Change {
            before: Some(self.stage),
            after,
            announcement: Some(Announcement {
                id,
                news,
                cause,
                at_ms,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
