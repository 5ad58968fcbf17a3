//! What a payment is and which ones are the same.

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

#[cfg(test)]
mod tests {
    use super::*;

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
