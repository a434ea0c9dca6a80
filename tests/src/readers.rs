//! The tables of an archive as other tools read them: Python runs `dump.py`, Arrow carries every bit over.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;

use crate::program::needed;

/// A tool that people read tables with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// DuckDB, its delta extension.
    DuckDb,
    /// Polars.
    Polars,
    /// pandas, by deltalake.
    Pandas,
}

impl Reader {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DuckDb, Self::Polars, Self::Pandas];

    fn as_str(self) -> &'static str {
        match self {
            Self::DuckDb => "duckdb",
            Self::Polars => "polars",
            Self::Pandas => "pandas",
        }
    }

    /// The rows of a table: these columns, or those that `dump.py` gives without being asked.
    pub fn read(self, archive: &Path, table: &str, columns: Option<&str>) -> Vec<RecordBatch> {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("rows.arrow");
        let mut command = Command::new(needed("PROMARCHIVE_PYTHON"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/dump.py"));
        command.args(["--reader", self.as_str()]).arg("--output").arg(&output);
        if let Some(columns) = columns {
            command.args(["--columns", columns]);
        }
        let done = command.arg(archive).arg(table).output().unwrap();
        assert!(done.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&done.stderr));
        let batches = StreamReader::try_new_buffered(File::open(&output).unwrap(), None).unwrap();
        batches.map(Result::unwrap).collect()
    }
}
