//! What an order is, what can be ordered, and how far an order is.

mod status;

use std::fmt;
use std::str::FromStr;

pub use self::status::{Fact, News, Status, Step, UnknownStatus};

/// Something on the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    Chicken,
    Pizza,
    Tteokbokki,
    Jjajangmyeon,
}

/// Something that is not on the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this item is not on the menu: chicken, pizza, tteokbokki, jjajangmyeon")]
pub struct NotOnTheMenu;

impl Item {
    /// The price of one, in won.
    pub fn price(self) -> u32 {
        match self {
            Self::Chicken => 18_000,
            Self::Pizza => 24_000,
            Self::Tteokbokki => 12_000,
            Self::Jjajangmyeon => 8_000,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chicken => "chicken",
            Self::Pizza => "pizza",
            Self::Tteokbokki => "tteokbokki",
            Self::Jjajangmyeon => "jjajangmyeon",
        }
    }
}

impl FromStr for Item {
    type Err = NotOnTheMenu;

    /// Understands the names in both languages of the business.
    fn from_str(text: &str) -> Result<Self, NotOnTheMenu> {
        match text {
            "chicken" | "치킨" | "통닭" => Ok(Self::Chicken),
            "pizza" | "피자" => Ok(Self::Pizza),
            "tteokbokki" | "떡볶이" => Ok(Self::Tteokbokki),
            "jjajangmyeon" | "짜장면" => Ok(Self::Jjajangmyeon),
            _ => Err(NotOnTheMenu),
        }
    }
}

/// How many of an item: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(u32);

/// A number of items that nobody delivers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quantity must be between 1 and 100")]
pub struct InvalidQuantity;

impl Quantity {
    pub const ONE: Self = Self(1);

    /// A quantity, if `count` is one.
    pub fn new(count: u32) -> Result<Self, InvalidQuantity> {
        if (1..=100).contains(&count) {
            Ok(Self(count))
        } else {
            Err(InvalidQuantity)
        }
    }

    pub fn get(self) -> u32 {
        self.0
    }
}

/// Where an order is brought: text without NUL, at most [`Address::LONGEST`] of it. Any other has no
/// place in some databases, and what the store cannot write down would be paid and never delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

/// Text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address has at most 16 KiB and no NUL")]
pub struct InvalidAddress;

impl Address {
    /// In bytes.
    pub const LONGEST: usize = 16 * 1024;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let is_address = text.len() <= Self::LONGEST && !text.contains('\0');
        is_address
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidAddress)
    }
}

/// What an order is called: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrderId(u128);

/// Text that is not an order id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order id has 32 hexadecimal digits")]
pub struct InvalidOrderId;

impl OrderId {
    pub fn new(bits: u128) -> Self {
        Self(bits)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for OrderId {
    type Err = InvalidOrderId;

    fn from_str(text: &str) -> Result<Self, InvalidOrderId> {
        let is_digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let bits = u128::from_str_radix(text, 16).map_err(|_| InvalidOrderId)?;
        is_digits.then_some(Self(bits)).ok_or(InvalidOrderId)
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    pub item: Item,
    pub quantity: Quantity,
    pub address: Option<Address>,
}

impl Order {
    /// What the customer pays, in won.
    pub fn amount(&self) -> u32 {
        self.item.price() * self.quantity.get()
    }
}

/// An order that was accepted, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedOrder {
    pub order: Order,
    pub status: Status,
}

/// What a customer calls an order before it has an id, so that asking again does not order again:
/// 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// Text that is no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to 128 visible ASCII characters")]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        let is_key = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        is_key
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidIdempotencyKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_known_by_its_own_name() {
        for item in [
            Item::Chicken,
            Item::Pizza,
            Item::Tteokbokki,
            Item::Jjajangmyeon,
        ] {
            assert_eq!(item.as_str().parse(), Ok(item));
        }
        assert_eq!("통닭".parse(), Ok(Item::Chicken));
        assert_eq!("Chicken".parse::<Item>(), Err(NotOnTheMenu));
    }

    #[test]
    fn quantities_have_limits() {
        assert_eq!(Quantity::new(1), Ok(Quantity::ONE));
        assert_eq!(Quantity::new(100).unwrap().get(), 100);
        for count in [0, 101] {
            assert_eq!(Quantity::new(count), Err(InvalidQuantity));
        }
    }

    #[test]
    fn addresses_have_limits() {
        let longest = "x".repeat(Address::LONGEST);
        for good in ["", "서울시 \"강남구\"\n7", &longest] {
            assert_eq!(good.parse::<Address>().unwrap().as_str(), good);
        }
        // A third as many characters as bytes.
        for bad in ["a\0", &(longest + "x"), &"서".repeat(6_000)] {
            assert_eq!(bad.parse::<Address>(), Err(InvalidAddress));
        }
    }

    #[test]
    fn order_ids_survive_being_written_down() {
        for bits in [0, 1, u128::MAX] {
            let id = OrderId::new(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for bad in ["", "1", "+0000000000000000000000000000001", &"g".repeat(32)] {
            assert_eq!(bad.parse::<OrderId>(), Err(InvalidOrderId));
        }
    }

    #[test]
    fn idempotency_keys_are_one_short_word() {
        for good in ["1", "\"8e03978e-40d5\"", &"k".repeat(128)] {
            assert_eq!(good.parse::<IdempotencyKey>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\n", "열쇠", &"k".repeat(129)] {
            assert_eq!(bad.parse::<IdempotencyKey>(), Err(InvalidIdempotencyKey));
        }
    }

    #[test]
    fn the_amount_grows_with_the_quantity() {
        let order = Order {
            id: OrderId::new(1),
            item: Item::Pizza,
            quantity: Quantity::new(3).unwrap(),
            address: None,
        };
        assert_eq!(order.amount(), 72_000);
    }
}
