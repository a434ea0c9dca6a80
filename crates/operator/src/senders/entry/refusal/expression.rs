//! The regular expressions that a rule may have.
//!
//! Prometheus compiles them with Go's `regexp` (RE2), between `^(?:` or, since 3.0, `^(?s:` and `)$`. Taken is the part of that syntax
//! which every release reads in the same way: literals, `.`, classes, groups, alternatives, repetitions, anchors, the flags `imsU`, and the
//! escapes that are listed here. This module reads an expression once, from left to right, and compiles nothing.
//!
//! | bound | here | in Go (`regexp/syntax/parse.go`) |
//! |---|---|---|
//! | length, in characters | 4,096 | – |
//! | nested groups | 20 | 1,000 levels of the syntax tree. A group costs two, and alternatives with a common beginning two for each of them |
//! | repetitions `{n,m}`, multiplied where they are nested | 1,000 | 1,000 |
//! | instructions of the program | 10,000 | 3.3 million: 128 MiB of memory for each expression |

mod cost;

use std::collections::HashSet;

use super::{Fault, quoted};
pub(super) use cost::Expression;
use cost::{Cost, MOST_REPETITIONS, Repetition};

const LONGEST: usize = 4_096;
const MOST_NESTED: u32 = 20;
/// What a Unicode class counts for: it has up to 700 ranges.
const UNICODE_CLASS: u32 = 100;

/// General categories of Unicode that every Go knows.
const CATEGORIES: &[&str] = &[
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
];

/// Named classes, which are written `[:name:]` inside of brackets.
const NAMED: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

pub(super) fn check(expression: &str) -> Result<Expression, Fault> {
    // The first comparison keeps the second one from reading a text of whatever length.
    if expression.len() > 4 * LONGEST || expression.chars().count() > LONGEST {
        return Err(Fault::refused(format!("the expression is longer than {LONGEST} characters")));
    }
    let mut reader = Reader { rest: expression, names: HashSet::new(), groups: 0, nested: 0 };
    let cost = reader.whole().map_err(|fault| {
        let read = expression.chars().count() - reader.rest.chars().count();
        Fault { problem: format!("at character {read}: {}", fault.problem), ..fault }
    })?;
    Ok(Expression::new(cost, reader.groups, reader.nested))
}

/// A part that an operator may follow, or not.
enum Part {
    Repeatable(Cost),
    /// An anchor, or flags.
    Single,
}

/// What stands for one character.
enum Item {
    Character(char),
    Class(Cost),
}

struct Reader<'a> {
    rest: &'a str,
    /// Of the groups so far.
    names: HashSet<&'a str>,
    groups: u32,
    nested: u32,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut rest = self.rest.chars();
        let next = rest.next();
        self.rest = rest.as_str();
        next
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn whole(&mut self) -> Result<Cost, Fault> {
        let cost = self.alternatives(0)?;
        match self.next() {
            None => Ok(cost),
            // It would close the group that Prometheus puts around the expression, so `a)(b` is loaded, and means something else.
            Some(_) => Err(Fault::refused("this ) does not close a group: write \\) for a literal )")),
        }
    }

    /// Up to the end, or to the `)` of the group.
    fn alternatives(&mut self, depth: u32) -> Result<Cost, Fault> {
        let mut all: Option<Cost> = None;
        loop {
            let one = self.sequence(depth)?;
            let either = all.map_or(Ok(one), |before| before.or(one))?;
            if !self.eat("|") {
                return Ok(either);
            }
            all = Some(either);
        }
    }

    /// Up to the next `|`, too.
    fn sequence(&mut self, depth: u32) -> Result<Cost, Fault> {
        let mut cost = Cost::of(1);
        while !matches!(self.peek(), None | Some(')' | '|')) {
            cost = cost.and(self.repeated_part(depth)?)?;
        }
        Ok(cost)
    }

    fn repeated_part(&mut self, depth: u32) -> Result<Cost, Fault> {
        let part = self.part(depth)?;
        let Some(repetition) = self.repetition()? else {
            return Ok(match part {
                Part::Repeatable(cost) => cost,
                Part::Single => Cost::of(1),
            });
        };
        let Part::Repeatable(cost) = part else {
            return Err(Fault::refused("an anchor or flags cannot be repeated"));
        };
        self.eat("?");
        if self.repetition()?.is_some() {
            return Err(Fault::broken(
                "two repetition operators follow each other: use only one, or put the first one into a group",
            ));
        }
        cost.times(repetition)
    }

    /// The operator that comes next, if one does. A brace is only taken as one: Go would read others as plain characters.
    fn repetition(&mut self) -> Result<Option<Repetition>, Fault> {
        match self.peek() {
            Some('*' | '+') => {
                self.next();
                return Ok(Some(Repetition::Simple));
            }
            Some('?') => {
                self.next();
                return Ok(Some(Repetition::Optional));
            }
            Some('{') => {}
            _ => return Ok(None),
        }
        self.next();
        let inside = self.until('}').unwrap_or_default();
        let (least, most) = match inside.split_once(',') {
            None => (count(inside), Some(count(inside))),
            Some((least, "")) => (count(least), None),
            Some((least, most)) => (count(least), Some(count(most))),
        };
        let (Some(least), Some(most)) = (least, most.map_or(Some(None), |most| most.map(Some))) else {
            return Err(Fault::refused(
                "{ does not start a repetition such as {2}, {2,} or {2,5}: write \\{ for a literal {",
            ));
        };
        if least.max(most.unwrap_or(0)) > MOST_REPETITIONS {
            return Err(Fault::broken(format!("Prometheus supports at most {MOST_REPETITIONS} repetitions")));
        }
        if most.is_some_and(|most| most < least) {
            return Err(Fault::broken("the second number of a repetition is less than the first"));
        }
        Ok(Some(Repetition::Counted { least, most }))
    }

    /// What stands before `end`, which is read, too.
    fn until(&mut self, end: char) -> Option<&'a str> {
        let (inside, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(inside)
    }

    fn part(&mut self, depth: u32) -> Result<Part, Fault> {
        match self.next() {
            Some('(') => self.group(depth),
            Some('[') => self.class().map(Part::Repeatable),
            Some('\\') => self.escape(),
            Some('^' | '$') => Ok(Part::Single),
            Some('*' | '+' | '?') => {
                Err(Fault::broken("this repetition operator follows nothing that can be repeated"))
            }
            Some('{') => Err(Fault::refused("{ follows nothing that can be repeated: write \\{ for a literal {")),
            _ => Ok(Part::Repeatable(Cost::of(1))),
        }
    }

    fn group(&mut self, depth: u32) -> Result<Part, Fault> {
        if depth == MOST_NESTED {
            return Err(Fault::refused(format!("more than {MOST_NESTED} groups are nested")));
        }
        if self.eat("?P<") {
            self.name()?;
            self.groups = self.groups.saturating_add(1);
        } else if self.eat("?<") {
            return Err(Fault::refused("older versions of Prometheus only support (?P<name>…) for a named group"));
        } else if self.eat("?") {
            if !self.eat(":") && !self.flags()? {
                return Ok(Part::Single);
            }
        } else {
            self.groups = self.groups.saturating_add(1);
        }
        self.nested = self.nested.max(depth.saturating_add(1));
        let inside = self.alternatives(depth.saturating_add(1))?;
        if self.next().is_none() {
            return Err(Fault::broken("a group is not closed: a ) is missing"));
        }
        inside.and(Cost::of(2)).map(Part::Repeatable)
    }

    fn name(&mut self) -> Result<(), Fault> {
        let name = self.until('>').ok_or_else(|| Fault::broken("the name of a group does not end with >"))?;
        if name.is_empty() || !name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_') {
            let problem = format!("invalid group name {}; use letters, digits and _", quoted(name));
            return Err(Fault::broken(problem));
        }
        if !self.names.insert(name) {
            return Err(Fault::refused(format!("two groups have the name {}", quoted(name))));
        }
        Ok(())
    }

    /// Whether a group begins with them. Else they hold up to the end of the group around them.
    fn flags(&mut self) -> Result<bool, Fault> {
        let (mut is_flag_before, mut is_negated) = (false, false);
        loop {
            match self.next() {
                Some('i' | 'm' | 's' | 'U') => is_flag_before = true,
                Some('-') if !is_negated => (is_negated, is_flag_before) = (true, false),
                Some(':') if is_flag_before => return Ok(true),
                Some(')') if is_flag_before => return Ok(false),
                Some(':' | ')' | '-') | None => return Err(Fault::refused("(? does not start a group or flags")),
                Some(_) => {
                    return Err(Fault::broken(
                        "Prometheus does not support this group: only :, P< and the flags i, m, s and U are allowed \
                         after (?",
                    ));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<Part, Fault> {
        if let Some('A' | 'z' | 'b' | 'B') = self.peek() {
            self.next();
            return Ok(Part::Single);
        }
        Ok(Part::Repeatable(match self.escaped()? {
            Item::Character(_) => Cost::of(1),
            Item::Class(cost) => cost,
        }))
    }

    /// What a backslash and the next characters stand for, inside and outside of brackets.
    fn escaped(&mut self) -> Result<Item, Fault> {
        let next = self.next().ok_or_else(|| Fault::broken("the expression ends with a backslash"))?;
        Ok(match next {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => Item::Class(Cost::of(1)),
            'p' | 'P' => self.unicode_class()?,
            'a' => Item::Character('\u{7}'),
            'f' => Item::Character('\u{c}'),
            'n' => Item::Character('\n'),
            'r' => Item::Character('\r'),
            't' => Item::Character('\t'),
            'v' => Item::Character('\u{b}'),
            'x' => Item::Character(self.hexadecimal()?),
            plain if plain.is_ascii_punctuation() || plain == ' ' => Item::Character(plain),
            'Q' | 'E' | '0'..='9' => {
                return Err(Fault::refused(format!("\\{next} is not allowed: write the characters themselves")));
            }
            'A' | 'z' | 'b' | 'B' => return Err(Fault::broken(format!("\\{next} is not allowed in brackets"))),
            other => {
                return Err(Fault::broken(format!(
                    "Prometheus does not support the escape {}",
                    quoted(&format!("\\{other}"))
                )));
            }
        })
    }

    /// `\x7F` or `\x{10FFFF}`.
    fn hexadecimal(&mut self) -> Result<char, Fault> {
        let digits = if self.eat("{") {
            self.until('}').unwrap_or_default()
        } else {
            let (digits, rest) = self.rest.split_at_checked(2).unwrap_or_default();
            self.rest = rest;
            digits
        };
        let is_number = (1..=6).contains(&digits.len()) && digits.bytes().all(|one| one.is_ascii_hexdigit());
        let number = if is_number { u32::from_str_radix(digits, 16).ok() } else { None };
        number.and_then(char::from_u32).ok_or_else(|| {
            Fault::refused("\\x is not followed by a valid character; expected for example \\x7F or \\x{263A}")
        })
    }

    /// `\pL` or `\p{Lu}`.
    fn unicode_class(&mut self) -> Result<Item, Fault> {
        let before = self.rest;
        let name = if self.eat("{") {
            self.until('}').unwrap_or_default()
        } else {
            self.next();
            before.strip_suffix(self.rest).unwrap_or_default()
        };
        if !CATEGORIES.contains(&name) {
            let problem = format!(
                "\\p supports only general categories of Unicode, for example \\pL or \\p{{Lu}}, not {}",
                quoted(name)
            );
            return Err(Fault::refused(problem));
        }
        Ok(Item::Class(Cost::of(UNICODE_CLASS)))
    }

    /// After the opening bracket.
    fn class(&mut self) -> Result<Cost, Fault> {
        self.eat("^");
        let mut cost = Cost::of(1);
        let mut is_empty = true;
        loop {
            if self.eat("[:") {
                self.named_class()?;
            } else if self.peek() == Some(']') && is_empty {
                return Err(Fault::refused("the brackets are empty, or start with ]: write \\] for a literal ]"));
            } else if self.eat("]") {
                return Ok(cost);
            } else {
                cost = cost.and(self.range()?)?;
            }
            is_empty = false;
        }
    }

    fn named_class(&mut self) -> Result<(), Fault> {
        let name = self.until(':').unwrap_or_default();
        if !NAMED.contains(&name.strip_prefix('^').unwrap_or(name)) || !self.eat("]") {
            return Err(Fault::refused(format!("[:{} is not a named class: write \\[ for a literal [", quoted(name))));
        }
        Ok(())
    }

    /// A character, an escape, or a range, as Go reads them: `-` is plain at the beginning, at the end and after a class.
    fn range(&mut self) -> Result<Cost, Fault> {
        let low = match self.class_item()? {
            Item::Class(cost) => return Ok(cost),
            Item::Character(low) => low,
        };
        let is_range = self.rest.strip_prefix('-').is_some_and(|after| !after.is_empty() && !after.starts_with(']'));
        if is_range {
            self.next();
            match self.class_item()? {
                Item::Class(_) => return Err(Fault::broken("a range ends with a class: write \\- for a literal -")),
                Item::Character(high) if high < low => {
                    return Err(Fault::broken("the end of a range is before its start: write \\- for a literal -"));
                }
                Item::Character(_) => {}
            }
        }
        Ok(Cost::of(1))
    }

    fn class_item(&mut self) -> Result<Item, Fault> {
        match self.next() {
            None => Err(Fault::broken("brackets are not closed: a ] is missing")),
            Some('\\') => self.escaped(),
            Some('[') => Err(Fault::refused("[ is not allowed in brackets: write \\[ for a literal [")),
            Some(plain) => Ok(Item::Character(plain)),
        }
    }
}

/// A number as Go takes it in a repetition: without zeros before it. Larger ones are too large, whatever they are.
fn count(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|one| one.is_ascii_digit());
    let is_plain = is_number && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
