//! The rolling update: grow the new set, then shrink the old ones, within the
//! fenceposts. All arithmetic is over wanted sizes and available pods, never
//! over processes.

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::fenceposts::Fenceposts;
use super::sets::{Sets, available, size};
use super::{Action, scaled};

/// The next step: the new set first; only when it stays as it is the old ones.
pub(super) fn step(sets: &Sets, posts: &Fenceposts) -> Vec<Action> {
    let Some(new) = &sets.new else {
        let replicas = grown(0, sets, posts);
        return vec![Action::Create {
            replicas,
            revision: sets.next_revision(),
        }];
    };
    let to = if size(new) > posts.replicas {
        posts.replicas
    } else {
        grown(size(new), sets, posts)
    };
    if let Some(action) = scaled(new, to) {
        return vec![action];
    }
    shrink_old(new, sets, posts)
}

/// How large the new set may become, from its present size.
fn grown(present: i32, sets: &Sets, posts: &Fenceposts) -> i32 {
    let room = (posts.max_total() - sets.total()).max(0);
    present + room.min(posts.replicas - present)
}

fn shrink_old(new: &ReplicaSet, sets: &Sets, posts: &Fenceposts) -> Vec<Action> {
    if sets.old.iter().all(|set| size(set) == 0) {
        return Vec::new();
    }
    let new_unavailable = size(new) - available(new);
    let budget = sets.total() - posts.min_available() - new_unavailable;
    if budget <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = sets.old.iter().map(|set| size(set)).collect();
    // Pods which serve nobody go first.
    let mut unhealthy_budget = budget;
    for (set, size) in sets.old.iter().zip(&mut sizes) {
        let unavailable = (*size - available(set)).max(0);
        take(size, unavailable, &mut unhealthy_budget);
    }
    let mut available_budget = sets.sum(available_after_scaling) - posts.min_available();
    for size in &mut sizes {
        take(size, i32::MAX, &mut available_budget);
    }
    sets.old
        .iter()
        .zip(sizes)
        .filter_map(|(set, size)| scaled(set, size))
        .collect()
}

/// The available pods of a set which may not yet have told that it was shrunk.
fn available_after_scaling(set: &ReplicaSet) -> i32 {
    available(set).min(size(set))
}

/// Takes up to `wish` pods from a set, as far as the budget goes.
fn take(size: &mut i32, wish: i32, budget: &mut i32) {
    let taken = wish.min(*size).min(*budget).max(0);
    *size -= taken;
    *budget -= taken;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn set(name: &str, size: i32, available: i32) -> Arc<ReplicaSet> {
        let set = json!({
            "metadata": {"name": name},
            "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "availableReplicas": available},
        });
        Arc::new(serde_json::from_value(set).unwrap())
    }

    fn scale(name: &str, from: i32, to: i32) -> Action {
        Action::Scale {
            name: name.to_owned(),
            from,
            to,
        }
    }

    #[test]
    fn unavailable_pods_of_old_sets_go_before_available_ones() {
        let posts = Fenceposts {
            replicas: 4,
            surge: 1,
            unavailable: 1,
        };
        let sets = Sets {
            new: Some(set("new", 1, 1)),
            old: vec![set("a", 2, 1), set("b", 2, 2)],
        };
        assert_eq!(step(&sets, &posts), [scale("a", 2, 0)]);
    }

    #[test]
    fn an_old_set_that_has_not_told_yet_that_it_was_shrunk_is_not_shrunk_too_far() {
        let posts = Fenceposts {
            replicas: 10,
            surge: 3,
            unavailable: 2,
        };
        let sets = Sets {
            new: Some(set("new", 5, 1)),
            old: vec![set("old", 8, 10)],
        };
        assert_eq!(step(&sets, &posts), [scale("old", 8, 7)]);
    }

    #[test]
    fn a_new_set_which_never_gets_available_stops_the_rollout() {
        let posts = Fenceposts {
            replicas: 4,
            surge: 1,
            unavailable: 1,
        };
        let mut sets = Sets {
            new: None,
            old: vec![set("old", 4, 4)],
        };
        let mut sizes = Vec::new();
        while let Some(action) = step(&sets, &posts).pop() {
            match action {
                Action::Create { replicas, .. } => sets.new = Some(set("new", replicas, 0)),
                Action::Scale { name, to, .. } if name == "new" => {
                    sets.new = Some(set("new", to, 0))
                }
                Action::Scale { to, .. } => sets.old = vec![set("old", to, to)],
                other => panic!("{other:?}"),
            }
            sizes.push((sets.new.as_deref().map_or(0, size), size(&sets.old[0])));
        }
        assert_eq!(sizes, [(1, 4), (1, 3), (2, 3)]);
    }

    proptest! {
        /// With pods which get available in any order a rollout ends, and never
        /// leaves the fenceposts.
        #[test]
        fn a_rollout_keeps_within_its_fenceposts(
            replicas in 1..12_i32,
            surge in 0..5_i32,
            unavailable in 0..5_i32,
            lags in proptest::collection::vec(0..3_i32, 1..8),
        ) {
            let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable }.min(replicas);
            let posts = Fenceposts { replicas, surge, unavailable };
            let mut sets = Sets { new: Some(set("new", 0, 0)), old: vec![set("old", replicas, replicas)] };
            let mut lags = lags.into_iter().cycle();
            for _ in 0..20 * replicas {
                for action in step(&sets, &posts) {
                    let Action::Scale { name, to, .. } = action else { panic!("{action:?}") };
                    let target = if name == "new" { sets.new.as_mut() } else { sets.old.first_mut() };
                    let target = target.expect("both sets exist");
                    *target = set(&name, to, available(target).min(to));
                }
                prop_assert!(sets.total() <= posts.max_total());
                prop_assert!(sets.sum(available) >= posts.min_available());
                let new = sets.new.as_ref().expect("the new set exists");
                let available = (available(new) + lags.next().unwrap_or(1)).min(size(new));
                sets.new = Some(set("new", size(new), available));
                if size(&sets.old[0]) == 0 && available == replicas {
                    break;
                }
                // A run of pods that all lag must not last for ever.
                let new = sets.new.as_ref().expect("the new set exists");
                if available < size(new) {
                    sets.new = Some(set("new", size(new), available + 1));
                }
            }
            prop_assert_eq!(sets.new.as_deref().map(size), Some(replicas));
            prop_assert_eq!(sets.total(), replicas);
        }
    }
}
