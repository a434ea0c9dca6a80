//! What the rules of an entry together can make of the labels of a series.
//!
//! Rules feed each other: one that joins a label with itself doubles it, and twenty-one of them write two million characters for each.
//! Prometheus does this for every series, keeps the result in memory, and dies of a text of 16 MiB. So the rules are gone through, and
//! each is taken at its worst: it matches, every reference is the longest text that it can be, and no label goes.
//!
//! | bound | | why |
//! |---|---|---|
//! | copies of one label, in a series | 8 | the memory that the labels of a series take grows as much. Real rules copy a label once or twice |
//! | own text of the rules, in a series | 2,048 characters | it is kept for every series, and sent with every sample in protocol 1.0 |
//! | instructions that expressions look at, for a series | 300,000 | 2 ms of one processor, measured with Go 1.26 |
//!
//! The first bound holds for labels of any length: a series whose labels have so many characters has at most 8 times as many
//! afterwards, and the own text. The other two are reckoned for a series of [`LABELS`] labels, with names and values of [`NAME`] and [`VALUE`]
//! characters. Characters are counted, not bytes: upper and lower case keep their number.

use std::collections::{BTreeMap, BTreeSet};

use promarchive_api::metrics_archive::{RelabelAction, RelabelRule};

use super::expression::{self, Expression};
use super::{DEFAULT_EXPRESSION, DEFAULT_REPLACEMENT, DEFAULT_SEPARATOR, Fault};

const MOST_COPIES: u64 = 8;
const MOST_TEXT: u64 = 2_048;
const MOST_STEPS: u64 = 300_000;
/// With as many copies of a label in a series, the rules are there to end a Prometheus.
const DEADLY_COPIES: u64 = 65_536;

const LABELS: u64 = 32;
const NAME: u64 = 32;
const VALUE: u64 = 64;
/// Digits of the largest modulus.
const HASH: u64 = 10;

/// Checks rules that are good one by one. The number is that of the rule with which it is too much.
pub(super) fn check(rules: &[RelabelRule]) -> Result<(), (usize, Fault)> {
    let mut series = Series::new();
    for (index, rule) in rules.iter().enumerate() {
        series.apply(rule).and_then(|()| series.check()).map_err(|fault| (index, fault))?;
    }
    Ok(())
}

/// Whether rules that are in an entry are there to end a Prometheus.
pub(super) fn is_deadly(rules: &[RelabelRule]) -> bool {
    let mut series = Series::new();
    rules.iter().any(|rule| series.apply(rule).is_ok() && series.copies() >= DEADLY_COPIES)
}

/// The most that a text can be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Length<'a> {
    /// How often it has each label of the series in it.
    copies: BTreeMap<&'a str, u64>,
    /// Characters that the rules bring.
    own: u64,
}

impl<'a> Length<'a> {
    fn of(label: &'a str) -> Self {
        Self { copies: BTreeMap::from([(label, 1)]), own: 0 }
    }

    fn own(characters: u64) -> Self {
        Self { copies: BTreeMap::new(), own: characters }
    }

    fn combined(mut self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        for (label, copies) in &other.copies {
            let mine = self.copies.entry(label).or_default();
            *mine = with(*mine, *copies);
        }
        self.own = with(self.own, other.own);
        self
    }

    fn and(self, other: &Self) -> Self {
        self.combined(other, u64::saturating_add)
    }

    /// The longer one, whichever that is.
    fn or(self, other: &Self) -> Self {
        self.combined(other, u64::max)
    }

    fn without(self, other: &Self) -> Self {
        self.combined(other, u64::saturating_sub)
    }

    fn times(mut self, factor: u64) -> Self {
        self.copies.values_mut().for_each(|copies| *copies = copies.saturating_mul(factor));
        self.own = self.own.saturating_mul(factor);
        self
    }

    fn characters(&self, of_a_label: u64) -> u64 {
        let copies = self.copies.values().fold(0, |sum: u64, copies| sum.saturating_add(*copies));
        copies.saturating_mul(of_a_label).saturating_add(self.own)
    }
}

/// What the labels of a series can be after some of the rules.
///
/// A rule that writes labels whose names are not known beforehand (`labelmap`, a template) makes a new series of it: of what its labels hold
/// only the sum is known, and the next rules are reckoned from there.
struct Series<'a> {
    /// Since then: how often a label that was there is in all labels together. It is there itself, if it was read or written.
    all: Length<'a>,
    /// What the label has that was written, or read.
    held: BTreeMap<&'a str, Length<'a>>,
    written: BTreeSet<&'a str>,
    /// Before: what all labels together were.
    copies_before: u64,
    own_before: u64,
    labels: u64,
    /// The longest name and value in the beginning, and since.
    name: u64,
    value: u64,
    longest: u64,
    steps: u64,
}

impl<'a> Series<'a> {
    fn new() -> Self {
        Self {
            all: Length::default(),
            held: BTreeMap::new(),
            written: BTreeSet::new(),
            copies_before: 1,
            own_before: 0,
            labels: LABELS,
            name: NAME,
            value: VALUE,
            longest: VALUE,
            steps: 0,
        }
    }

    fn apply(&mut self, rule: &'a RelabelRule) -> Result<(), Fault> {
        use RelabelAction::{
            Drop, Dropequal, Hashmod, Keep, Keepequal, Labeldrop, Labelkeep, Labelmap, Lowercase, Replace, Uppercase,
        };

        let expression = expression::check(rule.regex.as_deref().unwrap_or(DEFAULT_EXPRESSION))?;
        let joined = self.joined(rule);
        let target = rule.target_label.as_deref().unwrap_or_default();
        let characters = joined.characters(self.value);
        self.work(characters);
        match rule.action {
            Keep | Drop => self.work(expression.steps(characters)),
            Keepequal | Dropequal => {}
            Hashmod => self.write(target, &Length::own(HASH)),
            Lowercase | Uppercase => self.write(target, &joined),
            Labeldrop | Labelkeep => self.work(expression.steps(self.name).saturating_mul(self.labels)),
            Labelmap => self.map(rule, &expression),
            Replace => {
                self.work(expression.steps(characters));
                let replacement = rule.replacement.as_deref().unwrap_or(DEFAULT_REPLACEMENT);
                let written = expanded(replacement, &joined, &expression);
                if target.contains('$') {
                    self.write_somewhere(&expanded(target, &joined, &expression), &written);
                } else {
                    self.write(target, &written);
                }
            }
        }
        Ok(())
    }

    fn joined(&mut self, rule: &'a RelabelRule) -> Length<'a> {
        let separator = characters(rule.separator.as_deref().unwrap_or(DEFAULT_SEPARATOR));
        let separators = separator.saturating_mul(rule.source_labels.len().saturating_sub(1) as u64);
        let labels = rule.source_labels.iter().map(|label| self.held(label).clone()).collect::<Vec<_>>();
        labels.iter().fold(Length::own(separators), Length::and)
    }

    /// A label that nobody has named was there, at the worst, and all of it counts.
    fn held(&mut self, label: &'a str) -> &Length<'a> {
        let all = &mut self.all;
        self.held.entry(label).or_insert_with(|| {
            let there = Length::of(label);
            *all = std::mem::take(all).and(&there);
            there
        })
    }

    /// The label has what was written, or what it had if the expression does not match.
    fn write(&mut self, target: &'a str, written: &Length<'a>) {
        if self.written.insert(target) {
            let name = characters(target);
            self.name = self.name.max(name);
            self.labels = self.labels.saturating_add(1);
            self.all.own = self.all.own.saturating_add(name);
        }
        let before = self.held(target).clone();
        let after = before.clone().or(written);
        self.longest = self.longest.max(after.characters(self.value));
        self.all = std::mem::take(&mut self.all).without(&before).and(&after);
        self.held.insert(target, after);
    }

    fn write_somewhere(&mut self, name: &Length<'a>, written: &Length<'a>) {
        self.name = self.name.max(name.characters(self.value));
        self.longest = self.longest.max(written.characters(self.value));
        self.labels = self.labels.saturating_add(1);
        self.all = std::mem::take(&mut self.all).and(name).and(written);
        self.begin(self.copies(), self.own());
    }

    /// Every label gets a second one with the same value; or one label, if the expression is its name.
    fn map(&mut self, rule: &'a RelabelRule, expression: &Expression) {
        // Whether it matches, and then what is to be replaced.
        let steps = expression.steps(self.name).saturating_mul(2);
        self.work(steps.saturating_mul(self.labels));
        let replacement = rule.replacement.as_deref().unwrap_or(DEFAULT_REPLACEMENT);
        if let Some(label) = rule.regex.as_deref().filter(|regex| !regex.is_empty() && regex.bytes().all(is_word))
            && !replacement.contains('$')
        {
            let value = self.held(label).clone();
            return self.write(replacement, &value);
        }
        let (text, references) = template(replacement);
        let times = taken(&references, expression);
        let texts = text.saturating_mul(self.labels);
        self.name = self.name.max(self.name.saturating_mul(times).saturating_add(text));
        self.labels = self.labels.saturating_mul(2);
        let factor = times.max(1).saturating_add(1);
        self.begin(self.copies().saturating_mul(factor), self.own().saturating_mul(factor).saturating_add(texts));
    }

    fn begin(&mut self, copies: u64, own: u64) {
        (self.copies_before, self.own_before) = (copies, own);
        self.value = self.longest;
        self.all = Length::default();
        self.held.clear();
        self.written.clear();
    }

    fn work(&mut self, steps: u64) {
        self.steps = self.steps.saturating_add(steps);
    }

    /// What is most often in the labels since the last beginning.
    fn most(&self) -> u64 {
        self.all.copies.values().copied().max().unwrap_or(1).max(1)
    }

    /// How often one label of the series is in its labels.
    fn copies(&self) -> u64 {
        self.copies_before.saturating_mul(self.most())
    }

    /// Text of the rules that is in its labels.
    fn own(&self) -> u64 {
        self.own_before.saturating_mul(self.most()).saturating_add(self.all.own)
    }

    fn check(&self) -> Result<(), Fault> {
        let (copies, own, steps) = (self.copies(), self.own(), self.steps);
        if copies > MOST_COPIES {
            return Err(Fault::refused(format!(
                "with this rule, the labels of a series can become {copies} times longer. At most {MOST_COPIES} times \
                 is allowed, because Prometheus keeps them for every series: join fewer labels, use fewer references \
                 such as $1, or remove a labelmap or a rule that reads the result of another rule"
            )));
        }
        if own > MOST_TEXT {
            return Err(Fault::refused(format!(
                "with this rule, the rules can add {own} characters to a series with {LABELS} labels. At most \
                 {MOST_TEXT} characters are allowed, because Prometheus keeps them for every series: shorten \
                 replacements, separators and label names"
            )));
        }
        if steps > MOST_STEPS {
            return Err(Fault::refused(format!(
                "with this rule, the rules can take {steps} steps for a series with {LABELS} labels with values of \
                 {VALUE} characters. At most {MOST_STEPS} steps are allowed, because Prometheus takes them for every \
                 series: use fewer rules, simpler expressions and fewer repetitions such as .* or {{1,9}}"
            )));
        }
        Ok(())
    }
}

/// A replacement with its references filled in.
fn expanded<'a>(replacement: &str, joined: &Length<'a>, expression: &Expression) -> Length<'a> {
    let (text, references) = template(replacement);
    joined.clone().times(taken(&references, expression)).and(&Length::own(text))
}

/// How often a character of what is matched can be in the texts that are referred to. The texts of two groups have nothing in common if
/// neither group is in the other.
fn taken(references: &[&str], expression: &Expression) -> u64 {
    let groups: Vec<&str> = references.iter().copied().filter(|name| *name != "0").collect();
    let whole = references.len().saturating_sub(groups.len());
    let times = |name: &str| groups.iter().filter(|other| **other == name).count();
    let most = groups.iter().map(|name| times(name)).max().unwrap_or(0);
    // A group with a name has a number, too.
    let is_numbered = groups.iter().all(|name| name.bytes().all(|one| one.is_ascii_digit()));
    let nested = if is_numbered { most.saturating_mul(expression.nested() as usize) } else { usize::MAX };
    groups.len().min(nested).saturating_add(whole) as u64
}

/// The characters of a template that are not references, and the references in it, as `Expand` of Go's `regexp` reads them. What is no
/// reference stands for itself.
fn template(template: &str) -> (u64, Vec<&str>) {
    let (mut text, mut references, mut rest) = (0_u64, Vec::new(), template);
    while let Some((plain, after)) = rest.split_once('$') {
        text = text.saturating_add(characters(plain));
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let (name, following) = match braced {
            Some((name, following)) if name.bytes().all(is_word) => (name, following),
            _ => after.split_at(after.bytes().position(|one| !is_word(one)).unwrap_or(after.len())),
        };
        if name.is_empty() {
            text = text.saturating_add(1);
            rest = after.strip_prefix('$').unwrap_or(after);
        } else {
            references.push(name);
            rest = following;
        }
    }
    (text.saturating_add(characters(rest)), references)
}

fn is_word(one: u8) -> bool {
    one.is_ascii_alphanumeric() || one == b'_'
}

fn characters(text: &str) -> u64 {
    text.chars().count() as u64
}

#[cfg(test)]
mod tests;
