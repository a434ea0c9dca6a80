//! Where the rows of a data file come from.
//!
//! An origin is data, not a name: the log's `add` action says it in its `tags`, under [`ORIGIN_TAG`], and the file itself in its footer, under
//! the same key. As text it is one of
//!
//! ```text
//! flush <writer> <position>                     the records of a WAL up to this position, from behind the flush before
//! merge <level> <writer>:<first>-<last> …       the rows of one day of all flushes of these writers, from one position to another
//! import                                        what a person had brought in
//! heal                                          what was fetched to fill a gap
//! ```
//!
//! Files of earlier versions have no such tag. Their names say which flush wrote them, and that is read here and nowhere else. A file of
//! another program has neither: [`Origin::Foreign`].

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use promarchive_model::WriterId;

use super::path::DataFilePath;

/// The key of the origin in the tags of an `add` action and in a file's footer.
pub const ORIGIN_TAG: &str = "promarchive.origin";

/// Where the rows of a data file come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// One flush.
    Flush {
        /// Whose WAL.
        writer: WriterId,
        /// Last position of the WAL in it.
        position: u64,
    },
    /// Several flushes, merged.
    Merge {
        /// How many merges deep.
        level: u8,
        /// Whose flushes, and the positions of the first and the last of them. No writer is there twice.
        flushes: Vec<(WriterId, RangeInclusive<u64>)>,
    },
    /// A person had it brought in.
    Import,
    /// It was fetched to fill a gap.
    Heal,
    /// Another program wrote it, or a later version of this one.
    Foreign,
}

impl Origin {
    /// The origin of a file whose `add` action has this tag, if it has one, and this path.
    pub fn of(tag: Option<&str>, path: &str) -> Self {
        match tag {
            Some(tag) => tag.parse().unwrap_or(Self::Foreign),
            None => DataFilePath::parse(path)
                .map_or(Self::Foreign, |path| Self::Flush { writer: path.writer, position: path.position }),
        }
    }

    /// Whether rows of this flush are, or were, in the file.
    pub fn has(&self, writer: WriterId, position: u64) -> bool {
        match self {
            Self::Flush { writer: of, position: at } => (*of, *at) == (writer, position),
            Self::Merge { flushes, .. } => flushes.iter().any(|(of, range)| *of == writer && range.contains(&position)),
            Self::Import | Self::Heal | Self::Foreign => false,
        }
    }

    /// The newest flush of each writer in it.
    pub fn flushes(&self) -> Vec<(WriterId, u64)> {
        match self {
            Self::Flush { writer, position } => vec![(*writer, *position)],
            Self::Merge { flushes, .. } => flushes.iter().map(|(writer, range)| (*writer, *range.end())).collect(),
            Self::Import | Self::Heal | Self::Foreign => Vec::new(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flush { writer, position } => write!(f, "flush {writer} {position}"),
            Self::Merge { level, flushes } => {
                write!(f, "merge {level}")?;
                flushes.iter().try_for_each(|(writer, range)| write!(f, " {writer}:{}-{}", range.start(), range.end()))
            }
            Self::Import => f.write_str("import"),
            Self::Heal => f.write_str("heal"),
            Self::Foreign => f.write_str("foreign"),
        }
    }
}

/// A text that is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown file origin")]
pub struct UnknownOrigin;

impl FromStr for Origin {
    type Err = UnknownOrigin;

    fn from_str(text: &str) -> Result<Self, UnknownOrigin> {
        let mut words = text.split(' ');
        let read = match words.next() {
            Some("flush") => flush(&mut words),
            Some("merge") => merge(&mut words),
            Some("import") => Some(Self::Import),
            Some("heal") => Some(Self::Heal),
            _ => None,
        };
        // What is written in another way is not ours.
        read.filter(|origin| origin.to_string() == text).ok_or(UnknownOrigin)
    }
}

fn flush<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Origin> {
    Some(Origin::Flush { writer: words.next()?.parse().ok()?, position: words.next()?.parse().ok()? })
}

fn merge<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Origin> {
    let level = words.next()?.parse().ok()?;
    let of_writer = |word: &str| {
        let (writer, range) = word.split_once(':')?;
        let (first, last) = range.split_once('-')?;
        Some((writer.parse().ok()?, first.parse().ok()?..=last.parse().ok()?))
    };
    let flushes: Vec<(WriterId, RangeInclusive<u64>)> = words.map(of_writer).collect::<Option<_>>()?;
    (!flushes.is_empty() && flushes.iter().all(|(_, range)| !range.is_empty()))
        .then_some(Origin::Merge { level, flushes })
}

#[cfg(test)]
mod tests {
    use promarchive_model::Date;
    use proptest::prelude::*;

    use super::*;

    fn origin() -> impl Strategy<Value = Origin> {
        let range = (any::<u64>(), any::<u64>()).prop_map(|(a, b)| a.min(b)..=a.max(b));
        let flushes = prop::collection::vec((any::<u128>().prop_map(WriterId::from_u128), range), 1..4);
        prop_oneof![
            (any::<u128>(), any::<u64>())
                .prop_map(|(writer, position)| Origin::Flush { writer: WriterId::from_u128(writer), position }),
            (any::<u8>(), flushes).prop_map(|(level, flushes)| Origin::Merge { level, flushes }),
            Just(Origin::Import),
            Just(Origin::Heal),
        ]
    }

    proptest! {
        #[test]
        fn an_origin_is_read_as_it_is_written(origin in origin()) {
            prop_assert_eq!(Origin::of(Some(&origin.to_string()), "x"), origin.clone());
            for (writer, position) in origin.flushes() {
                prop_assert!(origin.has(writer, position));
            }
        }

        #[test]
        fn no_text_is_taken_for_what_it_is_not(text in "(flush|merge|import|heal| |:|-|[0-9a-f]{1,32}){0,6}") {
            if let Ok(origin) = text.parse::<Origin>() {
                prop_assert_eq!(origin.to_string(), text);
            }
        }
    }

    #[test]
    fn what_has_no_tag_says_its_flush_by_its_name() {
        let writer = WriterId::from_u128(0xabc);
        let path = DataFilePath { date: Date(20_779), position: 42, writer, nonce: 7 }.to_string();
        assert_eq!(Origin::of(None, &path), Origin::Flush { writer, position: 42 });
        assert_eq!(Origin::of(Some("merge 1 00000000000000000000000000000abc:1-42"), &path).flushes(), [(writer, 42)]);
        for (tag, path) in [(None, "date=2026-11-22/part-0.parquet"), (Some("a later word"), path.as_str())] {
            assert_eq!(Origin::of(tag, path), Origin::Foreign);
        }
    }

    #[test]
    fn a_merged_file_has_the_flushes_between_its_first_and_its_last() {
        let [a, b] = [1, 2].map(WriterId::from_u128);
        let merged = Origin::Merge { level: 1, flushes: vec![(a, 3..=9), (b, 5..=5)] };
        assert_eq!([2, 3, 7, 9, 10].map(|position| merged.has(a, position)), [false, true, true, true, false]);
        assert_eq!([4, 5, 6].map(|position| merged.has(b, position)), [false, true, false]);
        assert_eq!(merged.flushes(), [(a, 9), (b, 5)]);
    }
}
