//! Settings that Prometheus would refuse to load, or that would take too much of it.
//!
//! The Prometheus Operator passes the rules of an entry on without checking them (0.93), and a Prometheus that refuses one field
//! refuses the whole file: it keeps its old configuration, and does not start any more. So one archive's mistake would stop
//! somebody's monitoring; it is refused here. What is taken is a list of what is known to be good, for the release and the settings of
//! the Prometheus that gets the entry; what is doubtful is refused. Nothing is compiled, and the time of a check is bounded by the length
//! of the text.

mod expression;
mod growth;
mod queue;
mod rule;

use promarchive_api::metrics_archive::{RelabelRule, RemoteWriteSettings};
use serde_json::Value;

use super::Capabilities;

/// Most rules of an entry.
const MOST_RULES: usize = 32;
/// Most bytes of text in the rules of an entry. The object of a Prometheus has room for about 1 MiB, and its owner needs it too.
const MOST_TEXT: usize = 32 << 10;
/// What Prometheus takes for what a rule does not say.
const DEFAULT_EXPRESSION: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";
const DEFAULT_SEPARATOR: &str = ";";
/// Longest text of a tenant in a message.
const LONGEST_QUOTE: usize = 64;

/// What is refused; the text names the field under `remoteWrite`, and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("remoteWrite.{field}: {problem}")]
pub struct RefusedSettings {
    field: String,
    problem: String,
    breaks: bool,
}

impl RefusedSettings {
    /// Whether it is certain that this Prometheus does not load a configuration with it. Else it is doubtful, or too much.
    pub fn breaks_prometheus(&self) -> bool {
        self.breaks
    }
}

/// What is wrong with a field.
#[derive(Debug)]
struct Fault {
    problem: String,
    breaks: bool,
}

impl Fault {
    /// A Prometheus may load it or not, or it would take too much.
    fn refused(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), breaks: false }
    }

    /// This Prometheus does not load it.
    fn broken(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), breaks: true }
    }

    fn at(self, field: impl Into<String>) -> RefusedSettings {
        RefusedSettings { field: field.into(), problem: self.problem, breaks: self.breaks }
    }
}

/// Checks everything that an archive may set. `is_foreign`: the Prometheus is of another namespace.
pub(super) fn check(
    settings: &RemoteWriteSettings,
    prometheus: &Capabilities,
    is_foreign: bool,
) -> Result<(), RefusedSettings> {
    check_rules(&settings.write_relabel_configs, prometheus)?;
    match &settings.queue {
        Some(given) => queue::check(given, prometheus, is_foreign),
        None => Ok(()),
    }
}

fn check_rules(rules: &[RelabelRule], prometheus: &Capabilities) -> Result<(), RefusedSettings> {
    let field = "writeRelabelConfigs";
    if rules.len() > MOST_RULES {
        return Err(
            Fault::refused(format!("there are {} rules, but at most {MOST_RULES} are allowed", rules.len())).at(field)
        );
    }
    let text = text_bytes(rules);
    if text > MOST_TEXT {
        let problem = format!(
            "all text in the rules has {text} bytes, but at most {MOST_TEXT} bytes are allowed: shorten the rules"
        );
        return Err(Fault::refused(problem).at(field));
    }
    for (index, one) in rules.iter().enumerate() {
        rule::check(one, prometheus).map_err(|(part, fault)| {
            fault.at(format!("{field}[{index}]{}{part}", if part.is_empty() { "" } else { "." }))
        })?;
    }
    growth::check(rules).map_err(|(index, fault)| fault.at(format!("{field}[{index}]")))
}

fn text_bytes(rules: &[RelabelRule]) -> usize {
    rules.iter().map(rule::text_bytes).sum()
}

/// Whether the operator can have written them.
fn is_small(rules: &[RelabelRule]) -> bool {
    rules.len() <= MOST_RULES && text_bytes(rules) <= MOST_TEXT
}

/// Whether the rules of an entry that is in the list of a Prometheus stop it: it is certain that they are not loaded, or they are there to
/// take all its memory.
pub(super) fn breaks(entry: &Value, prometheus: &Capabilities) -> bool {
    let rules = entry.get("writeRelabelConfigs").cloned().unwrap_or_default();
    let rules: Vec<RelabelRule> = serde_json::from_value(rules).unwrap_or_default();
    let is_broken = |one| rule::check(one, prometheus).is_err_and(|(_, fault): (_, Fault)| fault.breaks);
    rules.iter().any(is_broken) || (is_small(&rules) && growth::is_deadly(&rules))
}

/// A tenant's text for a message: cut, and without control characters.
fn quoted(text: &str) -> String {
    let mut quoted: String = text.chars().take(LONGEST_QUOTE).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        quoted.push('…');
    }
    format!("\"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use promarchive_api::metrics_archive::PrometheusKind;
    use serde_json::json;

    use super::*;

    fn verdict(settings: Value) -> Result<(), RefusedSettings> {
        let prometheus = Capabilities::of(PrometheusKind::Prometheus, &json!({"version": "3.4"}), None);
        check(&serde_json::from_value(settings).unwrap(), &prometheus, false)
    }

    #[test]
    fn the_message_names_the_field() {
        for (settings, message) in [
            (
                json!({"writeRelabelConfigs": [{"action": "keep"}, {"action": "keep", "regex": "a**"}]}),
                "remoteWrite.writeRelabelConfigs[1].regex: at character 3: ",
            ),
            (
                json!({"writeRelabelConfigs": [{"action": "hashmod", "targetLabel": "x"}]}),
                "remoteWrite.writeRelabelConfigs[0]: modulus is missing",
            ),
            (json!({"queue": {"capacity": 100_001}}), "remoteWrite.queue.capacity: 100001 is greater than"),
        ] {
            let refused = verdict(settings).unwrap_err().to_string();
            assert!(refused.starts_with(message), "{refused}");
        }
    }

    #[test]
    fn an_entry_takes_a_bounded_part_of_the_object() {
        let rule = json!({"action": "drop", "regex": "x".repeat(4_096)});
        assert_eq!(verdict(json!({"writeRelabelConfigs": vec![rule.clone(); 8]})), Ok(()));
        let refused = verdict(json!({"writeRelabelConfigs": vec![rule; 9]})).unwrap_err();
        assert!(refused.to_string().contains("36864 bytes, but at most 32768"), "{refused}");
        let refused = verdict(json!({"writeRelabelConfigs": vec![json!({"action": "drop"}); 33]})).unwrap_err();
        assert!(refused.to_string().contains("33 rules"), "{refused}");
    }

    #[test]
    fn only_what_is_certain_breaks_a_prometheus() {
        let prometheus = Capabilities::of(PrometheusKind::Prometheus, &json!({"version": "3.4"}), None);
        for (rule, expected) in [
            (json!({"action": "drop", "regex": "a**"}), true),
            (json!({"action": "labelmap", "replacement": ""}), true),
            (json!({"action": "drop", "regex": "\\Qa\\E"}), false),
            (json!({"action": "drop", "regex": "up"}), false),
            (json!({"action": "sideways"}), false),
            (json!("rule"), false),
        ] {
            assert_eq!(breaks(&json!({"writeRelabelConfigs": [rule]}), &prometheus), expected, "{rule}");
        }
        // As it was found: the operator has written these, and Prometheus died of them.
        let join = json!({"sourceLabels": ["x", "x"], "separator": "", "targetLabel": "x"});
        for (many, expected) in [(4, false), (21, true)] {
            let entry = json!({"writeRelabelConfigs": vec![join.clone(); many]});
            assert_eq!(breaks(&entry, &prometheus), expected, "{many}");
        }
        assert!(!breaks(&json!({}), &prometheus));
    }

    #[test]
    fn a_tenants_text_is_cut_and_escaped() {
        assert_eq!(quoted("a\u{1b}\n"), "\"a\\u{1b}\\n\"");
        assert!(quoted(&"é".repeat(1_000_000)).len() < 200);
    }
}
