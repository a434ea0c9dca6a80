//! The tables of an archive as other tools read them: Python runs `dump.py`, Arrow carries every bit over.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use serde_json::Value;

use crate::program::needed;

/// A tool that people read tables with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// DuckDB, its delta extension.
    DuckDb,
    /// Polars.
    Polars,
    /// pandas, by deltalake, with Arrow's types.
    Pandas,
    /// The same with NumPy's types, which is what it does by itself. They have no null in numbers.
    PandasNumpy,
    /// Spark, with Delta. Its start takes as long as the others' whole work.
    Spark,
}

impl Reader {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::DuckDb, Self::Polars, Self::Pandas, Self::PandasNumpy, Self::Spark];

    /// What `dump.py` calls it.
    fn as_str(self) -> &'static str {
        match self {
            Self::DuckDb => "duckdb",
            Self::Polars => "polars",
            Self::Pandas => "pandas",
            Self::PandasNumpy => "pandas-numpy",
            Self::Spark => "spark",
        }
    }

    /// The variable that says where its Python is.
    fn python(self) -> &'static str {
        if self == Self::Spark { "PROMARCHIVE_SPARK" } else { "PROMARCHIVE_PYTHON" }
    }

    /// The rows of a table: these columns, or those that `dump.py` gives without being asked.
    pub fn read(self, archive: &Path, table: &str, columns: &[&str]) -> Vec<RecordBatch> {
        self.select(archive, table, columns, "")
    }

    /// The same of the rows that a filter lets pass, in the words of the reader's users: see `dump.py`.
    pub fn select(self, archive: &Path, table: &str, columns: &[&str], filter: &str) -> Vec<RecordBatch> {
        let mut worker = WORKERS[self as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let worker = worker.get_or_insert_with(|| Worker::start(&needed(self.python()), "dump.py", None));
        worker
            .select(self.as_str(), archive, table, columns, filter)
            .unwrap_or_else(|error| panic!("{self:?}\n{error}"))
    }
}

/// One a reader, shared by the tests of this process: starting one takes longer than reading a small table.
static WORKERS: [Mutex<Option<Worker>>; Reader::ALL.len()] = [const { Mutex::new(None) }; Reader::ALL.len()];

/// A Python that reads tables. It ends when its input ends, which is at the latest when this process does. After a failure it is as
/// good as before: one that has ended, as some readers make it, is started anew.
pub struct Worker {
    command: Command,
    process: Process,
}

/// A Python that has been started.
struct Process {
    child: Child,
    jobs: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let (jobs, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, jobs, answers }
    }

    /// Does a job; what it answers, or none if it has ended.
    fn work(&mut self, job: &[&str]) -> Option<Value> {
        writeln!(self.jobs, "{}", Value::from(job)).ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        serde_json::from_str(&answer).ok()
    }
}

impl Worker {
    /// `script` is of `tests/python`; modules in the folder `first` come before those of the Python.
    pub fn start(python: &Path, script: &str, first: Option<&Path>) -> Self {
        let mut command = Command::new(python);
        command.arg(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/python")).join(script)).arg("--jobs");
        if let Some(first) = first {
            command.env("PYTHONPATH", first);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = Process::start(&mut command);
        Self { command, process }
    }

    /// The rows of a table, as [`Reader::select`] gives them; or why there are none.
    pub fn select(
        &mut self,
        reader: &str,
        archive: &Path,
        table: &str,
        columns: &[&str],
        filter: &str,
    ) -> Result<Vec<RecordBatch>, String> {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("rows.arrow");
        let mut job = vec!["--reader", reader, "--output", output.to_str().unwrap()];
        let columns = columns.join(",");
        if !columns.is_empty() {
            job.extend(["--columns", &columns]);
        }
        if !filter.is_empty() {
            job.extend(["--where", filter]);
        }
        job.extend([archive.to_str().unwrap(), table]);
        self.work(&job).map_err(|error| format!("{job:?}\n{error}"))?;
        let batches = StreamReader::try_new_buffered(File::open(&output).unwrap(), None).unwrap();
        Ok(batches.map(Result::unwrap).collect())
    }

    /// Does a job that the script knows; or why it is not done.
    pub fn work(&mut self, job: &[&str]) -> Result<(), String> {
        let Some(answer) = self.process.work(job) else {
            let _ = self.process.child.kill();
            let status = self.process.child.wait().unwrap();
            self.process = Process::start(&mut self.command);
            return Err(format!("the reader's process has ended: {status}"));
        };
        match answer {
            Value::Null => Ok(()),
            error => Err(error.as_str().unwrap_or_default().to_owned()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As readers do that have a fault in their native code.
    #[test]
    fn a_reader_that_ends_its_process_is_an_error_and_reads_on() {
        let python = needed("PROMARCHIVE_PYTHON");
        let directory = tempfile::tempdir().unwrap();
        // Modules in this folder come first: importing this one is the end.
        std::fs::write(directory.path().join("polars.py"), "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
            .unwrap();
        let mut worker = Worker::start(&python, "dump.py", Some(directory.path()));
        for _ in 0..2 {
            let error = worker.select("polars", directory.path(), "samples", &[], "").unwrap_err();
            assert!(error.contains("the reader's process has ended: signal: 11"), "{error}");
        }
        // What Rust's panics become in Python is no `Exception`.
        std::fs::write(directory.path().join("polars.py"), "raise BaseException('a panic')\n").unwrap();
        let error = worker.select("polars", directory.path(), "samples", &[], "").unwrap_err();
        assert!(error.contains("a panic"), "{error}");
    }
}
