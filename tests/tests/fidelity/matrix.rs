//! Readers old and new: which versions read the tables, and how they are asked.
//!
//! `scripts/readers.sh` installs them, and says where in `PROMARCHIVE_READERS`: a line for each environment, `NAME=FOLDER`. Without
//! `PROMARCHIVE_ALL_READERS` only those are asked that are quick, and the page keeps what it says of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use promarchive_tests::program::needed;
use promarchive_tests::readers::{Reader, Worker};

use crate::archives::Archive;
use crate::value::{Row, SAMPLES, by_metric};

const TABLES: [&str; 4] = ["samples", "histograms", "exemplars", "metadata"];

/// A version of a reader, and a way to open a table with it.
pub struct Version {
    /// Where it is installed: a file of `tests/python/readers`, or one of the places below.
    environment: &'static str,
    /// What the page calls it.
    title: &'static str,
    /// The packages whose versions the page tells.
    packages: &'static [&'static str],
    /// What its users write.
    how: &'static str,
    /// What `matrix.py` calls it.
    kind: &'static str,
    words: Words,
    /// What it says when it cannot read a table at all.
    refuses: Option<&'static str>,
    /// Why not every cell is `=`.
    why: &'static str,
}

/// The environment of `tests/python/requirements.txt`.
pub const USUAL: &str = "usual";
/// Those of `tests/spark`.
pub const SPARK_4: &str = "spark";
pub const SPARK_3: &str = "spark-3.5";

/// The languages of filters.
#[derive(Clone, Copy)]
enum Words {
    Sql,
    Polars,
    Arrow,
}

impl Words {
    /// One metric; and the same, of one day.
    fn filters(self) -> [&'static str; 2] {
        match self {
            Self::Sql => ["metric = 'filters'", "metric = 'filters' AND date = DATE '2023-11-14'"],
            Self::Polars => [
                r#"pl.col("metric") == "filters""#,
                r#"(pl.col("metric") == "filters") & (pl.col("date") == datetime(2023, 11, 14).date())"#,
            ],
            Self::Arrow => [
                r#"pc.field("metric") == "filters""#,
                r#"(pc.field("metric") == "filters") & (pc.field("date") == datetime(2023, 11, 14).date())"#,
            ],
        }
    }
}

const fn version(environment: &'static str, title: &'static str, packages: &'static [&'static str]) -> Version {
    Version { environment, title, packages, how: "", kind: "", words: Words::Sql, refuses: None, why: "" }
}

impl Version {
    const fn by(self, kind: &'static str, words: Words, how: &'static str) -> Self {
        Self { kind, words, how, ..self }
    }

    const fn because(self, why: &'static str) -> Self {
        Self { why, ..self }
    }

    const fn refuses(self, saying: &'static str, why: &'static str) -> Self {
        Self { refuses: Some(saying), why, ..self }
    }

    /// Name and versions, as the page tells them.
    fn name(&self) -> String {
        named(self.environment, self.title, self.packages)
    }
}

/// A title with the versions of its packages in an environment.
pub fn named(environment: &str, title: &str, packages: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = match environment {
        USUAL => "python/requirements.txt".to_owned(),
        SPARK_4 => "spark/requirements.txt".to_owned(),
        SPARK_3 => "spark/3.5/requirements.txt".to_owned(),
        other => format!("python/readers/{other}.txt"),
    };
    let pins = fs::read_to_string(folder.join(file)).unwrap();
    let usual = fs::read_to_string(folder.join("python/requirements.txt")).unwrap();
    let pin = |package: &&str| {
        let mut lines = pins.lines().chain(usual.lines());
        let version = lines.find_map(|line| line.strip_prefix(package)?.strip_prefix("=="));
        version.unwrap_or_else(|| panic!("{package} is not pinned")).to_owned()
    };
    let versions: Vec<String> = packages.iter().map(pin).collect();
    match versions.as_slice() {
        [own] => format!("{title} {own}"),
        [own, other] => format!("{title} {own}, {} {other}", packages[1]),
        _ => panic!("{title}"),
    }
}

const SCAN_DELTA: &str = "`scan_delta` and `read_delta` before 2.1 do not convert the milliseconds of the files to the microseconds of \
    Delta's type. Use one of the other two ways";
const POLARS_PANIC: &str =
    "It panics if a filter uses a column of the file and `date` at the same time. Use `use_pyarrow=True`";
const PAGE_INDEX: &str = "Its SQL cannot read the page index that a filter needs. First run \
    `SET datafusion.execution.parquet.enable_page_index = false` with the same `QueryBuilder`, or use `to_pyarrow_table(filters=…)`";
const FILES: &str = "`pl.scan_parquet(DeltaTable(path).file_uris(), hive_partitioning=True)`";
const POLARS_ARROW: &str = "`pl.scan_delta(path, use_pyarrow=True)`";

/// From old to new, by reader.
pub const VERSIONS: &[Version] = &[
    version("oldest", "Polars", &["polars", "deltalake"])
        .by("polars", Words::Polars, "`pl.scan_delta(path)`")
        .refuses("dtypes differ for column timestamp", SCAN_DELTA),
    version("oldest", "Polars", &["polars", "deltalake"])
        .by("polars-parquet", Words::Polars, FILES)
        .refuses("RecordBatch requires all its arrays to have an equal number of rows", POLARS_PANIC),
    version("oldest", "Polars", &["polars", "deltalake"]).by("polars-pyarrow", Words::Polars, POLARS_ARROW),
    version("older", "Polars", &["polars", "deltalake"])
        .by("polars", Words::Polars, "`pl.scan_delta(path)`")
        .refuses("data type mismatch for column timestamp", SCAN_DELTA),
    version("older", "Polars", &["polars", "deltalake"]).by("polars-parquet", Words::Polars, FILES),
    version("older", "Polars", &["polars", "deltalake"]).by("polars-pyarrow", Words::Polars, POLARS_ARROW),
    version("old", "Polars", &["polars", "deltalake"])
        .by("polars", Words::Polars, "`pl.scan_delta(path)`")
        .refuses("data type mismatch for column timestamp", SCAN_DELTA),
    version("old", "Polars", &["polars", "deltalake"]).by("polars-parquet", Words::Polars, FILES),
    version("old", "Polars", &["polars", "deltalake"]).by("polars-pyarrow", Words::Polars, POLARS_ARROW),
    version(USUAL, "Polars", &["polars", "deltalake"]).by("polars", Words::Polars, "`pl.scan_delta(path)`"),
    version("oldest", "pyarrow", &["pyarrow"]).by(
        "pyarrow",
        Words::Arrow,
        "`dataset(DeltaTable(path).file_uris(), …)`",
    ),
    version(USUAL, "pyarrow", &["pyarrow"]).by("pyarrow", Words::Arrow, "`dataset(DeltaTable(path).file_uris(), …)`"),
    version("oldest", "pandas", &["pandas", "deltalake"]).by(
        "pandas-arrow",
        Words::Arrow,
        "`DeltaTable(path).to_pyarrow_table().to_pandas(types_mapper=pandas.ArrowDtype)`",
    ),
    version(USUAL, "pandas", &["pandas", "deltalake"]).by(
        "pandas",
        Words::Arrow,
        "`DeltaTable(path).to_pandas(types_mapper=pandas.ArrowDtype)`",
    ),
    version("oldest", "DuckDB", &["duckdb"]).by("duckdb-parquet", Words::Sql, "`read_parquet([…])` of `file_uris()`"),
    version(USUAL, "DuckDB", &["duckdb"]).by("duckdb", Words::Sql, "`delta_scan(path)`"),
    version("newest", "DuckDB", &["duckdb"]).by("duckdb-parquet", Words::Sql, "`read_parquet([…])` of `file_uris()`"),
    version("newest", "DuckDB", &["duckdb"]).by(
        "duckdb-arrow",
        Words::Sql,
        "`DeltaTable(path).to_pyarrow_dataset()`, registered",
    ),
    version("oldest", "deltalake", &["deltalake", "pyarrow"]).by(
        "deltalake",
        Words::Arrow,
        "`DeltaTable(path).to_pyarrow_table()`",
    ),
    version("oldest", "deltalake", &["deltalake"])
        .by("deltalake-sql", Words::Sql, "`QueryBuilder()`")
        .refuses("bad data", PAGE_INDEX),
    version("older", "deltalake", &["deltalake", "pyarrow"]).by(
        "deltalake",
        Words::Arrow,
        "`DeltaTable(path).to_pyarrow_table()`",
    ),
    version("older", "deltalake", &["deltalake"]).by("deltalake-sql", Words::Sql, "`QueryBuilder()`"),
    version("old", "deltalake", &["deltalake", "pyarrow"]).by(
        "deltalake",
        Words::Arrow,
        "`DeltaTable(path).to_pyarrow_table()`",
    ),
    version("old", "deltalake", &["deltalake"]).by("deltalake-sql", Words::Sql, "`QueryBuilder()`"),
    version(USUAL, "deltalake", &["deltalake"]).by("deltalake-sql", Words::Sql, "`QueryBuilder()`"),
    version("old", "DataFusion", &["datafusion"]).by(
        "datafusion",
        Words::Sql,
        "`register_parquet()` of each of `file_uris()`",
    ),
    version("newest", "DataFusion", &["datafusion"]).by(
        "datafusion",
        Words::Sql,
        "`register_parquet()` of each of `file_uris()`",
    ),
    version("slow", "Daft", &["daft", "deltalake"]).by("daft", Words::Sql, "`daft.read_deltalake(path)`"),
    version("slow", "ClickHouse (chdb)", &["chdb-core"])
        .by("chdb", Words::Sql, "`deltaLakeLocal('path')`")
        .because("A list is never null there: null comes out as an empty list"),
    version(SPARK_3, "Spark", &["pyspark"]).by(
        "spark-rows",
        Words::Sql,
        "`spark.read.format(\"delta\")`, `collect()`; Delta 3.3",
    ),
    version(SPARK_4, "Spark", &["pyspark"]).by(
        "spark",
        Words::Sql,
        "`spark.read.format(\"delta\")`, `toArrow()`; Delta 4",
    ),
];

/// The table of the page. `page` is the page as it stands.
pub fn table(archive: &Archive, page: &str) -> String {
    let installed = installed();
    let environments: BTreeSet<&str> = VERSIONS.iter().map(|version| version.environment).collect();
    let (lines, faults) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    let work: Vec<(&str, &Place)> =
        environments.iter().filter_map(|name| Some((*name, installed.get(*name)?))).collect();
    let next = Mutex::new(work.into_iter());
    std::thread::scope(|scope| {
        // As many as there are cores on a small machine.
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((environment, place)) = { next.lock().unwrap().next() } {
                    let mut worker = Worker::start(&place.python, "matrix.py", place.first.as_deref());
                    for (at, version) in of(environment) {
                        let (cells, wrong) = cells(version, &mut worker, archive);
                        lines.lock().unwrap().insert(at, line(version, &cells));
                        faults.lock().unwrap().extend(wrong);
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    let mut lines = lines.into_inner().unwrap();
    for (at, version) in VERSIONS.iter().enumerate().filter(|(_, version)| !installed.contains_key(version.environment))
    {
        lines.insert(at, line_of(page, version));
    }
    let head = "| reader | opened with | samples | histograms | exemplars | metadata | one metric | and one day |\n|---|---|---|---|---|---|---|---|";
    let mut table = vec![head.to_owned()];
    table.extend(lines.into_values());
    let mut notes: Vec<(Vec<String>, &str)> = Vec::new();
    for version in VERSIONS.iter().filter(|version| !version.why.is_empty()) {
        match notes.iter_mut().find(|(_, why)| *why == version.why) {
            Some((names, _)) => names.push(version.name()),
            None => notes.push((vec![version.name()], version.why)),
        }
    }
    table.push(String::new());
    table.extend(notes.into_iter().map(|(names, why)| format!("- **{}**: {why}.", names.join("; "))));
    table.join("\n")
}

/// The versions of an environment, with their places.
fn of(environment: &str) -> impl Iterator<Item = (usize, &'static Version)> {
    VERSIONS.iter().enumerate().filter(move |(_, one)| one.environment == environment)
}

/// How the Python of an environment is started.
pub struct Place {
    pub python: PathBuf,
    pub first: Option<PathBuf>,
}

/// The environments that there are, by name.
pub fn installed() -> BTreeMap<String, Place> {
    let usual = needed("PROMARCHIVE_PYTHON");
    let mut all = BTreeMap::from([
        (USUAL.to_owned(), Place { python: usual.clone(), first: None }),
        (SPARK_4.to_owned(), Place { python: needed("PROMARCHIVE_SPARK"), first: None }),
    ]);
    let all_asked_for = env::var_os("PROMARCHIVE_ALL_READERS").is_some();
    if !all_asked_for {
        // The rest of the page has it bit by bit, and its start takes longest.
        all.remove(SPARK_4);
    }
    for line in needed("PROMARCHIVE_READERS").to_str().unwrap().lines() {
        let (name, path) = line.split_once('=').unwrap_or_else(|| panic!("no NAME=FOLDER: {line:?}"));
        let place = match name {
            SPARK_3 => Place { python: path.into(), first: None },
            _ => Place { python: usual.clone(), first: Some(path.into()) },
        };
        all.insert(name.to_owned(), place);
    }
    if all_asked_for {
        let missing: Vec<_> = VERSIONS.iter().filter(|version| !all.contains_key(version.environment)).collect();
        assert!(
            missing.is_empty(),
            "not installed: {:?}",
            missing.iter().map(|one| one.environment).collect::<Vec<_>>()
        );
    }
    all
}

/// What a version makes of each table, and of two filters; and what is wrong with that, if it is not as [`VERSIONS`] has it.
fn cells(version: &Version, worker: &mut Worker, archive: &Archive) -> (Vec<String>, Vec<String>) {
    let path = archive.path();
    let mut wrong = Vec::new();
    let mut cell = |table: &'static str, filter: &str, wanted: &BTreeMap<String, Vec<Row>>| {
        let columns: &[&str] = if table == "samples" { &SAMPLES } else { &[] };
        match worker.select(version.kind, &path, table, columns, filter) {
            Ok(batches) => differences(wanted, &by_metric(&batches)),
            Err(error) => {
                if !version.refuses.is_some_and(|saying| error.contains(saying)) {
                    wrong.push(error);
                }
                "no".to_owned()
            }
        }
    };
    let mut cells: Vec<String> = Vec::new();
    for table in TABLES {
        cells.push(cell(table, "", archive.all_rows(Reader::DuckDb, table)));
    }
    for filter in version.words.filters() {
        let mut wanted = archive.all_rows(Reader::DuckDb, "samples").clone();
        wanted.retain(|metric, _| metric == "filters");
        cells.push(cell("samples", filter, &wanted));
    }
    if cells.iter().all(|cell| cell == "=") != version.why.is_empty() {
        wrong.push(format!("{cells:?} and the reason {:?}", version.why));
    }
    let wrong = wrong.into_iter().map(|text| format!("{} by {}: {text}", version.name(), version.kind)).collect();
    (cells, wrong)
}

/// `=`, or in how many rows which columns differ.
fn differences(wanted: &BTreeMap<String, Vec<Row>>, found: &BTreeMap<String, Vec<Row>>) -> String {
    let count = |rows: &BTreeMap<String, Vec<Row>>| rows.values().map(Vec::len).sum::<usize>();
    let same_length =
        |(metric, rows): (&String, &Vec<Row>)| found.get(metric).is_some_and(|other| other.len() == rows.len());
    if count(wanted) != count(found) || !wanted.iter().all(same_length) {
        return format!("{} of {} rows", count(found), count(wanted));
    }
    let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
    let pairs = wanted.iter().flat_map(|(metric, rows)| rows.iter().zip(&found[metric]));
    for (wanted, found) in pairs {
        for (name, _) in wanted.iter().filter(|(name, value)| found.get(*name) != Some(value)) {
            *columns.entry(name).or_default() += 1;
        }
    }
    let texts: Vec<_> = columns.into_iter().map(|(name, rows)| format!("`{name}` of {rows} rows")).collect();
    if texts.is_empty() { "=".to_owned() } else { texts.join(", ") }
}

fn line(version: &Version, cells: &[String]) -> String {
    format!("{} {} |", beginning(version), cells.join(" | "))
}

fn beginning(version: &Version) -> String {
    format!("| {} | {} |", version.name(), version.how)
}

/// What the page says of a version that is not installed.
fn line_of(page: &str, version: &Version) -> String {
    let beginning = beginning(version);
    let line = page.lines().find(|line| line.starts_with(&beginning));
    let advice = "install it with scripts/readers.sh --all";
    line.unwrap_or_else(|| panic!("the page has no line that begins with {beginning:?}: {advice}")).to_owned()
}
