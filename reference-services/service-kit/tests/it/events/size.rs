//! Events of any size.

use super::*;
use service_kit::events::BusError;

#[tokio::test]
async fn an_event_too_large_is_refused_for_good_and_the_others_are_not() {
    for rig in Rig::all().await {
        let topic = new_topic();
        let bus = rig.client();
        let huge = Event::new("Huge", "7", "test", &"x".repeat(1_100_000));
        let refused = bus
            .publish(&addressed([numbered("7", 0), huge], &topic))
            .await;
        assert!(
            matches!(&refused, Err(BusError::TooLarge { topic: told, .. }) if *told == topic),
            "{rig}: {refused:?}"
        );
        publish(&*bus, &topic, [numbered("7", 1)]).await;
        let mut member = Member::start(&rig, &group(&topic), always_well());
        // The one beside it may have been published or not.
        while number(&member.next().await) != 1 {}
        assert_eq!(member.stop().await, [], "{rig}");
    }
}

#[tokio::test]
async fn a_large_event_that_cannot_be_handled_is_told_of_without_its_payload() {
    for rig in Rig::all().await {
        if matches!(rig, Rig::Memory(_)) {
            // Its dead letters have no limit.
            continue;
        }
        let topic = new_topic();
        let subscription = group(&topic);
        let bus = rig.client();
        let largest = largest(&*bus, &topic).await;
        publish(&*bus, &topic, [numbered("7", 1)]).await;
        let verdict = |event: &Event| event.read::<u32>(1).map(drop);
        let mut member = Member::start(&rig, &subscription, Box::new(verdict));
        while member.next().await.kind != "Numbered" {}
        member.stop().await;
        let letters = rig.records(&subscription.dead_letters(&topic)).await;
        let mut expected = Record::from(&largest);
        expected.payload.clear();
        let last = letters.last().unwrap();
        let reason = last.header(DEAD_LETTER_REASON).unwrap();
        let reason = String::from_utf8(reason.to_vec()).unwrap();
        let expected = expected.into_dead_letter(&reason);
        assert_eq!(untraced_record(last), expected, "{rig}");
    }
}

/// Publishes an event that leaves no room for anything more.
async fn largest(bus: &dyn EventBus, topic: &str) -> Event {
    let (mut fits, mut too_many) = (0, 2_000_000);
    let event = |length| Event::new("Large", "7", "test", &"x".repeat(length));
    let mut largest = event(fits);
    while too_many - fits > 8 {
        let middle = usize::midpoint(fits, too_many);
        let candidate = event(middle);
        match bus.publish(&addressed([candidate.clone()], topic)).await {
            Ok(()) => (fits, largest) = (middle, candidate),
            Err(BusError::TooLarge { .. }) => too_many = middle,
            Err(error) => panic!("{error:?}"),
        }
    }
    largest
}
