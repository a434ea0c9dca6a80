//! Another tool reads the tables: `tests/python/ledger_reader.py`, one process for all tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// DuckDB's `delta_scan`.
    DuckDb,
    /// Polars' `scan_delta`.
    Polars,
    /// delta-rs by way of the `deltalake` package.
    DeltaLake,
}

/// The content of an archive.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(super) samples: Vec<RecordBatch>,
    pub(super) histograms: Vec<RecordBatch>,
    pub(super) exemplars: Vec<RecordBatch>,
    pub(super) metadata: Vec<RecordBatch>,
}

impl Tables {
    /// The timestamps of all rows of samples, milliseconds since the epoch.
    pub fn sample_timestamps(&self) -> Vec<i64> {
        let column = |batch: &RecordBatch| {
            let column = batch.column_by_name("timestamp_ms").expect("a column timestamp_ms");
            column.as_primitive::<Int64Type>().values().to_vec()
        };
        self.samples.iter().flat_map(column).collect()
    }
}

/// Reads all tables of an archive.
///
/// # Panics
/// If the tool cannot be started; what it says about a table that it cannot read is the error.
pub fn read_tables(tool: Tool, archive: &Path) -> Result<Tables, String> {
    read_tables_with(tool, archive, &BTreeMap::new())
}

/// The same of an archive that these variables say how to reach.
pub fn read_tables_with(tool: Tool, archive: &Path, environment: &BTreeMap<String, String>) -> Result<Tables, String> {
    static READER: OnceLock<Mutex<Reader>> = OnceLock::new();
    let mut reader = READER.get_or_init(|| Mutex::new(Reader::start())).lock().unwrap_or_else(PoisonError::into_inner);
    let mut read = |table: &str| {
        let read = reader.read(tool, archive, table, environment);
        read.map_err(|error| format!("{tool:?}, table {table}: {error}"))
    };
    Ok(Tables {
        samples: read("samples")?,
        histograms: read("histograms")?,
        exemplars: read("exemplars")?,
        metadata: read("metadata")?,
    })
}

/// The process. It ends when the test does: its input is then closed.
struct Reader {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Reader {
    fn start() -> Self {
        let python = std::env::var("PROMARCHIVE_PYTHON")
            .expect("PROMARCHIVE_PYTHON is not set: run `make test` or `make crash`");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/ledger_reader.py");
        let mut command = Command::new(&python);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {python}: {error}"));
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are piped")
        };
        Self { _child: child, input, output: BufReader::new(output) }
    }

    fn read(
        &mut self,
        tool: Tool,
        archive: &Path,
        table: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<Vec<RecordBatch>, String> {
        let reader = match tool {
            Tool::DuckDb => "duckdb",
            Tool::Polars => "polars",
            Tool::DeltaLake => "deltalake",
        };
        let request = json!({"reader": reader, "archive": archive, "table": table, "environment": environment});
        let broken = |error: std::io::Error| format!("ledger_reader.py is gone: {error}");
        writeln!(self.input, "{request}").map_err(broken)?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(broken)?;
        let answer: Value =
            serde_json::from_str(&line).map_err(|error| format!("ledger_reader.py said {line:?}: {error}"))?;
        if let Some(error) = answer.get("error") {
            return Err(error.to_string());
        }
        let length = answer.get("bytes").and_then(Value::as_u64).and_then(|length| usize::try_from(length).ok());
        let mut stream = vec![0; length.ok_or("ledger_reader.py gave no length")?];
        self.output.read_exact(&mut stream).map_err(broken)?;
        let batches = StreamReader::try_new(stream.as_slice(), None).and_then(Iterator::collect);
        batches.map_err(|error| error.to_string())
    }
}
