//! Spreading endpoints over slices so that as few slices as possible change.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::object;

/// As many endpoints as a slice holds.
pub(super) const MAX_ENDPOINTS: usize = 100;

/// Endpoints with the same port numbers: a slice has one set of ports.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Group {
    pub(super) ports: Vec<Value>,
    pub(super) endpoints: Vec<Value>,
}

/// What is to be done with one slice.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Change {
    Create(Group),
    /// The slice of this name is to hold this.
    Keep(String, Group),
    Delete(String),
}

/// A slice as it shall be.
struct Slot {
    /// Of the slice that is there.
    name: String,
    content: Group,
    changed: bool,
}

/// Decides about every slice that is there, and about new ones.
pub(super) fn arrange(present: &[&Value], groups: Vec<Group>) -> Vec<Change> {
    let mut vacant: VecDeque<String> = VecDeque::new();
    let mut slots: Vec<Slot> = Vec::new();
    let mut new: Vec<Group> = Vec::new();
    let mut by_ports: Vec<(Group, Vec<&Value>)> = groups
        .into_iter()
        .map(|group| (group, Vec::new()))
        .collect();
    for slice in present {
        let ports = slice["ports"].as_array().map_or(&[][..], Vec::as_slice);
        match by_ports.iter_mut().find(|(group, _)| group.ports == ports) {
            Some((_, slices)) => slices.push(slice),
            None => vacant.push_back(object::name(slice).to_owned()),
        }
    }
    for (group, slices) in by_ports {
        let (kept, more) = fill(group, &slices);
        let (empty, kept): (Vec<_>, Vec<_>) = kept
            .into_iter()
            .partition(|slot| slot.content.endpoints.is_empty());
        vacant.extend(empty.into_iter().map(|slot| slot.name));
        slots.extend(kept);
        new.extend(more);
    }
    if slots.is_empty() && new.is_empty() {
        // A service always has a slice.
        new.push(Group::default());
    }
    let kept = slots
        .into_iter()
        .map(|slot| Change::Keep(slot.name, slot.content));
    let mut changes: Vec<_> = kept.collect();
    // A slice which is no longer wanted becomes the new one.
    changes.extend(new.into_iter().map(|group| match vacant.pop_front() {
        Some(name) => Change::Keep(name, group),
        None => Change::Create(group),
    }));
    changes.extend(vacant.into_iter().map(Change::Delete));
    changes
}

/// Fills the slices of one group: endpoints stay where they are, new ones go to
/// slices which change anyway, then to one that has room for all of them, then
/// to new slices.
fn fill(group: Group, slices: &[&Value]) -> (Vec<Slot>, Vec<Group>) {
    let Group { ports, endpoints } = group;
    let mut order = Vec::new();
    let mut homeless = BTreeMap::new();
    for endpoint in endpoints {
        order.push(identity(&endpoint));
        homeless.insert(identity(&endpoint), endpoint);
    }
    let mut slots: Vec<Slot> = slices
        .iter()
        .map(|slice| {
            let before = slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
            let stay = before.iter().map(identity);
            let stay: Vec<_> = stay.filter_map(|known| homeless.remove(&known)).collect();
            Slot {
                name: object::name(slice).to_owned(),
                changed: before != stay,
                content: Group {
                    ports: ports.clone(),
                    endpoints: stay,
                },
            }
        })
        .collect();
    let in_order = order.iter().filter_map(|known| homeless.remove(known));
    let mut homeless: VecDeque<Value> = in_order.collect();
    let mut changing: Vec<_> = slots.iter_mut().filter(|slot| slot.changed).collect();
    changing.sort_by_key(|slot| std::cmp::Reverse(slot.content.endpoints.len()));
    for slot in changing {
        take(&mut slot.content.endpoints, &mut homeless);
    }
    let roomy = |slot: &&mut Slot| {
        !slot.changed && slot.content.endpoints.len() + homeless.len() <= MAX_ENDPOINTS
    };
    let fullest = slots
        .iter_mut()
        .filter(roomy)
        .max_by_key(|slot| slot.content.endpoints.len());
    if let Some(slot) = fullest {
        take(&mut slot.content.endpoints, &mut homeless);
    }
    let mut new = Vec::new();
    while !homeless.is_empty() {
        let mut endpoints = Vec::new();
        take(&mut endpoints, &mut homeless);
        let ports = ports.clone();
        new.push(Group { ports, endpoints });
    }
    (slots, new)
}

fn take(endpoints: &mut Vec<Value>, homeless: &mut VecDeque<Value>) {
    let room = MAX_ENDPOINTS.saturating_sub(endpoints.len());
    endpoints.extend(homeless.drain(..room.min(homeless.len())));
}

/// What makes an endpoint the same one, whatever its condition.
fn identity(endpoint: &Value) -> String {
    json!([endpoint["targetRef"]["uid"], endpoint["addresses"]]).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(number: usize) -> Value {
        json!({"addresses": [number.to_string()], "targetRef": {"uid": number.to_string()}})
    }

    fn group(port: u16, numbers: impl IntoIterator<Item = usize>) -> Group {
        Group {
            ports: vec![json!({"port": port})],
            endpoints: numbers.into_iter().map(endpoint).collect(),
        }
    }

    fn slice(name: &str, group: &Group) -> Value {
        json!({"metadata": {"name": name}, "ports": group.ports, "endpoints": group.endpoints})
    }

    fn arranged(present: &[Value], groups: &[Group]) -> Vec<Change> {
        let present: Vec<_> = present.iter().collect();
        arrange(&present, groups.to_vec())
    }

    fn keep(name: &str, group: Group) -> Change {
        Change::Keep(name.to_owned(), group)
    }

    #[test]
    fn a_service_without_pods_has_an_empty_slice_and_keeps_it_for_the_first_pod() {
        assert_eq!(arranged(&[], &[]), [Change::Create(Group::default())]);
        let empty = slice("a", &Group::default());
        assert_eq!(
            arranged(std::slice::from_ref(&empty), &[]),
            [keep("a", Group::default())]
        );
        let first = group(80, [1]);
        assert_eq!(
            arranged(&[empty], std::slice::from_ref(&first)),
            [keep("a", first.clone())]
        );
        let last = slice("a", &first);
        assert_eq!(arranged(&[last], &[]), [keep("a", Group::default())]);
    }

    #[test]
    fn a_pod_that_comes_or_goes_changes_one_slice() {
        let present = [
            slice("a", &group(80, 1..=100)),
            slice("b", &group(80, 101..150)),
        ];
        let with_first = arranged(&present, &[group(80, 0..150)]);
        let mut grown = group(80, 101..150);
        grown.endpoints.push(endpoint(0));
        assert_eq!(
            with_first,
            [keep("a", group(80, 1..=100)), keep("b", grown)]
        );
        let without = arranged(
            &present,
            &[group(80, (1..150).filter(|number| *number != 5))],
        );
        let less = group(80, (1..=100).filter(|number| *number != 5));
        assert_eq!(without, [keep("a", less), keep("b", group(80, 101..150))]);
    }

    #[test]
    fn another_set_of_ports_leaves_the_slices_of_the_first_alone() {
        let present = [slice("a", &group(80, [1, 2]))];
        let both = [group(70, [3]), group(80, [1, 2])];
        let changes = arranged(&present, &both);
        assert_eq!(
            changes,
            [keep("a", group(80, [1, 2])), Change::Create(group(70, [3]))]
        );
    }

    proptest! {
        /// Every endpoint is in one slice, no slice is too large or needlessly
        /// there, and arranging again changes nothing.
        #[test]
        fn endpoints_are_in_one_slice_each(
            rounds in proptest::collection::vec(
                proptest::collection::btree_map(0..400_usize, 80..82_u16, 0..300), 1..5,
            ),
        ) {
            let mut slices: Vec<Value> = Vec::new();
            let mut named = 0;
            for pods in rounds {
                let groups: Vec<_> = [80, 81]
                    .map(|port| group(port, pods.iter().filter(|(_, at)| **at == port).map(|(pod, _)| *pod)))
                    .into_iter()
                    .filter(|group| !group.endpoints.is_empty())
                    .collect();
                let changes = arranged(&slices, &groups);
                slices = changes.iter().filter_map(|change| match change {
                    Change::Create(group) => {
                        named += 1;
                        Some(slice(&named.to_string(), group))
                    }
                    Change::Keep(name, group) => Some(slice(name, group)),
                    Change::Delete(_) => None,
                }).collect();
                let mut found = BTreeMap::new();
                for slice in &slices {
                    let endpoints = slice["endpoints"].as_array().unwrap();
                    prop_assert!(endpoints.len() <= MAX_ENDPOINTS);
                    prop_assert!(!endpoints.is_empty() || slices.len() == 1);
                    for endpoint in endpoints {
                        let pod: usize = endpoint["addresses"][0].as_str().unwrap().parse().unwrap();
                        let port = slice["ports"][0]["port"].as_u64().unwrap();
                        prop_assert_eq!(found.insert(pod, u16::try_from(port).unwrap()), None);
                    }
                }
                prop_assert_eq!(found, pods);
                let unchanged: Vec<_> = arranged(&slices, &groups);
                let again: Vec<_> = unchanged.iter().map(|change| match change {
                    Change::Keep(name, group) => slice(name, group),
                    other => panic!("{other:?}"),
                }).collect();
                prop_assert!(slices.iter().all(|slice| again.contains(slice)));
            }
        }
    }
}
