//! Rules and queues at random: mostly as people write them, and often nearly so.

use serde_json::{Map, Value, json};

use crate::dice::Dice;

const ACTIONS: &[&str] = &[
    "replace",
    "keep",
    "drop",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
    "keepequal",
    "dropequal",
];

const NAMES: &[&str] =
    &["a", "job", "__name__", "le", "_", "a1", "namespace", "pod", "__tmp_x", "A", "x_y", "instance"];
const ODD_NAMES: &[&str] = &[
    "", "9a", "a.b", "é", "a-b", "a b", "$1", "${1}", "${1}_x", "x_$1", "a$", "$", "${}", "${a.b}", "$(x)", "a\u{0}",
    "a.$1", "9$1",
];
const REPLACEMENTS: &[&str] = &["", "$1", "${1}", "a", "$1-$2", "é", "a b", "$$", "$", "${name}_x", "$(HOME)", "x_$1"];

const REAL: &[&str] = &[
    "(.*)",
    "node_.*|kube_(pod|node)_.+",
    "([^:]+)(?::\\d+)?;(\\d+)",
    "container_(network_tcp_usage_total|tasks_state);.+",
    "__meta_kubernetes_pod_label_(.+)",
    "(?i)(dev|test)-.*",
    "(?P<host>[a-z0-9.-]+):(?P<port>[0-9]{2,5})",
    "\\d{1,3}\\.\\d{1,3}(?:\\.\\d{1,3}){2}",
    "[[:alpha:]_][[:word:]]*",
    "[\\w-]+@[\\w.-]+",
    "/api/v[12]/users/[0-9a-fA-F-]{36}(/.*)?",
    "a{2,}?b*?[^\\pL\\x41-\\x5A]+",
];

/// What syntaxes of regular expressions know, this one or others.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "a", "b", "up", "_", "é", "0", "9", ":", ";", ",", "-", "=", "!", "<", ">", "&&", "--", "~~", "#", " ", "/", "]",
    "}", "{", "[", "(", ")", "|", "*", "+", "?", ".", "^", "$", ".*", ".+", "a?", "**", "*?", "+?", "??", "*+", "{2}",
    "{2,}", "{2,5}", "{,5}", "{5,2}", "{0}", "{01}", "{1000}", "{1001}", "{x}", "(?:", "(?i)", "(?i:", "(?s-m:",
    "(?-i)", "(?i-)", "(?x)", "(?u)", "(?R)", "(?-u:", "(?U)", "(?P<n>", "(?P<a.b>", "(?<n>", "(?=", "(?!", "(?#",
    "(?", "\\", "\\d", "\\W", "\\s", "\\pL", "\\p{Lu}", "\\P{N}", "\\p{Greek}", "\\p{Alphabetic}", "\\p{^L}", "\\b",
    "\\B", "\\A", "\\z", "\\Z", "\\b{start}", "\\<", "\\x41", "\\x{263A}", "\\x{d800}", "\\u0041", "\\Q", "\\E",
    "\\1", "\\.", "\\-",
];

#[rustfmt::skip]
const IN_BRACKETS: &[&str] = &[
    "a", "b-e", "0-9", "-", "^", "]", "[", "[:alpha:]", "[:^digit:]", "[:alfa:]", "[a]", "\\]", "\\[", "\\-", "\\d",
    "\\w", "\\S", "\\pL", "\\b", "&&", "--", "~~", ":", ".", "_", "é", "z-a", "\\x00-\\x{10FFFF}", "a-\\d", "\\d-z",
    "+--", "$", "\\\\", "\\t",
];

pub(crate) fn rule(dice: &mut Dice) -> Value {
    let action = dice.one_of(ACTIONS);
    let is_sloppy = dice.once_in(6);
    let wants = |dice: &mut Dice, fits: bool| if is_sloppy { dice.once_in(2) } else { fits && !dice.once_in(8) };
    let only_regex = matches!(action, "labeldrop" | "labelkeep");
    let equality = matches!(action, "keepequal" | "dropequal");
    let mut rule = Map::new();
    rule.insert("action".to_owned(), json!(action));
    if wants(dice, !only_regex) {
        let many = dice.below(4);
        rule.insert("sourceLabels".to_owned(), (0..many).map(|_| json!(name(dice))).collect());
    }
    if wants(dice, !only_regex && !equality) {
        rule.insert("separator".to_owned(), json!(dice.one_of(&[";", "", "/", "é", "$(A)", "\n"])));
    }
    if wants(dice, !equality) {
        rule.insert("regex".to_owned(), json!(expression(dice)));
    }
    let writes = matches!(action, "replace" | "hashmod" | "lowercase" | "uppercase") || equality;
    if wants(dice, writes) {
        rule.insert("targetLabel".to_owned(), json!(name(dice)));
    }
    if wants(dice, matches!(action, "replace" | "labelmap")) {
        rule.insert("replacement".to_owned(), json!(dice.one_of(REPLACEMENTS)));
    }
    if wants(dice, action == "hashmod") {
        rule.insert("modulus".to_owned(), json!(dice.one_of(&[1, 8, 4_294_967_295_i64, 0])));
    }
    Value::Object(rule)
}

fn name(dice: &mut Dice) -> &'static str {
    if dice.once_in(5) { dice.one_of(ODD_NAMES) } else { dice.one_of(NAMES) }
}

fn expression(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => dice.one_of(REAL).to_owned(),
        1 => mutated(dice),
        2 => good(dice, 3),
        _ => {
            let many = 1 + dice.below(6);
            (0..many).map(|_| piece(dice)).collect()
        }
    }
}

fn piece(dice: &mut Dice) -> String {
    if dice.once_in(5) { brackets(dice) } else { dice.one_of(PIECES).to_owned() }
}

fn brackets(dice: &mut Dice) -> String {
    let many = dice.below(5);
    let inside: String = (0..many).map(|_| dice.one_of(IN_BRACKETS)).collect();
    format!("[{}{inside}{}", if dice.once_in(3) { "^" } else { "" }, if dice.once_in(10) { "" } else { "]" })
}

/// One of real life, with something put in, taken out or doubled.
fn mutated(dice: &mut Dice) -> String {
    let mut all: Vec<String> = dice.one_of(REAL).chars().map(String::from).collect();
    for _ in 0..=dice.below(3) {
        let at = dice.below(all.len());
        match dice.below(3) {
            0 => all.insert(at, piece(dice)),
            1 if all.len() > 1 => drop(all.remove(at)),
            _ => all.insert(at, all[at].clone()),
        }
    }
    all.concat()
}

/// One that is good by its making, deep, or large.
fn good(dice: &mut Dice, depth: usize) -> String {
    let atoms = [
        ".",
        "a",
        "up",
        "é",
        "[a-z]",
        "[^;]",
        "\\d",
        "\\.",
        "[[:alnum:]]",
        "\\pL",
        "\\x{263A}",
        "[\\w.-]",
        "_",
        "\\x41",
    ];
    let operators = ["", "", "", "*", "+", "?", "*?", "{2}", "{1,3}", "{2,}", "{0,20}"];
    let parts = 1 + dice.below(4);
    let part = |dice: &mut Dice| {
        let atom = match dice.below(4) {
            0 if depth > 0 => format!("({})", good(dice, depth - 1)),
            1 if depth > 0 => format!("(?:{})", good(dice, depth - 1)),
            _ => dice.one_of(&atoms).to_owned(),
        };
        let between = if dice.once_in(5) { "|" } else { "" };
        atom + dice.one_of(&operators) + between
    };
    (0..parts).map(|_| part(dice)).collect()
}

pub(crate) fn queue(dice: &mut Dice) -> Value {
    let mut queue = Map::new();
    for (field, values) in [
        ("capacity", [1, 2_500, 10_000, 30_000, 100_000, 10_000_000, 0]),
        ("minShards", [1, 2, 10, 50, 200, 1_000, -1]),
        ("maxShards", [1, 2, 10, 50, 200, 1_000, 0]),
        ("maxSamplesPerSend", [1, 500, 2_000, 5_000, 20_000, 1_000_000, 0]),
    ] {
        if dice.once_in(2) {
            queue.insert(field.to_owned(), json!(dice.one_of(&values)));
        }
    }
    if dice.once_in(2) {
        let times = [
            "5s",
            "1s",
            "1s500ms",
            "100ms",
            "0m5s",
            "5s5s",
            "1s1m",
            "0s",
            "",
            "1.5s",
            "1d",
            "9999999999999999h",
            "10s",
        ];
        queue.insert("batchSendDeadline".to_owned(), json!(dice.one_of(&times)));
    }
    Value::Object(queue)
}
