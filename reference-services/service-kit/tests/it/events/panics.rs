//! Handlers that panic.

use super::*;

#[tokio::test]
async fn a_handler_that_panics_is_called_again() {
    for rig in Rig::all().await {
        let topic = new_topic();
        publish(&*rig.client(), &topic, [numbered("7", 0), numbered("7", 1)]).await;
        let calls = AtomicU32::new(0);
        let verdict = move |_: &Event| {
            let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            assert!(!is_first, "the first call panics");
            Ok(())
        };
        let mut member = Member::start(&rig, &group(&topic), Box::new(verdict));
        assert_eq!(numbers(&member.take(3).await), [0, 0, 1], "{rig}");
        assert_eq!(member.stop().await, [], "{rig}");
    }
}

#[tokio::test]
async fn an_event_that_makes_the_handler_panic_each_time_goes_to_the_dead_letters() {
    for rig in Rig::all().await {
        let topic = new_topic();
        let subscription = group(&topic);
        let bad = numbered("7", 0);
        publish(&*rig.client(), &topic, [bad.clone(), numbered("7", 1)]).await;
        let verdict = |event: &Event| {
            let number = number(event);
            assert_ne!(number, 0, "event {number} is too much");
            Ok(())
        };
        let mut member = Member::start(&rig, &subscription, Box::new(verdict));
        assert_eq!(numbers(&member.take(4).await), [0, 0, 0, 1], "{rig}");
        assert_eq!(member.stop().await, [], "{rig}");

        let letters = rig.records(&subscription.dead_letters(&topic)).await;
        let [letter] = &letters[..] else {
            panic!("{rig}: {} letters", letters.len());
        };
        let reason = letter.header(DEAD_LETTER_REASON).unwrap();
        let reason = String::from_utf8(reason.to_vec()).unwrap();
        assert!(reason.contains("event 0 is too much"), "{rig}: {reason}");
        let expected = Record::from(&bad).into_dead_letter(&reason);
        assert_eq!(untraced_record(letter), expected, "{rig}");
    }
}
