//! What a payment is, which ones are the same, and what becomes of them.

use std::str::FromStr;

/// The order a payment is for. It is the key of the payment: one order is paid once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderId(String);

/// Text that cannot name an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order id has 1 to 64 ASCII letters, digits, '-' or '_'")]
pub struct InvalidOrderId;

impl OrderId {
    /// An order id, if `text` is one.
    pub fn parse(text: &str) -> Result<Self, InvalidOrderId> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=64).contains(&text.chars().count()) && text.chars().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidOrderId)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Money taken for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub order_id: OrderId,
    /// In won; unknown when the client did not say.
    pub amount: Option<u32>,
}

/// What became of the money for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Taken,
    /// It was given back: the order will not be brought.
    Refunded,
    /// It was never taken and never will be: the order was given up before it was paid.
    Barred,
}

/// A word that is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such status")]
pub struct UnknownStatus;

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refunded => "refunded",
            Self::Barred => "barred",
        }
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        [Self::Taken, Self::Refunded, Self::Barred]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownStatus)
    }
}

/// All that is known of the payment of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub payment: Payment,
    pub status: Status,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_known_by_its_own_name() {
        for status in [Status::Taken, Status::Refunded, Status::Barred] {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert_eq!("paid".parse::<Status>(), Err(UnknownStatus));
    }

    #[test]
    fn order_ids_are_short_words() {
        for good in ["1", "a-b_c", "42", &"x".repeat(64)] {
            assert_eq!(OrderId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a/b", "a\n", "주문", &"x".repeat(65)] {
            assert_eq!(OrderId::parse(bad), Err(InvalidOrderId));
        }
    }
}
