//! Changing the number of replicas in the middle of a rollout: all sets grow or
//! shrink in proportion to their size.

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::fenceposts::Fenceposts;
use super::sets::{self, Sets, annotation, available, size};
use super::{Action, DESIRED_REPLICAS, MAX_REPLICAS};

/// The sizes which the sets shall have. A set which keeps its size is scaled to
/// it, so that it learns the new number of replicas.
pub(super) fn scale(sets: &Sets, posts: &Fenceposts, recreates: bool) -> Vec<Action> {
    let mut active: Vec<_> = sets.all().filter(|set| size(set) > 0).collect();
    active.sort_by_key(|set| sets::age(set));
    match active.as_slice() {
        [] => match sets.new.as_ref().or_else(|| sets.old.last()) {
            Some(latest) => resized(latest, posts.replicas, posts).into_iter().collect(),
            None => Vec::new(),
        },
        [only] => resized(only, posts.replicas, posts).into_iter().collect(),
        several => match &sets.new {
            Some(new) if is_saturated(new, posts) => sets
                .old
                .iter()
                .filter(|set| size(set) > 0)
                .filter_map(|set| resized(set, 0, posts))
                .collect(),
            _ if recreates => Vec::new(),
            _ => proportionally(several, posts),
        },
    }
}

/// Scales a set unless it has that size and knows the number of replicas.
fn resized(set: &ReplicaSet, to: i32, posts: &Fenceposts) -> Option<Action> {
    let from = size(set);
    let knows = number(set, DESIRED_REPLICAS) == Some(posts.replicas)
        && number(set, MAX_REPLICAS) == Some(posts.max_total());
    (from != to || !knows).then(|| Action::Scale {
        name: sets::name(set),
        from,
        to,
    })
}

fn number(set: &ReplicaSet, name: &str) -> Option<i32> {
    annotation(set, name)?.parse().ok()
}

/// Whether the new set does all the work already.
fn is_saturated(new: &ReplicaSet, posts: &Fenceposts) -> bool {
    let all = posts.replicas;
    size(new) == all && number(new, DESIRED_REPLICAS) == Some(all) && available(new) == all
}

fn proportionally(active: &[&ReplicaSet], posts: &Fenceposts) -> Vec<Action> {
    let total: i32 = active.iter().map(|set| size(set)).sum();
    let allowed = if posts.replicas > 0 {
        posts.max_total()
    } else {
        0
    };
    let change = allowed - total;
    // The largest first; among equals the newer ones grow, the older ones shrink.
    let mut ordered: Vec<_> = active.iter().enumerate().collect();
    ordered.sort_by_key(|(age, set)| {
        let age = i64::try_from(*age).unwrap_or_default();
        (-size(set), if change > 0 { -age } else { age })
    });
    let mut sizes = Vec::with_capacity(ordered.len());
    let mut given = 0;
    for (_, set) in &ordered {
        let share = share(set, posts, change - given, change);
        given += share;
        sizes.push(size(set) + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + change - given).max(0);
    }
    ordered
        .iter()
        .zip(sizes)
        .filter_map(|((_, set), size)| resized(set, size, posts))
        .collect()
}

/// A set's share of the change, in pods, within what is left of it.
fn share(set: &ReplicaSet, posts: &Fenceposts, left: i32, change: i32) -> i32 {
    if change == 0 || left == 0 {
        return 0;
    }
    let before = number(set, MAX_REPLICAS)
        .filter(|before| *before > 0)
        .unwrap_or(size(set));
    let ratio = f64::from(posts.max_total()) / f64::from(before.max(1));
    let target = if posts.replicas == 0 {
        0.0
    } else {
        (f64::from(size(set)) * ratio).round()
    };
    #[expect(clippy::cast_possible_truncation, reason = "a number of pods fits")]
    let fraction = target as i32 - size(set);
    if change > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn set(name: &str, size: i32, available: i32) -> Arc<ReplicaSet> {
        let set = json!({
            "metadata": {"name": name, "annotations": {DESIRED_REPLICAS: "10", MAX_REPLICAS: "13"}},
            "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "availableReplicas": available},
        });
        Arc::new(serde_json::from_value(set).unwrap())
    }

    fn sizes(sets: &Sets, replicas: i32, surge: i32) -> Vec<(String, i32)> {
        let posts = Fenceposts {
            replicas,
            surge,
            unavailable: 2,
        };
        let actions = scale(sets, &posts, false)
            .into_iter()
            .map(|action| match action {
                Action::Scale { name, to, .. } => (name, to),
                other => panic!("{other:?}"),
            });
        actions.collect()
    }

    #[test]
    fn both_sets_grow_and_the_rest_goes_to_the_larger() {
        let sets = Sets {
            new: Some(set("new", 5, 0)),
            old: vec![set("old", 8, 8)],
        };
        assert_eq!(
            sizes(&sets, 20, 5),
            [("old".to_owned(), 15), ("new".to_owned(), 10)]
        );
        assert_eq!(
            sizes(&sets, 5, 2),
            [("old".to_owned(), 4), ("new".to_owned(), 3)]
        );
    }

    #[test]
    fn a_single_set_takes_it_all() {
        let sets = Sets {
            new: Some(set("new", 10, 10)),
            old: vec![set("old", 0, 0)],
        };
        assert_eq!(sizes(&sets, 3, 1), [("new".to_owned(), 3)]);
        assert_eq!(sizes(&sets, 10, 3), []);
    }
}
