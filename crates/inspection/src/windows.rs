//! Which files must be read side by side to find what they have in common. Pure.
//!
//! Two files share a row only where their times overlap. Flushes mostly follow one another, so that few files are open at any time of a
//! day, however many the day has.

use std::collections::BTreeSet;

/// Files to merge, and the times of rows that count in this merge. Times of different windows do not overlap, so that nothing is counted twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Indices in the list of files.
    pub(super) files: BTreeSet<usize>,
    /// Sorted ranges of timestamps, both ends included.
    pub(super) times: Vec<(i64, i64)>,
}

impl Window {
    /// Whether a row of this time counts.
    pub(super) fn contains(&self, timestamp: i64) -> bool {
        let after = self.times.partition_point(|&(first, _)| first <= timestamp);
        after.checked_sub(1).and_then(|at| self.times.get(at)).is_some_and(|&(_, last)| timestamp <= last)
    }
}

/// Windows over files with these first and last timestamps. At most `most` files are open at once, or as many as overlap at one
/// moment if those are more.
pub(super) fn windows(files: &[(i64, i64)], most: usize) -> Vec<Window> {
    // Between two neighbouring edges the same files overlap.
    let starts = files.iter().map(|&(first, _)| (first, false));
    let ends = files.iter().filter_map(|&(_, last)| Some((last.checked_add(1)?, true)));
    let edges: BTreeSet<i64> = starts.chain(ends).map(|(edge, _)| edge).collect();
    let edges: Vec<i64> = edges.into_iter().collect();
    let mut by_start: Vec<usize> = (0..files.len()).collect();
    let span = |file: usize| files.get(file).copied().unwrap_or_default();
    by_start.sort_unstable_by_key(|&file| span(file));
    let mut coming = by_start.into_iter().peekable();
    let mut active: BTreeSet<usize> = BTreeSet::new();
    let mut done = Vec::new();
    let mut window = Window::default();
    for (at, &edge) in edges.iter().enumerate() {
        active.retain(|&file| span(file).1 >= edge);
        while let Some(file) = coming.next_if(|&file| span(file).0 <= edge) {
            active.insert(file);
        }
        if active.len() < 2 {
            continue;
        }
        let last = edges.get(at + 1).map_or(i64::MAX, |next| next - 1);
        if !window.files.is_empty() && window.files.union(&active).count() > most {
            done.push(std::mem::take(&mut window));
        }
        window.files.extend(&active);
        match window.times.last_mut() {
            Some(before) if before.1.checked_add(1) == Some(edge) => before.1 = last,
            _ => window.times.push((edge, last)),
        }
    }
    if !window.files.is_empty() {
        done.push(window);
    }
    done
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flushes_in_a_row_need_no_merge_but_at_their_edges() {
        assert_eq!(windows(&[(0, 9), (10, 19), (20, 29)], 4), []);
        let edges = windows(&[(0, 10), (10, 20), (20, 30)], 2);
        assert_eq!(edges.iter().map(|w| w.times.clone()).collect::<Vec<_>>(), [[(10, 10)], [(20, 20)]]);
        assert_eq!(windows(&[(0, 10), (10, 20), (20, 30)], 3).len(), 1);
    }

    proptest! {
        #[test]
        fn every_shared_moment_is_in_one_window_with_all_its_files(
            spans in proptest::collection::vec((0_i64..60, 0_i64..20), 0..12), most in 2_usize..5,
        ) {
            let files: Vec<(i64, i64)> = spans.into_iter().map(|(first, length)| (first, first + length)).collect();
            let windows = windows(&files, most);
            for moment in 0..90 {
                let there: BTreeSet<usize> =
                    (0..files.len()).filter(|&f| (files[f].0..=files[f].1).contains(&moment)).collect();
                let found: Vec<&Window> = windows.iter().filter(|w| w.contains(moment)).collect();
                if there.len() < 2 {
                    prop_assert!(found.is_empty());
                } else {
                    prop_assert_eq!(found.len(), 1);
                    prop_assert!(there.is_subset(&found[0].files));
                    prop_assert!(found[0].files.len() <= most.max(files.len().min(found[0].files.len())));
                }
            }
            for window in &windows {
                let most_at_once = (0..90).map(|m| files.iter().filter(|f| (f.0..=f.1).contains(&m)).count()).max().unwrap_or(0);
                prop_assert!(window.files.len() <= most.max(most_at_once));
            }
        }
    }
}
