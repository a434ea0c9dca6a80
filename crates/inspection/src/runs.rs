//! The indices of a dictionary-encoded column as runs, without unfolding them into rows.
//!
//! A data page holds the width of an index in bits (one byte), then Parquet's hybrid of run lengths and bit-packed groups of 8 (Encodings.md,
//! "RLE/Bit-Packing Hybrid"). Rows are sorted by series, so a series of any length is one run and at most 14 single indices.

/// A run of equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Index in the dictionary.
    pub(super) index: u32,
    pub(super) rows: u64,
}

/// Runs of a column in a row group: more than it can have series, whose label sets fill it at 8 MiB.
const MOST_RUNS: usize = 4 << 20;

/// A page that is not as this program writes it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// It does not hold what its header promises.
    #[error("a page has indices for only {found} of {expected} rows")]
    Ends {
        /// Rows that are there.
        found: u64,
        /// Rows that should be there.
        expected: u64,
    },
    /// The index changes so often that rows cannot be sorted by series.
    #[error("the rows are not sorted: they have more than {MOST_RUNS} runs")]
    TooManyRuns,
}

/// Appends the runs of one page of `rows` indices; neighbouring runs of one index become one.
pub(super) fn append_runs(page: &[u8], rows: u64, runs: &mut Vec<Run>) -> Result<(), Malformed> {
    let mut found = 0;
    let mut rest = page.split_first();
    while found < rows {
        let end = Malformed::Ends { found, expected: rows };
        let Some((&width, bytes)) = rest else { return Err(end) };
        let width = usize::from(width);
        let Some((header, bytes)) = varint(bytes).filter(|_| width <= 32) else { return Err(end) };
        let left = rows - found;
        let (used, after) = if header & 1 == 0 {
            repeated(header >> 1, width, bytes, left, runs)
        } else {
            packed(header >> 1, width, bytes, left, runs)
        }
        .ok_or(if runs.len() < MOST_RUNS { end } else { Malformed::TooManyRuns })?;
        found += used;
        rest = page.first().map(|width| (width, after));
    }
    Ok(())
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

fn repeated<'a>(count: u64, width: usize, bytes: &'a [u8], left: u64, runs: &mut Vec<Run>) -> Option<(u64, &'a [u8])> {
    let (value, rest) = bytes.split_at_checked(width.div_ceil(8))?;
    let index = value.iter().rev().fold(0_u32, |index, &byte| index << 8 | u32::from(byte));
    let rows = count.min(left);
    push(runs, Run { index, rows })?;
    Some((rows, rest))
}

fn packed<'a>(groups: u64, width: usize, bytes: &'a [u8], left: u64, runs: &mut Vec<Run>) -> Option<(u64, &'a [u8])> {
    let length = usize::try_from(groups).ok()?.checked_mul(width)?;
    let (packed, rest) = bytes.split_at_checked(length)?;
    // The last group is filled up.
    let rows = groups.checked_mul(8)?.min(left);
    for row in 0..usize::try_from(rows).ok()? {
        push(runs, Run { index: unpack(packed, row, width)?, rows: 1 })?;
    }
    Some((rows, rest))
}

fn unpack(packed: &[u8], row: usize, width: usize) -> Option<u32> {
    let (first, shift) = (row * width / 8, row * width % 8);
    let bytes = packed.get(first..(first + (shift + width).div_ceil(8)).min(packed.len()))?;
    let bits = bytes.iter().rev().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    u32::try_from(bits >> shift & ((1 << width) - 1)).ok()
}

/// None if there are too many.
fn push(runs: &mut Vec<Run>, run: Run) -> Option<()> {
    let room = runs.len() < MOST_RUNS;
    match runs.last_mut() {
        Some(last) if last.index == run.index => last.rows = last.rows.saturating_add(run.rows),
        _ if run.rows == 0 => {}
        _ if room => runs.push(run),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(index: u32, rows: u64) -> Run {
        Run { index, rows }
    }

    #[test]
    fn repeated_and_packed_runs() {
        // Width 3: 10 times 5, then the specification's example of 0 to 7 bit-packed.
        let page = [3, 10 << 1, 5, 0b11, 0x88, 0xc6, 0xfa];
        let mut runs = Vec::new();
        append_runs(&page, 18, &mut runs).unwrap();
        assert_eq!(runs, [vec![run(5, 10)], (0..8).map(|index| run(index, 1)).collect()].concat());
        assert_eq!(append_runs(&page, 19, &mut Vec::new()), Err(Malformed::Ends { found: 18, expected: 19 }));
        assert_eq!(append_runs(&[], 1, &mut Vec::new()), Err(Malformed::Ends { found: 0, expected: 1 }));
    }

    #[test]
    fn one_entry_takes_no_bits() {
        let mut runs = Vec::new();
        append_runs(&[0, 200 << 1 & 0x7f | 0x80, 3], 200, &mut runs).unwrap();
        assert_eq!(runs, [run(0, 200)]);
    }

    proptest! {
        #[test]
        fn never_panics(page in proptest::collection::vec(any::<u8>(), 0..40), rows in 0_u64..1000) {
            let _ = append_runs(&page, rows, &mut Vec::new());
        }
    }

    #[test]
    fn indices_that_change_without_end_are_refused() {
        // One bit an index, 0 and 1 in turn.
        let groups = MOST_RUNS / 8 + 1;
        let mut page = vec![1];
        let mut header = (groups as u64) << 1 | 1;
        while header >= 0x80 {
            page.push(header as u8 | 0x80);
            header >>= 7;
        }
        page.push(header as u8);
        page.resize(page.len() + groups, 0xaa);
        let mut runs = Vec::new();
        assert_eq!(append_runs(&page, groups as u64 * 8, &mut runs), Err(Malformed::TooManyRuns));
        assert_eq!(append_runs(&page, MOST_RUNS as u64, &mut Vec::new()), Ok(()));
    }
}
