use super::*;

const PACE: Pace = Pace {
    accept: Duration::from_millis(1),
    start: Duration::from_millis(20),
    cooking: Duration::from_millis(300),
    rider: Duration::from_millis(4000),
};

fn trail(event: u128) -> Trail {
    Trail {
        event: EventId::new(event),
        correlation_id: "7".to_owned(),
        traceparent: None,
    }
}

fn received() -> Delivery {
    let meal = Meal {
        item: "chicken".to_owned(),
        quantity: 1,
        address: None,
    };
    Delivery::receive("7".parse().unwrap(), meal, trail(1), 10, PACE).after
}

fn in_stage(stage: Stage) -> Delivery {
    Delivery {
        stage,
        ..received()
    }
}

#[test]
fn a_delivery_goes_its_way_and_each_step_follows_from_the_one_before() {
    let mut delivery = received();
    let expected = [
        (11, Stage::Accepted, News::OrderAccepted),
        (31, Stage::Cooking, News::CookingStarted),
        (331, Stage::WithRider, News::RiderAssigned),
        (4331, Stage::Delivered, News::OrderDelivered),
    ];
    for (number, (due, stage, news)) in (2..).zip(expected) {
        assert_eq!(delivery.due_at_ms, Some(due));
        assert_eq!(delivery.advance(EventId::new(0), due - 1, PACE), None);
        let change = delivery.advance(EventId::new(number), due, PACE).unwrap();
        assert_eq!(change.before, Some(delivery.stage));
        assert_eq!(change.after.stage, stage);
        let announcement = change.announcement.unwrap();
        assert_eq!(announcement.news, news);
        assert_eq!(announcement.id, EventId::new(number));
        assert_eq!(announcement.cause, trail(number - 1));
        assert_eq!(announcement.at_ms, due);
        delivery = change.after;
    }
    assert_eq!(delivery.due_at_ms, None);
    assert_eq!(delivery.advance(EventId::new(9), i64::MAX, PACE), None);
}

#[test]
fn a_late_step_does_not_shorten_the_next_one() {
    let change = received().advance(EventId::new(2), 1000, PACE).unwrap();
    assert_eq!(change.after.due_at_ms, Some(1020));
}

#[test]
fn what_is_not_cooking_yet_can_be_cancelled() {
    for stage in [Stage::Received, Stage::Accepted] {
        let delivery = in_stage(stage);
        let change = delivery.cancel(trail(5), EventId::new(6), 12).unwrap();
        assert_eq!(change.before, Some(stage));
        assert_eq!(change.after.stage, Stage::Cancelled);
        assert_eq!(change.after.due_at_ms, None);
        let announcement = change.announcement.unwrap();
        assert_eq!(announcement.news, News::DeliveryCancelled);
        assert_eq!(announcement.cause, trail(5));
    }
}

#[test]
fn what_is_cooked_is_delivered() {
    for stage in [Stage::Cooking, Stage::WithRider, Stage::Delivered] {
        let delivery = in_stage(stage);
        let change = delivery.cancel(trail(5), EventId::new(6), 12).unwrap();
        assert_eq!(change.after, delivery);
        let announcement = change.announcement.unwrap();
        assert_eq!(announcement.news, News::CancellationRefused);
        assert_eq!(announcement.cause, trail(5));
    }
}

#[test]
fn nothing_is_cancelled_twice() {
    let cancelled = in_stage(Stage::Cancelled);
    assert_eq!(cancelled.cancel(trail(5), EventId::new(6), 12), None);
    assert_eq!(cancelled.advance(EventId::new(6), i64::MAX, PACE), None);
}

#[test]
fn stages_are_known_by_their_names() {
    for stage in Stage::ALL {
        assert_eq!(stage.as_str().parse(), Ok(stage));
    }
    assert_eq!("Cooking".parse::<Stage>(), Err(InvalidStage));
}

#[test]
fn a_stay_without_end_is_never_over() {
    let pace = Pace {
        accept: Duration::MAX,
        ..PACE
    };
    assert_eq!(pace.due(Stage::Received, 10), Some(i64::MAX));
}

#[test]
fn order_ids_are_short_words() {
    for good in ["1", "a-b_c", &"x".repeat(64)] {
        assert_eq!(good.parse::<OrderId>().unwrap().to_string(), good);
    }
    for bad in ["", " ", "a b", "a/b", "주문", &"x".repeat(65)] {
        assert_eq!(bad.parse::<OrderId>(), Err(InvalidOrderId));
    }
}
