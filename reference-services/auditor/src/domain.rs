//! The promises that the services make together, and whether their books keep them. Knows neither how
//! the books were read nor who asks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::books::{Books, Delivery, Notification, Order, Stage};

#[cfg(test)]
mod tests;

/// A promise about every order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    PaidOnce,
    NoPaymentWithoutOrder,
    RefundedWhenCancelled,
    DeliveredOnce,
    NoDeliveryWithoutOrder,
    DeliveredAsTold,
    OneCoupon,
    NoCouponWithoutDelivery,
    NotifiedOnce,
}

impl Invariant {
    pub fn name(self) -> &'static str {
        match self {
            Self::PaidOnce => "paidOnce",
            Self::NoPaymentWithoutOrder => "noPaymentWithoutOrder",
            Self::RefundedWhenCancelled => "refundedWhenCancelled",
            Self::DeliveredOnce => "deliveredOnce",
            Self::NoDeliveryWithoutOrder => "noDeliveryWithoutOrder",
            Self::DeliveredAsTold => "deliveredAsTold",
            Self::OneCoupon => "oneCoupon",
            Self::NoCouponWithoutDelivery => "noCouponWithoutDelivery",
            Self::NotifiedOnce => "notifiedOnce",
        }
    }

    pub fn statement(self) -> &'static str {
        match self {
            Self::PaidOnce => "each accepted order is paid exactly once, with its own amount",
            Self::NoPaymentWithoutOrder => {
                "a payment without an accepted order is given back in the end"
            }
            Self::RefundedWhenCancelled => {
                "the payment of a cancelled order is given back in the end, that of no other order is"
            }
            Self::DeliveredOnce => {
                "each order that is not cancelled is delivered exactly once in the end"
            }
            Self::NoDeliveryWithoutOrder => "nothing is delivered that was not ordered",
            Self::DeliveredAsTold => {
                "an order is called delivered only when it is, and cancelled only when nobody brings it"
            }
            Self::OneCoupon => "each delivered order has exactly one coupon in the end",
            Self::NoCouponWithoutDelivery => "only a delivered order has a coupon",
            Self::NotifiedOnce => {
                "what the books say of an order is notified of exactly once in the end"
            }
        }
    }
}

/// The orders that are found wanting, by promise.
pub type Findings = BTreeMap<Invariant, BTreeSet<String>>;

/// What the books say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Broken: no waiting makes it right.
    pub violations: Findings,
    /// Not so yet, and due in the end.
    pub due: Findings,
}

/// Whether anybody hears of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    Heard,
    /// There is no broker: app and pay stand alone.
    Unheard,
}

impl Audit {
    fn violated(&mut self, invariant: Invariant, order_id: &str) {
        note(&mut self.violations, invariant, order_id);
    }

    fn due(&mut self, invariant: Invariant, order_id: &str) {
        note(&mut self.due, invariant, order_id);
    }
}

fn note(findings: &mut Findings, invariant: Invariant, order_id: &str) {
    let orders = findings.entry(invariant).or_default();
    orders.insert(order_id.to_owned());
}

/// Compares the books. What the services did while they were read is no violation: see [`Books`].
/// Where no event is heard nothing is ever due: a refund, a delivery and a notification begin with one.
pub fn audit(books: &Books, events: Events) -> Audit {
    let mut audit = Audit::default();
    audit_orders(books, &mut audit);
    audit_payments(books, &mut audit);
    audit_deliveries(books, &mut audit);
    audit_coupons(books, &mut audit);
    audit_notifications(books, &mut audit);
    if events == Events::Unheard {
        audit.due.clear();
    }
    audit
}

/// What app alone, or app and pay, know of the orders.
fn audit_orders(books: &Books, audit: &mut Audit) {
    let payments: HashMap<&str, _> = books
        .payments
        .iter()
        .map(|payment| (payment.order_id.as_str(), payment))
        .collect();
    for order in &books.orders_before {
        let is_paid = payments
            .get(order.id.as_str())
            .is_some_and(|payment| payment.amount.is_none_or(|amount| amount == order.amount));
        if !is_paid {
            audit.violated(Invariant::PaidOnce, &order.id);
        }
    }
    for order in &books.orders_after {
        if order.stage == Stage::UnderWay {
            audit.due(Invariant::DeliveredOnce, &order.id);
        }
    }
    for id in repeated(books.orders_after.iter().map(|order| order.id.as_str())) {
        audit.violated(Invariant::PaidOnce, id);
    }
}

fn audit_payments(books: &Books, audit: &mut Audit) {
    let orders = stages(&books.orders_after);
    for payment in &books.payments {
        let id = payment.order_id.as_str();
        match (orders.get(id), payment.is_refunded) {
            (None, false) => audit.due(Invariant::NoPaymentWithoutOrder, id),
            (Some(Stage::Cancelled), false) => audit.due(Invariant::RefundedWhenCancelled, id),
            (Some(Stage::UnderWay | Stage::Delivered), true) => {
                audit.violated(Invariant::RefundedWhenCancelled, id);
            }
            (None | Some(Stage::Cancelled), true)
            | (Some(Stage::UnderWay | Stage::Delivered), false) => {}
        }
    }
    let payers = books.payments.iter().map(|it| it.order_id.as_str());
    for id in repeated(payers) {
        audit.violated(Invariant::PaidOnce, id);
    }
}

fn audit_deliveries(books: &Books, audit: &mut Audit) {
    let Some(deliveries) = &books.deliveries else {
        return;
    };
    let before = stages(&books.orders_before);
    let after = stages(&books.orders_after);
    let delivered = delivered(deliveries);
    for delivery in deliveries {
        let id = delivery.order_id.as_str();
        if !after.contains_key(id) {
            audit.violated(Invariant::NoDeliveryWithoutOrder, id);
        }
        // App calls an order cancelled when store has told that its delivery is, and what store has
        // cancelled or delivered stays so.
        let (was, is) = (before.get(id), after.get(id));
        let is_as_told = match delivery.stage {
            Stage::UnderWay => was != Some(&Stage::Cancelled),
            Stage::Delivered => ![was, is].contains(&Some(&Stage::Cancelled)),
            Stage::Cancelled => true,
        };
        if !is_as_told {
            audit.violated(Invariant::DeliveredAsTold, id);
        }
    }
    for order in &books.orders_before {
        if order.stage == Stage::Delivered && !delivered.contains(order.id.as_str()) {
            audit.violated(Invariant::DeliveredAsTold, &order.id);
        }
    }
    for id in repeated(deliveries.iter().map(|it| it.order_id.as_str())) {
        audit.violated(Invariant::DeliveredOnce, id);
    }
}

fn audit_coupons(books: &Books, audit: &mut Audit) {
    let Some(coupons) = &books.coupons else {
        return;
    };
    for id in repeated(coupons.iter().map(|it| it.order_id.as_str())) {
        audit.violated(Invariant::OneCoupon, id);
    }
    let Some(deliveries) = &books.deliveries else {
        return;
    };
    let delivered = delivered(deliveries);
    for coupon in coupons {
        if !delivered.contains(coupon.order_id.as_str()) {
            audit.violated(Invariant::NoCouponWithoutDelivery, &coupon.order_id);
        }
    }
    // Marketing owes one for every delivered order, and gives it at a time of its own.
    let given: HashSet<&str> = coupons.iter().map(|it| it.order_id.as_str()).collect();
    for id in delivered.difference(&given) {
        audit.due(Invariant::OneCoupon, id);
    }
}

/// By what is told, not by the ids of events: customer takes an event in once however often it comes, but
/// whoever does the same thing twice tells of it by two events. No kind of event comes twice for an order
/// in good faith: its status never goes back, and a cancellation that was refused is not asked for again.
fn audit_notifications(books: &Books, audit: &mut Audit) {
    let Some(notifications) = &books.notifications else {
        return;
    };
    let mut told = HashSet::new();
    for Notification { order_id, kind } in notifications {
        if !told.insert((order_id.as_str(), kind.as_str())) {
            audit.violated(Invariant::NotifiedOnce, order_id);
        }
    }
    for what in worth_telling(books) {
        if !told.contains(&what) {
            audit.due(Invariant::NotifiedOnce, what.0);
        }
    }
}

/// What has happened to which order by the other books, as the events are called that say so.
fn worth_telling(books: &Books) -> Vec<(&str, &'static str)> {
    let mut worth = Vec::new();
    for Order { id, stage, .. } in &books.orders_after {
        worth.push((id.as_str(), "OrderPaid"));
        match stage {
            Stage::UnderWay => {}
            Stage::Delivered => worth.push((id, "OrderDelivered")),
            Stage::Cancelled => worth.push((id, "OrderCancelled")),
        }
    }
    let refunds = books.payments.iter().filter(|it| it.is_refunded);
    worth.extend(refunds.map(|it| (it.order_id.as_str(), "PaymentRefunded")));
    let coupons = books.coupons.iter().flatten();
    worth.extend(coupons.map(|it| (it.order_id.as_str(), "CouponIssued")));
    worth
}

fn stages(orders: &[Order]) -> HashMap<&str, Stage> {
    orders
        .iter()
        .map(|order| (order.id.as_str(), order.stage))
        .collect()
}

fn delivered(deliveries: &[Delivery]) -> HashSet<&str> {
    deliveries
        .iter()
        .filter(|delivery| delivery.stage == Stage::Delivered)
        .map(|delivery| delivery.order_id.as_str())
        .collect()
}

/// Those that are there more than once.
fn repeated<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    ids.filter(|id| !seen.insert(*id)).collect()
}
