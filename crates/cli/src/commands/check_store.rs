//! `promarchive check-store`: whether an archive can be kept in a bucket.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use promarchive_archive::Location;
use promarchive_archive::store::Store;
use promarchive_archive::store::probe::{Check, Effort, examine};
use promarchive_model::environment::SystemEntropy;
use promarchive_model::quote::visible;
use serde_json::{Value, json};

use super::output::{plain_table, print};
use crate::arguments::{CheckStoreArguments, Output};
use crate::failure::Failure;

/// Tries a store, and prints what it can do.
pub(crate) async fn run(arguments: CheckStoreArguments) -> Result<ExitCode, Failure> {
    let store = Location::resolve(&arguments.url).and_then(Store::open).map_err(Failure::usage)?;
    if store.endpoint().is_none() {
        return Err(Failure::usage(format!(
            "{} is a directory: a receiver tries it when it starts; give the URL of a bucket, such as s3://bucket/archive",
            store.location()
        )));
    }
    let started = Instant::now();
    let checks = examine(&store, Effort::FULL, &SystemEntropy).await;
    let report = Report { store: &store, checks: &checks, took: started.elapsed() };
    let answer = match arguments.output {
        Output::Json => report.json(),
        Output::Table => report.text(),
    };
    print(&answer, arguments.output)?;
    match report.failed() {
        None => Ok(ExitCode::SUCCESS),
        Some((check, cause)) => {
            let what = format!("{}: {cause}", check.name);
            Err(Failure::work("no archive can be kept in this store", what))
        }
    }
}

struct Report<'a> {
    store: &'a Store,
    checks: &'a [Check],
    took: Duration,
}

impl Report<'_> {
    /// The first check that the store has not passed.
    fn failed(&self) -> Option<(&Check, &str)> {
        self.checks.iter().find_map(|check| Some((check, check.result.as_ref().err()?.as_str())))
    }

    fn json(&self) -> String {
        let check = |check: &Check| -> Value {
            json!({"check": check.name, "ok": check.result.is_ok(), "detail": check.result.as_ref().err()})
        };
        let checks: Vec<Value> = self.checks.iter().map(check).collect();
        let report = json!({
            "archive": self.store.location().to_string(),
            "endpoint": self.store.endpoint(),
            "ok": self.failed().is_none(),
            "durationSeconds": self.took.as_secs_f64(),
            "checks": checks,
        });
        format!("{report:#}\n")
    }

    fn text(&self) -> String {
        let mut table = plain_table(&["CHECK", "RESULT", "WHAT"], 3);
        for Check { name, what, result } in self.checks {
            let (result, what) = match result {
                Ok(()) => ("ok", (*what).to_owned()),
                Err(cause) => ("FAILED", visible(cause).into_owned()),
            };
            table.add_row(vec![(*name).to_owned(), result.to_owned(), what]);
        }
        let mut out = format!("Store {}\n\n{}\n", visible(&self.store.whereabouts()), table.trim_fmt());
        let verdict =
            if self.failed().is_none() { "an archive can be kept here" } else { "no archive can be kept here" };
        let _ = writeln!(out, "\n{verdict} (tried in {:.1} s)", self.took.as_secs_f64());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_said_and_named_first() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Location::at(directory.path()).unwrap()).unwrap();
        let check = |name, result| Check { name, what: "what it is", result };
        let checks = [check("put", Ok(())), check("list", Err("not\u{1b} there".to_owned()))];
        let report = Report { store: &store, checks: &checks, took: Duration::from_millis(1234) };
        assert_eq!(report.failed().map(|(check, cause)| (check.name, cause)), Some(("list", "not\u{1b} there")));
        let text = report.text();
        assert!(text.contains("FAILED") && text.ends_with("no archive can be kept here (tried in 1.2 s)\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((&json["ok"], &json["checks"][0]["ok"]), (&json!(false), &json!(true)));
        let sound = Report { checks: &checks[..1], ..report };
        assert!(sound.text().contains("\nan archive can be kept here"), "{}", sound.text());
    }
}
