//! The page: what went in beside what came out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use promarchive_model::Protocol;
use promarchive_tests::readers::Reader;

use crate::archives::{Archive, READERS};
use crate::cases::{Case, Section};
use crate::queries::{QUERIES, Query};
use crate::sent;
use crate::value::{Row, Value};

const SAME: &str = "=";

/// The whole page.
pub fn page(sections: &[Section], archives: &[Archive], matrix: &str) -> String {
    let mut page = include_str!("page.md").replace("{versions}", &versions());
    let tables: Vec<String> = sections.iter().map(|section| table(section, archives)).collect();
    page = page.replace("{sections}", &tables.join("\n"));
    page = page.replace("{matrix}", matrix);
    // The filters are about the readers; one protocol is enough.
    page = page.replace("{queries}", &queries(&archives[0]));
    page.replace("{filters}", &QUERIES.iter().map(words).collect::<Vec<_>>().join("\n\n"))
}

/// What the tests have pinned.
fn versions() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let pins = read("python/requirements.txt") + &read("spark/requirements.txt");
    let pin = |package: &str| {
        let line = pins.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix("=="));
        line.unwrap_or_else(|| panic!("{package} is not pinned")).to_owned()
    };
    let pom = read("spark/pom.xml");
    let delta = pom.split("<artifactId>delta-spark").nth(1).and_then(|text| text.split("<version>").nth(1));
    let delta = delta.and_then(|text| text.split('<').next()).unwrap();
    format!(
        "DuckDB {} with its `delta` extension, Polars {}, pandas {} with deltalake {}, Spark {} with Delta {delta}",
        pin("duckdb"),
        pin("polars"),
        pin("pandas"),
        pin("deltalake"),
        pin("pyspark"),
    )
}

fn table(section: &Section, archives: &[Archive]) -> String {
    let (mut kept, mut refused, mut why) = (Vec::new(), Vec::new(), Vec::new());
    let mut differing = BTreeSet::new();
    for case in &section.cases {
        let only = if case.protocols == [Protocol::V2] { " (2.0)" } else { "" };
        let first = [format!("{}{only}", case.name), went_in(section, case)];
        if let Some(answer) = refusal(section, case, archives) {
            refused.push(line(first.into_iter().chain([answer])));
            continue;
        }
        let cells = READERS.map(|(reader, _)| cell(section, case, reader, archives));
        if section.contest {
            assert!(cells.iter().all(|cell| *cell == cells[0]), "{}: {cells:?}", case.name);
            kept.push(line(first.into_iter().chain([cells[0].clone()])));
            continue;
        }
        let readers = READERS.iter().zip(&cells).filter(|(_, cell)| *cell != SAME).map(|((reader, _), _)| *reader);
        check_beside(section, case, archives);
        explained(section, case, &readers.clone().collect::<Vec<_>>(), &cells);
        differing.extend(readers);
        kept.push(line(first.into_iter().chain(cells)));
        if !case.why.is_empty() {
            why.push(format!("- **{}**: {}", case.name, case.why));
        }
    }
    for (reader, note) in section.notes {
        assert!(differing.contains(reader), "{}: nothing differs in {reader:?}", section.title);
        why.push(format!("- **{}**: {note}", crate::archives::name(*reader)));
    }
    let head = if section.contest { header(&["what", "sent", "stays"]) } else { header_of_readers(&["what", "in"]) };
    let mut parts = vec![format!("## {}\n\n{}", section.title, section.about), [vec![head], kept].concat().join("\n")];
    if !why.is_empty() {
        parts.push(why.join("\n"));
    }
    if !refused.is_empty() {
        parts.push("Refused, and in no table:".to_owned());
        parts.push([vec![header(&["what", "in", "answer"])], refused].concat().join("\n"));
    }
    parts.join("\n\n") + "\n"
}

/// Every difference has its reason, and every reason a difference.
fn explained(section: &Section, case: &Case, differing: &[Reader], cells: &[String]) {
    let noted = |reader: &&Reader| section.notes.iter().any(|(one, _)| one == *reader);
    let left = differing.iter().filter(|reader| !noted(reader)).count();
    assert_eq!(left > 0, !case.why.is_empty(), "{}, {}: {cells:?} and {:?}", section.title, case.name, case.why);
}

fn header(names: &[&str]) -> String {
    format!("| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()))
}

fn header_of_readers(first: &[&str]) -> String {
    header(&[first, &READERS.map(|(_, name)| name)].concat())
}

fn line(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

/// The columns that matter, of what was sent.
fn went_in(section: &Section, case: &Case) -> String {
    let protocol = case.protocols[case.protocols.len() - 1];
    let rows = case.named(section).into_iter().flat_map(|series| sent::rows(section.table, protocol, &series));
    rows.map(|row| shown(&row, section, case)).collect::<Vec<_>>().join("<br>")
}

fn shown(row: &Row, section: &Section, case: &Case) -> String {
    let told = |name: &&&str| match **name {
        "metric" => case.has_name(),
        name => ![Value::Null, Value::Bool(false)].contains(&row[name]),
    };
    let text = |name: &&str| {
        let value = code(&row[*name].to_string());
        // These speak for themselves.
        if ["metric", "labels", "value", "timestamp"].contains(name) || section.shown.len() == 1 {
            value
        } else {
            format!("{name} {value}")
        }
    };
    let texts: Vec<String> = section.shown.iter().filter(told).map(text).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// Why every protocol refused it; none if it was taken. Then no reader may see anything of it.
fn refusal(section: &Section, case: &Case, archives: &[Archive]) -> Option<String> {
    let metric = case.metric(section);
    let mut answers = BTreeSet::new();
    for archive in archives.iter().filter(|archive| case.protocols.contains(&archive.protocol)) {
        let answer = archive.refusal(&metric);
        if answer.is_some() {
            let rows = READERS.map(|(reader, _)| archive.rows(reader, section.table, &metric).len());
            assert_eq!(rows, [0; READERS.len()], "{}: refused, and there", case.name);
        }
        answers.insert(answer.map(ToOwned::to_owned));
    }
    assert_eq!(answers.len(), 1, "{}: the protocols differ: {answers:?}", case.name);
    answers.into_iter().next().flatten()
}

/// What a reader makes of it; of each protocol, if they differ.
fn cell(section: &Section, case: &Case, reader: Reader, archives: &[Archive]) -> String {
    let archives = archives.iter().filter(|archive| case.protocols.contains(&archive.protocol));
    let texts: Vec<(Protocol, String)> = archives
        .map(|archive| {
            let found = archive.rows(reader, section.table, &case.metric(section));
            let stayed = || found.iter().map(|row| shown(row, section, case)).collect::<Vec<_>>().join("<br>");
            let text = if section.contest { stayed() } else { compared(section, case, archive, section.table, found) };
            (archive.protocol, text)
        })
        .collect();
    if texts.iter().all(|(_, text)| *text == texts[0].1) {
        return texts[0].1.clone();
    }
    let version = |protocol: &Protocol| if *protocol == Protocol::V1 { "1.0" } else { "2.0" };
    texts.iter().map(|(protocol, text)| format!("{}: {text}", version(protocol))).collect::<Vec<_>>().join("<br>")
}

/// What stands beside it in other tables came with it, and must be as it was sent, in readers that keep everything.
fn check_beside(section: &Section, case: &Case, archives: &[Archive]) {
    for archive in archives.iter().filter(|archive| case.protocols.contains(&archive.protocol)) {
        for table in ["samples", "histograms", "exemplars"].into_iter().filter(|table| *table != section.table) {
            for reader in [Reader::DuckDb, Reader::Polars, Reader::Pandas, Reader::Spark] {
                let found = archive.rows(reader, table, &case.metric(section));
                let text = compared(section, case, archive, table, found);
                assert_eq!(text, SAME, "{}, {}: {table} in {reader:?}", section.title, case.name);
            }
        }
    }
}

/// `=`, or all columns that differ, those together that differ in the same way.
fn compared(section: &Section, case: &Case, archive: &Archive, table: &str, found: &[Row]) -> String {
    let series = case.named(section);
    let wanted: Vec<Row> = series.iter().flat_map(|series| sent::rows(table, archive.protocol, series)).collect();
    if wanted.len() != found.len() {
        return if found.is_empty() { "no row".to_owned() } else { format!("{} rows", found.len()) };
    }
    let mut differences: Vec<(String, Vec<String>)> = Vec::new();
    for (wanted, found) in wanted.iter().zip(found) {
        for (name, value) in wanted.iter().filter(|(name, value)| found[*name] != **value) {
            let how = match (value, &found[name]) {
                (value, other) if value.is_as_double(other) => "as double".to_owned(),
                (Value::Null, other) => format!("{} for null", code(&other.to_string())),
                (_, other) => code(&other.to_string()),
            };
            let name = format!("`{name}`");
            match differences.iter_mut().find(|(one, _)| *one == how) {
                None => differences.push((how, vec![name])),
                Some((_, names)) if !names.contains(&name) => names.push(name),
                Some(_) => {}
            }
        }
    }
    let texts = differences.into_iter().map(|(how, names)| format!("{} {how}", names.join(", ")));
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { SAME.to_owned() } else { texts.join("; ") }
}

fn queries(archive: &Archive) -> String {
    let mut lines = vec![header_of_readers(&["question", "samples sent that fit"])];
    for query in &QUERIES {
        let cells = READERS.map(|(reader, _)| query.cell(reader, &archive.path()));
        let first = [query.question.to_owned(), query.wanted().len().to_string()];
        lines.push(line(first.into_iter().chain(cells)));
    }
    lines.join("\n")
}

fn words(query: &Query) -> String {
    let Query { question, sql, spark, polars, pandas, .. } = query;
    let sql = spark.map_or_else(|| format!("SQL      {sql}"), |spark| format!("DuckDB   {sql}\nSpark    {spark}"));
    format!("{question}:\n\n```\n{sql}\nPolars   {polars}\npandas   {pandas}\n```")
}

/// As code in a cell of a table; what cannot be seen, escaped.
fn code(text: &str) -> String {
    let hidden = |letter: char| {
        letter.is_control() || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{feff}')
    };
    let combining = |letter: char| matches!(letter, '\u{300}'..='\u{36f}');
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            '|' => shown.push_str("\\|"),
            _ if hidden(letter) => shown.extend(letter.escape_default()),
            _ if combining(letter) => shown.extend(letter.escape_unicode()),
            _ => shown.push(letter),
        }
    }
    // Code cannot be empty.
    if shown.is_empty() { "empty".to_owned() } else { format!("`{shown}`") }
}
