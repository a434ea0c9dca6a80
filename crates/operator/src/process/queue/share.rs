//! Which of the keys that are due are looked at now. Pure.
//!
//! Whoever may make objects in one namespace can make very many, and slow ones. So the workers are shared between namespaces: the next
//! one goes to the namespace that has the fewest, and a namespace gets no more while it has as many as are free. So one that
//! asks for everything leaves half of them to others, and the others can share these by the same rule.

use std::collections::{BTreeMap, VecDeque};

use super::Key;

struct Namespace<'a, K> {
    running: usize,
    /// Each with its index among all that are due.
    due: VecDeque<(usize, &'a K)>,
}

impl<K> Default for Namespace<'_, K> {
    fn default() -> Self {
        Self { running: 0, due: VecDeque::new() }
    }
}

/// Of the keys in `due`, the longest due first, those that get one of `workers` now, while those in `running` have one each.
pub(super) fn turns<'a, K: Key>(
    due: impl IntoIterator<Item = &'a K>,
    running: impl IntoIterator<Item = &'a K>,
    workers: usize,
) -> Vec<K> {
    let mut namespaces: BTreeMap<&str, Namespace<'_, K>> = BTreeMap::new();
    for (index, key) in due.into_iter().enumerate() {
        namespaces.entry(key.namespace()).or_default().due.push_back((index, key));
    }
    let mut free = workers;
    for key in running {
        free = free.saturating_sub(1);
        if let Some(namespace) = namespaces.get_mut(key.namespace()) {
            namespace.running += 1;
        }
    }
    let mut chosen = Vec::new();
    loop {
        let may_have_one = namespaces.values_mut().filter(|one| one.running < free);
        let first =
            may_have_one.filter_map(|one| Some(((one.running, one.due.front()?.0), one))).min_by_key(|(key, _)| *key);
        let Some((_, namespace)) = first else { return chosen };
        let Some((_, key)) = namespace.due.pop_front() else { return chosen };
        namespace.running += 1;
        free -= 1;
        chosen.push(key.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Name = (String, String);

    impl Key for Name {
        fn namespace(&self) -> &str {
            &self.0
        }
    }

    fn keys(namespace: &str, count: usize) -> Vec<Name> {
        (0..count).map(|at| (namespace.to_owned(), format!("a{at:04}"))).collect()
    }

    /// How many of each namespace get a worker.
    fn counts(due: &[Name], running: &[Name]) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for key in turns(due, running, 64) {
            *counts.entry(key.0).or_default() += 1;
        }
        counts
    }

    fn expected<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
        counts.map(|(namespace, count)| (namespace.to_owned(), count)).into()
    }

    #[test]
    fn a_namespace_alone_leaves_as_many_workers_as_it_has() {
        let crowd = keys("crowd", 1000);
        assert_eq!(counts(&crowd, &[]), expected([("crowd", 32)]));
        assert_eq!(counts(&crowd, &crowd[..32]), expected([]));
        assert_eq!(turns(&crowd, &[], 64), crowd[..32], "the longest due first");
        assert_eq!(counts(&keys("few", 5), &[]), expected([("few", 5)]));
    }

    #[test]
    fn whoever_has_few_comes_before_a_crowd_that_is_longer_due() {
        let crowd = keys("crowd", 1000);
        let all: Vec<_> = crowd.iter().cloned().chain(keys("lab", 1)).chain(keys("team", 2)).collect();
        let first =
            |running: &[Name]| turns(&all, running, 64).into_iter().take(2).map(|one| one.0).collect::<Vec<_>>();
        assert_eq!(first(&crowd[..32]), ["lab", "team"]);
        assert_eq!(counts(&all, &[]), expected([("crowd", 31), ("lab", 1), ("team", 2)]));
    }

    #[test]
    fn namespaces_that_ask_for_everything_get_equal_shares() {
        let all: Vec<_> = keys("a", 1000).into_iter().chain(keys("b", 1000)).collect();
        assert_eq!(counts(&all, &[]), expected([("a", 22), ("b", 21)]));
        // What one of them has too much of, the other one gets as it ends.
        assert_eq!(counts(&all, &all[..40]), expected([("b", 12)]));
    }

    #[test]
    fn with_more_namespaces_than_workers_all_workers_are_used_once_each() {
        let all: Vec<_> = (0..200).flat_map(|at| keys(&format!("n{at:03}"), 2)).collect();
        let chosen = turns(&all, &[], 64);
        assert_eq!(chosen.len(), 64);
        let longest_due = (0..64).map(|at| format!("n{at:03}")).collect::<Vec<_>>();
        assert_eq!(chosen.iter().map(|one| one.0.clone()).collect::<Vec<_>>(), longest_due);
        assert_eq!(turns(&all, &chosen, 64), []);
    }
}
