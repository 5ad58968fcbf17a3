//! What a bus writes into the log.

use serde_json::Value;
use tempfile::NamedTempFile;
use tracing::subscriber::DefaultGuard;

use super::*;

/// The log of this thread, as services write it.
struct Log {
    file: NamedTempFile,
    _guard: DefaultGuard,
}

impl Log {
    fn begin() -> Self {
        let file = NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(Arc::new(file.reopen().unwrap()))
            .finish();
        Self {
            file,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// The lines with this message.
    fn lines(&self, message: &str) -> Vec<Value> {
        let text = std::fs::read(self.file.path()).unwrap();
        let lines = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
        lines
            .map(Result::unwrap)
            .filter(|line| line["fields"]["message"] == message)
            .collect()
    }
}

#[tokio::test]
async fn a_dead_letter_is_logged_with_what_the_event_belongs_to() {
    for rig in Rig::all().await {
        let topic = new_topic();
        let strange = Event {
            correlation_id: "the chain".to_owned(),
            ..Event::new("Numbered", "7", "the cause", &"seven")
        };
        let mut no_event = Record::from(&strange);
        no_event.headers.retain(|(name, _)| name != "occurred-at");
        let bus = rig.client();
        publish(&*bus, &topic, [strange.clone()]).await;
        rig.put(&topic, no_event).await;
        publish(&*bus, &topic, [numbered("7", 1)]).await;

        let log = Log::begin();
        let verdict = |event: &Event| event.read::<u32>(1).map(drop);
        let mut member = Member::start(&rig, &group(&topic), Box::new(verdict));
        member.take(2).await;
        member.stop().await;
        let lines = log.lines("dead letter");
        assert_eq!(lines.len(), 2, "{rig}: {lines:#?}");
        for line in lines {
            let span = &line["span"];
            assert_eq!(span["id"], strange.id.to_string(), "{rig}: {line}");
            assert_eq!(span["kind"], "Numbered", "{rig}: {line}");
            assert_eq!(span["correlation_id"], "the chain", "{rig}: {line}");
            assert_eq!(span["causation_id"], "the cause", "{rig}: {line}");
        }
    }
}
