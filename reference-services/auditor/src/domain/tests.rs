use super::*;
use crate::books::{Coupon, Notification, Payment};

fn audit(books: &Books) -> Audit {
    super::audit(books, Events::Heard)
}

fn order(id: &str, stage: Stage) -> Order {
    Order {
        id: id.to_owned(),
        amount: 18_000,
        stage,
    }
}

fn payment(order_id: &str) -> Payment {
    Payment {
        order_id: order_id.to_owned(),
        amount: Some(18_000),
        is_refunded: false,
    }
}

fn delivery(order_id: &str, stage: Stage) -> Delivery {
    Delivery {
        order_id: order_id.to_owned(),
        stage,
    }
}

fn coupon(order_id: &str) -> Coupon {
    Coupon {
        order_id: order_id.to_owned(),
    }
}

fn notification(order_id: &str, kind: &str) -> Notification {
    Notification {
        order_id: order_id.to_owned(),
        kind: kind.to_owned(),
    }
}

/// What has happened to the orders of [`in_order`] and can be seen in other books.
const HAPPENED: [(&str, &str); 7] = [
    ("eaten", "OrderPaid"),
    ("eaten", "OrderDelivered"),
    ("eaten", "CouponIssued"),
    ("cancelled", "OrderPaid"),
    ("cancelled", "OrderCancelled"),
    ("cancelled", "PaymentRefunded"),
    ("abandoned", "PaymentRefunded"),
];

/// One order that was delivered, one that was cancelled, and a payment given back for an order that was
/// never accepted.
fn in_order() -> Books {
    let orders = vec![
        order("eaten", Stage::Delivered),
        order("cancelled", Stage::Cancelled),
    ];
    let refunded = |id| Payment {
        is_refunded: true,
        ..payment(id)
    };
    Books {
        coupons: Some(vec![coupon("eaten")]),
        orders_before: orders.clone(),
        deliveries: Some(vec![
            delivery("eaten", Stage::Delivered),
            delivery("cancelled", Stage::Cancelled),
        ]),
        payments: vec![
            payment("eaten"),
            refunded("cancelled"),
            refunded("abandoned"),
        ],
        orders_after: orders,
        notifications: Some(HAPPENED.map(|(id, kind)| notification(id, kind)).to_vec()),
    }
}

fn found(invariant: Invariant, order_id: &str) -> Findings {
    Findings::from([(invariant, BTreeSet::from([order_id.to_owned()]))])
}

#[track_caller]
fn assert_violated(invariant: Invariant, order_id: &str, change: impl FnOnce(&mut Books)) {
    let mut books = in_order();
    change(&mut books);
    assert_eq!(audit(&books).violations, found(invariant, order_id));
}

#[track_caller]
fn assert_due(invariant: Invariant, order_id: &str, change: impl FnOnce(&mut Books)) {
    let mut books = in_order();
    change(&mut books);
    let audit = audit(&books);
    assert_eq!(audit.violations, Findings::new());
    assert_eq!(audit.due, found(invariant, order_id));
}

#[test]
fn books_in_order_give_no_findings() {
    assert_eq!(audit(&in_order()), Audit::default());
    assert_eq!(audit(&Books::default()), Audit::default());
}

#[test]
fn an_accepted_order_is_paid_once_and_with_its_amount() {
    use Invariant::PaidOnce;
    assert_violated(PaidOnce, "eaten", |books| {
        books.payments.remove(0);
    });
    assert_violated(PaidOnce, "eaten", |books| {
        books.payments[0].amount = Some(1);
    });
    assert_violated(PaidOnce, "eaten", |books| {
        books.payments.push(payment("eaten"));
    });
    let mut books = in_order();
    books.payments[0].amount = None;
    assert_eq!(audit(&books), Audit::default());
}

#[test]
fn money_without_an_order_is_due_back() {
    assert_due(Invariant::NoPaymentWithoutOrder, "abandoned", |books| {
        books.payments[2].is_refunded = false;
    });
}

#[test]
fn only_cancelled_orders_are_refunded_and_all_of_them() {
    use Invariant::RefundedWhenCancelled;
    assert_violated(RefundedWhenCancelled, "eaten", |books| {
        books.payments[0].is_refunded = true;
    });
    assert_due(RefundedWhenCancelled, "cancelled", |books| {
        books.payments[1].is_refunded = false;
    });
}

#[test]
fn every_order_is_delivered_once_in_the_end() {
    use Invariant::DeliveredOnce;
    assert_violated(DeliveredOnce, "eaten", |books| {
        let deliveries = books.deliveries.as_mut().unwrap();
        deliveries.push(delivery("eaten", Stage::UnderWay));
    });
    assert_due(DeliveredOnce, "new", |books| {
        books.orders_after.push(order("new", Stage::UnderWay));
        books.payments.push(payment("new"));
        let notifications = books.notifications.as_mut().unwrap();
        notifications.push(notification("new", "OrderPaid"));
    });
}

#[test]
fn what_is_delivered_was_ordered_and_what_is_called_delivered_was() {
    assert_violated(Invariant::NoDeliveryWithoutOrder, "invented", |books| {
        let deliveries = books.deliveries.as_mut().unwrap();
        deliveries.push(delivery("invented", Stage::UnderWay));
    });
    assert_violated(Invariant::DeliveredAsTold, "eaten", |books| {
        books.coupons = None;
        books.deliveries.as_mut().unwrap()[0].stage = Stage::UnderWay;
    });
}

#[test]
fn what_is_called_cancelled_is_not_brought() {
    use Invariant::DeliveredAsTold;
    for stage in [Stage::UnderWay, Stage::Delivered] {
        assert_violated(DeliveredAsTold, "cancelled", |books| {
            books.deliveries.as_mut().unwrap()[1].stage = stage;
        });
    }
    // Whatever becomes of one that was made for it a second time, it is brought.
    let mut twice = in_order();
    let deliveries = twice.deliveries.as_mut().unwrap();
    deliveries.insert(0, delivery("cancelled", Stage::Delivered));
    assert!(audit(&twice).violations.contains_key(&DeliveredAsTold));
    // Cancelled since the first look: too late for what was delivered already.
    assert_violated(DeliveredAsTold, "cancelled", |books| {
        books.orders_before[1].stage = Stage::UnderWay;
        books.deliveries.as_mut().unwrap()[1].stage = Stage::Delivered;
    });
}

#[test]
fn coupons_are_for_delivered_orders_one_each() {
    assert_violated(Invariant::OneCoupon, "eaten", |books| {
        books.coupons.as_mut().unwrap().push(coupon("eaten"));
    });
    assert_violated(Invariant::NoCouponWithoutDelivery, "cancelled", |books| {
        books.coupons.as_mut().unwrap().push(coupon("cancelled"));
    });
    assert_due(Invariant::OneCoupon, "eaten", |books| {
        books.coupons = Some(Vec::new());
    });
    let mut without_marketing = in_order();
    without_marketing.coupons = None;
    assert_eq!(audit(&without_marketing), Audit::default());
}

#[test]
fn nothing_is_notified_of_twice_whatever_it_is() {
    for (id, kind) in HAPPENED.into_iter().chain([("eaten", "CookingStarted")]) {
        assert_violated(Invariant::NotifiedOnce, id, |books| {
            let notifications = books.notifications.as_mut().unwrap();
            notifications.retain(|it| it.kind != kind || it.order_id != id);
            notifications.extend([notification(id, kind), notification(id, kind)]);
        });
    }
}

#[test]
fn whatever_can_be_seen_in_other_books_is_notified_of_in_the_end() {
    for (id, kind) in HAPPENED {
        assert_due(Invariant::NotifiedOnce, id, |books| {
            let notifications = books.notifications.as_mut().unwrap();
            notifications.retain(|it| it.kind != kind || it.order_id != id);
        });
    }
    let mut without_customer = in_order();
    without_customer.notifications = None;
    assert_eq!(audit(&without_customer), Audit::default());
}

/// What happens to an order, step by step, and between which steps each book is read.
#[test]
fn what_happens_while_the_books_are_read_is_no_violation() {
    // The life of an order as (order, payment, delivery, coupon), each `None` before it begins.
    let delivered_life = |step: usize| {
        let paid = (step >= 1).then(|| payment("o"));
        let stage = if step >= 5 {
            Stage::Delivered
        } else {
            Stage::UnderWay
        };
        let accepted = (step >= 2).then(|| order("o", stage));
        let delivery_stage = if step >= 4 {
            Stage::Delivered
        } else {
            Stage::UnderWay
        };
        let made = (step >= 3).then(|| delivery("o", delivery_stage));
        (accepted, paid, made, (step >= 6).then(|| coupon("o")))
    };
    let cancelled_life = |step: usize| {
        let paid = (step >= 1).then(|| Payment {
            is_refunded: step >= 6,
            ..payment("o")
        });
        let stage = if step >= 5 {
            Stage::Cancelled
        } else {
            Stage::UnderWay
        };
        let accepted = (step >= 2).then(|| order("o", stage));
        let delivery_stage = if step >= 4 {
            Stage::Cancelled
        } else {
            Stage::UnderWay
        };
        (
            accepted,
            paid,
            (step >= 3).then(|| delivery("o", delivery_stage)),
            None,
        )
    };
    // When each book is read: five moments, in order.
    let moments = (0..7_usize.pow(5)).map(|mut number| {
        [(); 5].map(|()| {
            let step = number % 7;
            number /= 7;
            step
        })
    });
    for [coupons, before, deliveries, payments, after] in moments.filter(|it| it.is_sorted()) {
        let lives: [&dyn Fn(usize) -> _; 2] = [&delivered_life, &cancelled_life];
        for life in lives {
            let books = Books {
                coupons: Some(Vec::from_iter(life(coupons).3)),
                orders_before: Vec::from_iter(life(before).0),
                deliveries: Some(Vec::from_iter(life(deliveries).2)),
                payments: Vec::from_iter(life(payments).1),
                orders_after: Vec::from_iter(life(after).0),
                notifications: Some(Vec::new()),
            };
            assert_eq!(audit(&books).violations, Findings::new(), "{books:?}");
        }
    }
}

#[test]
fn without_events_nothing_is_due_and_what_is_wrong_still_is() {
    let mut books = Books {
        orders_before: vec![order("open", Stage::UnderWay)],
        orders_after: vec![order("open", Stage::UnderWay)],
        payments: vec![payment("open"), payment("orphan")],
        notifications: Some(Vec::new()),
        ..Books::default()
    };
    assert_eq!(audit(&books).due.len(), 3);
    let alone = |books: &Books| super::audit(books, Events::Unheard);
    assert_eq!(alone(&books), Audit::default());
    books.payments.push(payment("open"));
    assert_eq!(alone(&books).violations, found(Invariant::PaidOnce, "open"));
}
