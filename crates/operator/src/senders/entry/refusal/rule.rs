//! One rule of relabelling, checked as `relabel.Config.Validate` of Prometheus does, from 2.x to 3.16.
//!
//! | what | which Prometheus |
//! |---|---|
//! | label names in UTF-8 | 3.0, if `nameValidationScheme` is not `Legacy` |
//! | templates such as `a.b_${1}`, with characters in UTF-8 | 3.3, likewise (`3.0` has only letters, digits and `_` around references) |
//! | templates under `Legacy` | all but 3.7, which takes none |
//!
//! And one thing more that is not Prometheus's: the configuration reloader of the Prometheus Operator replaces `$(NAME)` by an environment
//! variable in the whole file, and does not go on if there is none of that name. So nothing of ours has `$(` in it.

use promarchive_api::metrics_archive::{RelabelAction, RelabelRule};

use super::super::Capabilities;
use super::{DEFAULT_REPLACEMENT, Fault, expression, quoted};

const MODULI: std::ops::RangeInclusive<i64> = 1..=4_294_967_295;

/// The field and what is wrong with it; the field is empty if it is the rule as a whole.
type Wrong = (&'static str, Fault);

pub(super) fn check(rule: &RelabelRule, prometheus: &Capabilities) -> Result<(), Wrong> {
    for (field, text) in texts(rule) {
        check_text(text).map_err(|fault| (field, fault))?;
    }
    if let Some(regex) = &rule.regex {
        expression::check(regex).map_err(|fault| ("regex", fault))?;
    }
    check_presence(rule).map_err(|fault| ("", fault))?;
    check_names(rule, prometheus)?;
    check_release(rule.action, prometheus).map_err(|fault| ("", fault))
}

/// Everything in it that is written by hand.
pub(super) fn text_bytes(rule: &RelabelRule) -> usize {
    texts(rule).map(|(_, text)| text.len()).sum()
}

fn texts(rule: &RelabelRule) -> impl Iterator<Item = (&'static str, &str)> {
    let single = [
        ("separator", &rule.separator),
        ("regex", &rule.regex),
        ("targetLabel", &rule.target_label),
        ("replacement", &rule.replacement),
    ];
    let labels = rule.source_labels.iter().map(|label| ("sourceLabels", label.as_str()));
    labels.chain(single.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?))))
}

/// What comes through a YAML file and the configuration reloader as it was written.
fn check_text(text: &str) -> Result<(), Fault> {
    if text.contains("$(") {
        return Err(Fault::refused(
            "the text contains \"$(\", which the Prometheus Operator's configuration reloader replaces with an \
             environment variable: write ${1} for a reference",
        ));
    }
    let is_unusual =
        |one: &char| one.is_control() || matches!(one, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    match text.chars().find(is_unusual) {
        Some(found) => Err(Fault::refused(format!(
            "the text contains the character {}: in a regex, write an escape such as \\n or \\x09",
            found.escape_unicode()
        ))),
        None => Ok(()),
    }
}

/// Which fields are there.
fn check_presence(rule: &RelabelRule) -> Result<(), Fault> {
    use RelabelAction::{Dropequal, Hashmod, Keepequal, Labeldrop, Labelkeep, Lowercase, Uppercase};

    let action = rule.action;
    let equality = matches!(action, Keepequal | Dropequal);
    let names = matches!(action, Labeldrop | Labelkeep);
    let target = rule.target_label.as_deref().unwrap_or_default();
    let set_beside = |allowed: &[&str]| {
        let fields = [
            ("sourceLabels", !rule.source_labels.is_empty()),
            ("separator", rule.separator.is_some()),
            ("regex", rule.regex.is_some()),
            ("targetLabel", !target.is_empty()),
            ("replacement", rule.replacement.is_some()),
            ("modulus", rule.modulus.is_some()),
        ];
        fields.into_iter().find(|(field, set)| *set && !allowed.contains(field)).map(|(field, _)| field)
    };

    if needs_target(action) && target.is_empty() {
        return Err(Fault::broken("targetLabel is missing"));
    }
    match rule.modulus {
        None if action == Hashmod => return Err(Fault::broken("modulus is missing")),
        Some(0) if action == Hashmod => return Err(Fault::broken("modulus must be at least 1")),
        Some(modulus) if !MODULI.contains(&modulus) => {
            let problem = format!("modulus must be from {} to {}", MODULI.start(), MODULI.end());
            return Err(Fault::refused(problem));
        }
        _ => {}
    }
    if matches!(action, Lowercase | Uppercase) && rule.replacement.is_some() {
        return Err(Fault::refused("replacement is not allowed for this action: remove it"));
    }
    let allowed: &[&str] = if equality { &["sourceLabels", "targetLabel"] } else { &["regex"] };
    match set_beside(allowed).filter(|_| equality || names) {
        // Prometheus does not mind some of them if they have their defaults.
        Some(field) => Err(Fault::refused(format!("{field} is not allowed for this action: remove it"))),
        None => Ok(()),
    }
}

fn needs_target(action: RelabelAction) -> bool {
    use RelabelAction::{
        Drop, Dropequal, Hashmod, Keep, Keepequal, Labeldrop, Labelkeep, Labelmap, Lowercase, Replace, Uppercase,
    };

    match action {
        Replace | Hashmod | Lowercase | Uppercase | Keepequal | Dropequal => true,
        Keep | Drop | Labelmap | Labeldrop | Labelkeep => false,
    }
}

fn check_names(rule: &RelabelRule, prometheus: &Capabilities) -> Result<(), Wrong> {
    let target = rule.target_label.as_deref().filter(|target| !target.is_empty());
    for label in &rule.source_labels {
        // From 3.0 on Prometheus itself takes whatever is not empty.
        check_name(label, prometheus, false).map_err(|fault| ("sourceLabels", fault))?;
    }
    if let Some(target) = target {
        let is_template = rule.action == RelabelAction::Replace && target.contains('$');
        let checked = if is_template {
            check_template(target, prometheus)
        } else {
            check_name(target, prometheus, needs_target(rule.action))
        };
        checked.map_err(|fault| ("targetLabel", fault))?;
    }
    if rule.action == RelabelAction::Labelmap {
        let replacement = rule.replacement.as_deref().unwrap_or(DEFAULT_REPLACEMENT);
        check_template(replacement, prometheus).map_err(|fault| ("replacement", fault))?;
    }
    Ok(())
}

/// A label's name as it stands. `is_checked`: whether Prometheus looks at it by the scheme.
fn check_name(name: &str, prometheus: &Capabilities, is_checked: bool) -> Result<(), Fault> {
    if is_legacy_name(name) || (!name.is_empty() && prometheus.takes_utf8_names()) {
        return Ok(());
    }
    Err(unfit(
        name.is_empty() || (is_checked && prometheus.refuses_utf8_names()),
        format!(
            "{} is not a valid label name for this Prometheus: use letters, digits and _. UTF-8 names need \
             spec.version 3.0 or newer in the Prometheus, without nameValidationScheme Legacy",
            quoted(name)
        ),
    ))
}

/// A label's name with references to groups of the expression in it, such as `${1}_total`.
fn check_template(template: &str, prometheus: &Capabilities) -> Result<(), Fault> {
    if template.contains('$') && !prometheus.takes_templates() {
        return Err(Fault::refused(
            "Prometheus 3.7 with nameValidationScheme Legacy does not support references such as $1 in label names: \
             set spec.version 3.8 or newer",
        ));
    }
    if is_legacy_template(template) || (!template.is_empty() && prometheus.takes_utf8_templates()) {
        return Ok(());
    }
    Err(unfit(
        template.is_empty() || prometheus.refuses_utf8_names(),
        format!(
            "{} does not result in valid label names for this Prometheus: use letters, digits, _ and references such \
             as ${{1}}. Other characters need spec.version 3.3 or newer in the Prometheus, without \
             nameValidationScheme Legacy",
            quoted(template)
        ),
    ))
}

fn unfit(is_certain: bool, problem: String) -> Fault {
    if is_certain { Fault::broken(problem) } else { Fault::refused(problem) }
}

/// `^[a-zA-Z_][a-zA-Z0-9_]*$`
fn is_legacy_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit()) && !name.is_empty() && name.chars().all(is_word)
}

/// `^(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+$`: a name, with references in it.
fn is_legacy_template(template: &str) -> bool {
    let mut rest = template;
    if rest.is_empty() || rest.starts_with(|first: char| first.is_ascii_digit()) {
        return false;
    }
    while let Some((plain, after)) = rest.split_once('$') {
        let (reference, following) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').unwrap_or_default(),
            None => after.split_at(after.find(|one: char| !is_word(one)).unwrap_or(after.len())),
        };
        if !plain.chars().all(is_word) || reference.is_empty() || !reference.chars().all(is_word) {
            return false;
        }
        rest = following;
    }
    rest.chars().all(is_word)
}

/// `\w` of RE2.
fn is_word(one: char) -> bool {
    one.is_ascii_alphanumeric() || one == '_'
}

/// The Prometheus Operator stops its work on an object whose Prometheus does not know the action.
fn check_release(action: RelabelAction, prometheus: &Capabilities) -> Result<(), Fault> {
    use RelabelAction::{Dropequal, Keepequal, Lowercase, Uppercase};

    let (major, minor) = match action {
        Lowercase | Uppercase => (2, 36),
        Keepequal | Dropequal => (2, 41),
        _ => return Ok(()),
    };
    if prometheus.is_before((major, minor)) {
        return Err(Fault::refused(format!("this action needs Prometheus {major}.{minor} or newer")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
