//! Topics that are there before anything is published.

use super::*;

#[tokio::test]
async fn topics_are_made_when_the_bus_comes_although_nothing_is_published() {
    for mut rig in Rig::all_that_can_be_killed().await {
        rig.kill().await;
        let topics = [new_topic(), new_topic()];
        let bus = rig.client();
        let wanted = topics.clone();
        let mut making = tokio::spawn(async move {
            bus.make_topics(&[&wanted[0], &wanted[1]]).await;
        });
        let early = tokio::time::timeout(Duration::from_millis(100), &mut making).await;
        assert!(early.is_err(), "{rig}: nobody can have made them");
        rig.revive();
        let made = tokio::time::timeout(PATIENCE, making).await;
        made.expect("nothing was made").unwrap();
        for topic in topics {
            assert!(rig.has_topic(&topic).await, "{rig}");
        }
        assert!(!rig.has_topic(&new_topic()).await, "{rig}");
    }
}
