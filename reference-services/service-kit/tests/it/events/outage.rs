//! A bus that goes away and comes back, killed in the middle of its work.

use tokio_util::sync::CancellationToken;

use super::*;

/// Publishes until the bus takes it, as an outbox does.
async fn publish_at_last(bus: &dyn EventBus, topic: &str, events: Vec<Event>) {
    let events = addressed(events, topic);
    let published = async {
        while bus.publish(&events).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let published = tokio::time::timeout(PATIENCE, published).await;
    published.expect("the bus did not come back");
}

#[tokio::test]
async fn a_bus_that_is_away_at_first_is_waited_for() {
    for mut rig in Rig::all_that_can_be_killed().await {
        rig.kill().await;
        let topic = new_topic();
        let bus = rig.client();
        let event = numbered("7", 0);
        let impatient = rig.impatient_client();
        let refused = impatient.publish(&addressed([event.clone()], &topic)).await;
        assert!(refused.is_err(), "{rig}: nobody can have taken it");
        let mut member = Member::start(&rig, &group(&topic), always_well());

        rig.revive();
        publish_at_last(&*bus, &topic, vec![event.clone()]).await;
        assert_eq!(untraced(&member.next().await), event, "{rig}");
        member.stop().await;
    }
}

#[tokio::test]
async fn a_member_stops_although_the_bus_is_away() {
    for mut rig in Rig::all_that_can_be_killed().await {
        let topic = new_topic();
        let bus = rig.client();
        let mut member = Member::start(&rig, &group(&topic), always_well());
        publish(&*bus, &topic, [numbered("7", 0)]).await;
        member.next().await;
        rig.kill().await;
        member.stop().await;
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_broker_is_killed_again_and_again() {
    for mut rig in Rig::all_that_can_be_killed().await {
        let topic = new_topic();
        let mut source = Source::new(&rig, &topic);
        let (acknowledge, mut acknowledged) = mpsc::unbounded_channel();
        let enough = CancellationToken::new();
        let publishing = {
            let enough = enough.clone();
            tokio::spawn(async move {
                while !enough.is_cancelled() {
                    let batch = source.next_batch();
                    publish_at_last(&*source.bus, &topic, batch.clone()).await;
                    source.published.extend(batch);
                    acknowledge.send(()).unwrap();
                }
                source
            })
        };
        let mut next_acknowledged = async |count| {
            for _ in 0..count {
                let next = tokio::time::timeout(PATIENCE, acknowledged.recv()).await;
                next.expect("nothing is acknowledged").unwrap();
            }
        };
        for _ in 0..2 {
            next_acknowledged(20).await;
            // The publisher goes on meanwhile.
            rig.kill().await;
            rig.revive();
        }
        next_acknowledged(20).await;
        enough.cancel();
        let source = publishing.await.unwrap();

        let mut member = Member::start(&rig, &group(&source.topic), always_well());
        let published = &source.published;
        let arrived = until_all_arrived(&rig, published, async || member.next().await).await;
        assert_eq!(first_times(&arrived), first_times(published), "{rig}");
        member.stop().await;
    }
}

#[tokio::test]
async fn a_member_goes_on_after_the_broker_was_killed() {
    for mut rig in Rig::all_that_can_be_killed().await {
        let topic = new_topic();
        let bus = rig.client();
        let mut member = Member::start(&rig, &group(&topic), always_well());
        publish(&*bus, &topic, [numbered("7", 0)]).await;
        assert_eq!(number(&member.next().await), 0, "{rig}");
        rig.kill().await;
        rig.revive();
        publish_at_last(&*bus, &topic, vec![numbered("7", 1)]).await;
        // What was not committed yet comes again.
        while number(&member.next().await) != 1 {}
        member.stop().await;
    }
}

#[tokio::test]
async fn a_broker_that_comes_back_with_nothing_is_given_its_topics_again() {
    for mut rig in Rig::all_that_can_be_killed().await {
        let topic = new_topic();
        // Only when it has failed does it ask whether the topic is still there.
        let bus = rig.impatient_client();
        let mut member = Member::start(&rig, &group(&topic), always_well());
        publish(&*bus, &topic, (0..5).map(|it| numbered("7", it))).await;
        assert_eq!(
            numbers(&member.take(5).await),
            Vec::from_iter(0..5),
            "{rig}"
        );
        rig.kill().await;
        rig.revive_empty();
        publish_at_last(&*bus, &topic, vec![numbered("7", 5)]).await;
        assert_eq!(number(&member.next().await), 5, "{rig}");
        member.stop().await;
    }
}
