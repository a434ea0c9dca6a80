//! The two formats of metrics, and who takes which.

/// Whether a value of `Accept` takes OpenMetrics; with `q=0` it says that it does not.
pub(in crate::receiver) fn accepts_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let weight = |part: &str| {
            let (name, weight) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| weight.trim().parse().unwrap_or(1.0))
        };
        let is_openmetrics = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        is_openmetrics && parts.find_map(weight).unwrap_or(1.0_f64) > 0.0
    })
}

/// OpenMetrics text as the older format has it: counters are described under their full name, no units, no end mark.
pub(super) fn to_text_format(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        // HELP comes before TYPE, and its name depends on the type.
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = typed.split_once(' ') else { continue };
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(without_exemplar(line));
            text.push('\n');
        }
    }
    text
}

/// The older format knows no exemplars, which buckets may carry.
fn without_exemplar(line: &str) -> &str {
    match line.split_once("} ") {
        Some((name, _)) if name.contains("_bucket{") => line.split_once(" # {").map_or(line, |(sample, _)| sample),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_for_those_who_take_it() {
        for (accept, wants) in [
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true),
            ("text/plain, Application/OpenMetrics-Text; version=1.0.0", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text; version=1.0.0; Q = 0.000, text/plain", false),
            ("text/plain;q=1", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(accepts_openmetrics(accept), wants, "{accept}");
        }
    }
}
