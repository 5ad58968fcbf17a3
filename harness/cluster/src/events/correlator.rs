//! Which events are told and in which words, after client-go's event correlator
//! (`tools/record/events_cache.go`): many similar events become one, and what is
//! said about one object is limited. All it remembers is bounded.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::num::NonZeroUsize;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use lru::LruCache;

/// How many objects, and how many events, are remembered at a time.
const MEMORY: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not zero");

/// From this many different messages on, similar events are combined.
const SIMILAR_MESSAGES: usize = 10;
/// Events further apart are not similar.
const SIMILAR_PERIOD: SignedDuration = SignedDuration::from_mins(10);

/// How often something may be said about an object at once.
const BURST: f64 = 25.0;
/// How long it takes until one more may be said.
const REFILL_PERIOD: SignedDuration = SignedDuration::from_mins(5);

/// What happened, and to which object.
#[derive(Copy, Clone, Debug)]
pub(super) struct Observation<'a> {
    pub(super) uid: &'a str,
    /// The part of the object, such as `spec.containers{app}`; empty for all of it.
    pub(super) field_path: &'a str,
    pub(super) severity: &'static str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

/// An event as it is to be told.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) struct Telling {
    /// The same for repetitions.
    pub(super) id: u64,
    pub(super) message: String,
    /// How often it happened since it was last told.
    pub(super) times: u64,
}

/// What one component has told.
#[derive(Debug)]
pub(super) struct Correlator {
    component: &'static str,
    similar: LruCache<u64, Similar>,
    /// How often an event happened without being told.
    untold: LruCache<u64, u64>,
    /// By object.
    allowances: LruCache<u64, Allowance>,
}

/// Events about one object which differ in their messages only.
#[derive(Debug)]
struct Similar {
    messages: BTreeSet<u64>,
    last_seen: Timestamp,
}

/// How often something may still be said about an object, as of a time.
#[derive(Copy, Clone, Debug)]
struct Allowance {
    left: f64,
    at: Timestamp,
}

impl Correlator {
    pub(super) fn new(component: &'static str) -> Self {
        Self {
            component,
            similar: LruCache::new(MEMORY),
            untold: LruCache::new(MEMORY),
            allowances: LruCache::new(MEMORY),
        }
    }

    /// What to tell of something that has happened; `None` when enough has been
    /// said about the object.
    pub(super) fn correlate(
        &mut self,
        observation: &Observation<'_>,
        now: Timestamp,
    ) -> Option<Telling> {
        let (id, message) = self.aggregate(observation, now);
        let untold = self.untold.get_or_insert_mut(id, || 0);
        *untold += 1;
        let fresh = Allowance {
            left: BURST,
            at: now,
        };
        let object = hash(observation.uid);
        let allowance = self.allowances.get_or_insert_mut(object, || fresh);
        allowance.spend(now).then(|| Telling {
            id,
            message,
            times: std::mem::take(untold),
        })
    }

    /// The event's identity and message, or those of all that are similar.
    fn aggregate(&mut self, observation: &Observation<'_>, now: Timestamp) -> (u64, String) {
        let Observation {
            uid,
            field_path,
            severity,
            reason,
            message,
        } = *observation;
        let kind = hash((self.component, uid, severity, reason));
        let similar = self.similar.get_or_insert_mut(kind, || Similar {
            messages: BTreeSet::new(),
            last_seen: now,
        });
        if now.duration_since(similar.last_seen) > SIMILAR_PERIOD {
            similar.messages.clear();
        }
        similar.last_seen = now;
        similar.messages.insert(hash(message));
        if similar.messages.len() < SIMILAR_MESSAGES {
            return (hash((kind, field_path, message)), message.to_owned());
        }
        similar.messages.pop_last();
        let combined = format!("(combined from similar events): {message}");
        (kind, combined)
    }
}

impl Allowance {
    fn spend(&mut self, now: Timestamp) -> bool {
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        let refilled = passed / REFILL_PERIOD.as_secs_f64();
        self.left = (self.left + refilled).min(BURST);
        self.at = now;
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn after(minutes: i64) -> Timestamp {
        START + SignedDuration::from_mins(minutes)
    }

    fn about<'a>(uid: &'a str, message: &'a str) -> Observation<'a> {
        Observation {
            uid,
            field_path: "",
            severity: "Normal",
            reason: "Created",
            message,
        }
    }

    #[test]
    fn from_the_tenth_message_on_similar_events_are_one() {
        let mut correlator = Correlator::new("controller");
        let mut tell = |number: u8, minutes| {
            let message = format!("pod {number}");
            correlator
                .correlate(&about("set", &message), after(minutes))
                .unwrap()
        };
        let told: Vec<_> = (0..15).map(|number| tell(number, 0)).collect();
        assert_eq!(told[8].message, "pod 8");
        assert_eq!(told[9].message, "(combined from similar events): pod 9");
        assert_eq!(told[14].message, "(combined from similar events): pod 14");
        let different: BTreeSet<_> = told.iter().map(|telling| telling.id).collect();
        assert_eq!(different.len(), 10);
        assert_eq!(tell(15, 10).id, told[9].id);
        assert_eq!(tell(16, 21).message, "pod 16", "the others are long ago");
    }

    #[test]
    fn other_objects_reasons_and_severities_are_not_similar() {
        let mut correlator = Correlator::new("controller");
        for number in 0..9 {
            let message = number.to_string();
            correlator.correlate(&about("set", &message), START);
        }
        let warning = Observation {
            severity: "Warning",
            ..about("set", "x")
        };
        let reason = Observation {
            reason: "Deleted",
            ..about("set", "x")
        };
        for other in [about("other", "x"), warning, reason] {
            let told = correlator.correlate(&other, START).unwrap();
            assert_eq!(told.message, "x", "{other:?}");
        }
    }

    #[test]
    fn parts_of_an_object_repeat_themselves_apart() {
        let mut correlator = Correlator::new("controller");
        let part = Observation {
            field_path: "spec.containers{a}",
            ..about("pod", "x")
        };
        let mut id = |observation| correlator.correlate(observation, START).unwrap().id;
        assert_ne!(id(&part), id(&about("pod", "x")));
    }

    #[test]
    fn about_an_object_no_more_is_said_than_its_allowance_and_nothing_is_miscounted() {
        let mut correlator = Correlator::new("controller");
        let mut tell = |uid, minutes| {
            let told = correlator.correlate(&about(uid, "x"), after(minutes));
            told.map(|telling| telling.times)
        };
        let told = (0..100).filter_map(|_| tell("pod", 0)).count();
        assert_eq!(told, 25);
        assert_eq!(tell("other", 0), Some(1));
        assert_eq!(tell("pod", 4), None);
        assert_eq!(tell("pod", 5), Some(77), "the untold ones are counted");
        assert_eq!(tell("pod", 6), None);
        let day = 24 * 60;
        let told = (0..100).filter_map(|_| tell("pod", day)).count();
        assert_eq!(told, 25, "an allowance is not saved up");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut correlator = Correlator::new("controller");
        for number in 0..2 * MEMORY.get() {
            let uid = number.to_string();
            correlator.correlate(&about(&uid, "x"), START);
        }
        let remembered = [
            correlator.similar.len(),
            correlator.untold.len(),
            correlator.allowances.len(),
        ];
        assert_eq!(remembered, [MEMORY.get(); 3]);
    }
}
