//! Several sorted files, merged by their series.

use std::ops::Range;

use arrow::array::RecordBatch;

use super::SeriesName;
use super::cursor::Cursor;
use crate::file::decode::{DecodeFileError, open_file};
use crate::schema::{LabelColumns, Table};
use crate::store::StoredFile;

/// Some rows of a series that stand one after the other in one file.
#[derive(Debug)]
pub struct Part<'a> {
    /// Which of the files.
    pub file: usize,
    /// How many of the files have the series.
    pub files: usize,
    /// Where the rows are.
    pub batch: &'a RecordBatch,
    /// Which they are.
    pub rows: Range<usize>,
}

/// Reads files that are sorted by series side by side. In memory are, of each file, some rows and the dictionaries of one row group.
pub struct SeriesMerge {
    cursors: Vec<Cursor>,
}

impl SeriesMerge {
    /// At the beginning of these files, of which the columns `names` are read, at most `rows` rows at a time. Blocks, as does all that follows.
    pub fn open<'a>(
        table: Table,
        label_columns: &LabelColumns,
        files: impl IntoIterator<Item = &'a StoredFile>,
        names: &[&str],
        rows: usize,
    ) -> Result<Self, DecodeFileError> {
        let cursor = |file: &StoredFile| {
            Cursor::new(open_file(table, label_columns, file.clone(), None)?.of_columns(names, rows))
        };
        Ok(Self { cursors: files.into_iter().map(cursor).collect::<Result<_, _>>()? })
    }

    /// Hands out the rows of the next series, file by file, and says which series it is; none at the end.
    pub fn next_series(&mut self, mut each: impl FnMut(Part<'_>)) -> Result<Option<SeriesName>, DecodeFileError> {
        let Some((metric, labels)) = self.cursors.iter().filter_map(Cursor::series).min() else { return Ok(None) };
        let series = SeriesName { metric: metric.to_owned(), labels: labels.to_owned() };
        let files = self.cursors.iter().filter(|cursor| cursor.series().is_some_and(|found| series.is(found))).count();
        for (file, cursor) in self.cursors.iter_mut().enumerate() {
            cursor.take(&series, |batch, rows| each(Part { file, files, batch, rows }))?;
        }
        Ok(Some(series))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::TimestampMillisecondType;
    use promarchive_model::{Sample, SeriesLabels};
    use proptest::prelude::*;

    use super::*;
    use crate::Location;
    use crate::file::{FileEncoder, Origin};
    use crate::store::{Root, Store};

    /// The series of a file, and how many samples each has.
    type Series = Vec<(u8, u8)>;

    #[derive(Clone, Debug)]
    struct Labels(String, String);

    impl Labels {
        fn of(series: u8) -> Self {
            Self(format!("m{}", series / 4), format!("{}", series % 4))
        }

        fn name(&self) -> SeriesName {
            SeriesName { metric: self.0.clone(), labels: format!(r#"{{"l":"{}"}}"#, self.1) }
        }
    }

    impl SeriesLabels for &Labels {
        fn metric(&self) -> &str {
            &self.0
        }

        fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
            std::iter::once(("l", self.1.as_str()))
        }
    }

    async fn put(root: &Root, name: usize, series: &Series) -> StoredFile {
        let columns = LabelColumns::default();
        let mut file = FileEncoder::new(Table::SAMPLES, &columns, &Origin::Import).unwrap();
        for &(series, samples) in series {
            file.series(&Labels::of(series)).unwrap();
            for timestamp in 0..i64::from(samples) {
                file.sample(Sample { timestamp, value: 1, start_timestamp: 0 }).unwrap();
            }
        }
        let bytes = file.finish().unwrap().bytes;
        let (name, size) = (format!("{name}.parquet"), bytes.len() as u64);
        root.put(&name, bytes.into()).await.unwrap();
        StoredFile::new(root.store().clone(), root.place(&name), size)
    }

    fn some_files() -> impl Strategy<Value = Vec<Series>> {
        let series = prop::collection::btree_map(0_u8..12, 1_u8..20, 0..8);
        prop::collection::vec(series.prop_map(|series| series.into_iter().collect()), 0..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever the files hold and however few rows are read at a time: each row comes once, series in order.
        #[test]
        fn each_row_comes_once_in_order(files in some_files(), rows in 1_usize..9) {
            let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let root = Store::open(Location::at(directory.path()).unwrap()).unwrap().table(Table::SAMPLES);
            let stored: Vec<StoredFile> = runtime.block_on(async {
                let mut stored = Vec::new();
                for (name, series) in files.iter().enumerate() {
                    stored.push(put(&root, name, series).await);
                }
                stored
            });
            let key: Vec<&str> = Table::SAMPLES.key().collect();
            let mut merge =
                SeriesMerge::open(Table::SAMPLES, &LabelColumns::default(), &stored, &key, rows).unwrap();
            let (mut last, mut found) = (None, Vec::new());
            loop {
                let mut parts = Vec::new();
                let Some(name) = merge
                    .next_series(|part| {
                        let column = part.batch.column_by_name("timestamp").unwrap();
                        let times = column.as_primitive::<TimestampMillisecondType>().values()[part.rows.clone()].to_vec();
                        parts.push((part.file, part.files, times));
                    })
                    .unwrap()
                else {
                    break;
                };
                prop_assert!(last.as_ref().is_none_or(|last| *last < name), "{last:?} {name:?}");
                for (file, holders, times) in parts {
                    let has = |series: &&Series| series.iter().any(|&(series, _)| Labels::of(series).name() == name);
                    let having = files.iter().filter(has);
                    prop_assert_eq!(holders, having.count());
                    found.extend(times.into_iter().map(|time| (file, name.clone(), time)));
                }
                last = Some(name);
            }
            let mut wanted = Vec::new();
            for (file, series) in files.iter().enumerate() {
                for &(series, samples) in series {
                    let name = Labels::of(series).name();
                    wanted.extend((0..i64::from(samples)).map(|time| (file, name.clone(), time)));
                }
            }
            found.sort();
            wanted.sort();
            prop_assert_eq!(found, wanted);
        }
    }
}
