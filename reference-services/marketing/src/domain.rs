//! What a coupon is, and which one an order is worth. Knows no clock and no chance.

use std::fmt;
use std::str::FromStr;

use service_kit::events::EventId;

/// The order that earned a coupon.
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

/// How much cheaper the next order is: 1 to 100 percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u8);

/// A number that is no discount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a discount is a number of percent between 1 and 100")]
pub struct InvalidPercent;

impl FromStr for Percent {
    type Err = InvalidPercent;

    fn from_str(text: &str) -> Result<Self, InvalidPercent> {
        let percent: u8 = text.parse().map_err(|_| InvalidPercent)?;
        Self::new(percent)
    }
}

impl Percent {
    pub const TEN: Self = Self(10);

    pub fn new(percent: u8) -> Result<Self, InvalidPercent> {
        if (1..=100).contains(&percent) {
            Ok(Self(percent))
        } else {
            Err(InvalidPercent)
        }
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

/// An order that was delivered, as an event told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub order_id: OrderId,
    pub event: EventId,
    pub correlation_id: String,
    pub traceparent: Option<String>,
}

/// A coupon for the customer of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupon {
    pub percent: Percent,
    /// Milliseconds since the Unix epoch.
    pub issued_at_ms: i64,
    /// What it was issued for.
    pub delivered: Delivered,
}

impl Coupon {
    /// Follows from the order alone: should everything written down here be lost and all orders be
    /// heard of again, nobody gets a second coupon.
    pub fn id(&self) -> String {
        format!("coupon-{}", self.delivered.order_id)
    }

    /// The name of the event that tells of the coupon, which follows from the order alone, too: who
    /// has seen it before knows it again.
    pub fn event_id(&self) -> EventId {
        EventId::new(fnv1a(&self.id()))
    }
}

/// The 128-bit hash of Fowler, Noll and Vo. It must give the same for ever, which the standard
/// library's hashes do not promise.
fn fnv1a(text: &str) -> u128 {
    const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coupon(order_id: &str, event: u128, issued_at_ms: i64) -> Coupon {
        Coupon {
            percent: Percent::TEN,
            issued_at_ms,
            delivered: Delivered {
                order_id: order_id.parse().unwrap(),
                event: EventId::new(event),
                correlation_id: order_id.to_owned(),
                traceparent: None,
            },
        }
    }

    #[test]
    fn the_names_of_a_coupon_follow_from_its_order_alone() {
        let coupons = [coupon("a", 1, 1), coupon("a", 2, 3)];
        let [first, again] = &coupons;
        assert_eq!(first.id(), again.id());
        assert_eq!(first.event_id(), again.event_id());
        let other = coupon("b", 1, 1);
        assert_ne!(first.id(), other.id());
        assert_ne!(first.event_id(), other.event_id());
    }

    #[test]
    fn hashes_are_those_that_were_published() {
        assert_eq!(fnv1a(""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a("a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(fnv1a("foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[test]
    fn discounts_have_limits() {
        assert_eq!("10".parse(), Ok(Percent::TEN));
        for bad in ["0", "101", "-1", "ten", "300"] {
            assert_eq!(bad.parse::<Percent>(), Err(InvalidPercent));
        }
    }
}
