//! What each service says about its orders.

/// The books of all services, read one after the other while the services go on: coupons, orders,
/// deliveries, payments, orders again, notifications. So whatever an entry presupposes in a book that
/// is read later must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// `None` where nobody said where the service is; so are the others.
    pub coupons: Option<Vec<Coupon>>,
    pub orders_before: Vec<Order>,
    pub deliveries: Option<Vec<Delivery>>,
    pub payments: Vec<Payment>,
    pub orders_after: Vec<Order>,
    pub notifications: Option<Vec<Notification>>,
}

/// How far an order or its delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    UnderWay,
    Delivered,
    Cancelled,
}

/// An order that app accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: String,
    /// In won.
    pub amount: u32,
    pub stage: Stage,
}

/// A payment that pay took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub order_id: String,
    /// In won; unknown when nobody said.
    pub amount: Option<u32>,
    pub is_refunded: bool,
}

/// What store makes of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub order_id: String,
    pub stage: Stage,
}

/// What marketing gives for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupon {
    pub order_id: String,
}

/// What customer tells of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub order_id: String,
    /// What has happened to the order, as the event is called that says so.
    pub kind: String,
}
