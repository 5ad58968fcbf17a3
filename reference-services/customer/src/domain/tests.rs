use super::*;

fn happened(id: u128, cause: u128, at_ms: i64, what: Happening) -> Happened {
    Happened {
        id: EventId::new(id),
        order_id: "7".parse().unwrap(),
        cause: EventId::new(cause).to_string(),
        at_ms,
        what,
    }
}

fn paid() -> Happening {
    Happening::OrderPaid(Purchase {
        item: "chicken".to_owned(),
        quantity: 2,
        address: None,
        amount: 36_000,
    })
}

fn of(happenings: &[Happening]) -> Order {
    let events: Vec<_> = (1..)
        .zip(happenings)
        .map(|(id, what)| happened(id, id - 1, i64::try_from(id).unwrap(), what.clone()))
        .collect();
    Order::of(&events).unwrap()
}

#[test]
fn an_order_goes_its_way() {
    let way = [
        (paid(), Status::Paid),
        (Happening::OrderAccepted, Status::Accepted),
        (Happening::CookingStarted, Status::Cooking),
        (Happening::RiderAssigned, Status::WithRider),
        (Happening::OrderDelivered, Status::Delivered),
    ];
    let happenings: Vec<_> = way.iter().map(|(what, _)| what.clone()).collect();
    for (length, (_, status)) in (1..).zip(way) {
        assert_eq!(of(&happenings[..length]).status, status);
    }
    let with_coupon = [
        &happenings[..],
        &[Happening::CouponIssued {
            coupon_id: "c".to_owned(),
            percent: 10,
        }],
    ];
    assert_eq!(of(&with_coupon.concat()).status, Status::Delivered);
}

#[test]
fn a_request_to_cancel_is_open_until_it_is_answered() {
    let request = Happening::CancellationRequested;
    let refusal = Happening::CancellationRefused;
    for (happenings, status) in [
        (vec![paid(), request.clone()], Status::Cancelling),
        (
            vec![paid(), Happening::OrderAccepted, request.clone()],
            Status::Cancelling,
        ),
        (
            vec![paid(), request.clone(), Happening::DeliveryCancelled],
            Status::Cancelled,
        ),
        (
            vec![
                paid(),
                request.clone(),
                Happening::OrderCancelled { amount: 1 },
                Happening::PaymentRefunded { amount: 1 },
            ],
            Status::Cancelled,
        ),
        (
            vec![paid(), Happening::CookingStarted, request.clone()],
            Status::Cooking,
        ),
        (vec![paid(), request.clone(), refusal.clone()], Status::Paid),
        (
            vec![paid(), request.clone(), refusal, request],
            Status::Cancelling,
        ),
    ] {
        assert_eq!(of(&happenings).status, status, "{happenings:?}");
    }
}

#[test]
fn the_view_does_not_depend_on_the_order_in_which_events_are_heard() {
    let events = [
        happened(1, 0, 10, paid()),
        happened(2, 1, 20, Happening::OrderAccepted),
        happened(3, 2, 20, Happening::CookingStarted),
        happened(4, 0, 20, Happening::CancellationRequested),
        happened(5, 4, 20, Happening::CancellationRefused),
    ];
    let expected = Order::of(&events).unwrap();
    assert_eq!(expected.status, Status::Cooking);
    let mut heard = events.to_vec();
    // Heap's algorithm: every permutation.
    let mut counters = [0; 5];
    let mut index = 0;
    while index < 5 {
        if counters[index] < index {
            heard.swap(if index % 2 == 0 { 0 } else { counters[index] }, index);
            assert_eq!(Order::of(&heard).unwrap(), expected);
            counters[index] += 1;
            index = 0;
        } else {
            counters[index] = 0;
            index += 1;
        }
    }
}

#[test]
fn clocks_that_differ_do_not_put_an_effect_before_its_cause() {
    let events = [
        happened(9, 1, 500, Happening::OrderAccepted),
        happened(1, 0, 1000, paid()),
        happened(5, 9, 400, Happening::CookingStarted),
        happened(2, 0, 1001, Happening::CancellationRequested),
    ];
    let order = Order::of(&events).unwrap();
    let names: Vec<_> = order.history.iter().map(|it| it.what.name()).collect();
    assert_eq!(
        names,
        [
            "OrderPaid",
            "OrderAccepted",
            "CookingStarted",
            "CancellationRequested"
        ]
    );
    assert_eq!(order.placed_at_ms, 1000);
}

#[test]
fn events_that_claim_to_cause_each_other_are_sorted_somehow() {
    let events = [
        happened(1, 2, 10, paid()),
        happened(2, 1, 20, Happening::OrderAccepted),
    ];
    assert_eq!(Order::of(&events).unwrap().history.len(), 2);
}

#[test]
fn there_is_no_order_before_its_payment_is_known() {
    let events = [happened(2, 1, 20, Happening::OrderAccepted)];
    assert_eq!(Order::of(&events), None);
    assert_eq!(Order::of(&[]), None);
}
