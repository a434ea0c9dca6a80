use std::time::{Duration, Instant};

use super::*;

#[test]
fn what_every_release_reads_in_the_same_way_is_taken() {
    for good in [
        "",
        "up",
        "(.*)",
        "node_(cpu|memory)_.+",
        "kube_.*|node_.*|container_(cpu|memory)_[a-z_]+(_total)?",
        "(?i)Error.*",
        "(?i:a)|(?s-i:b)",
        "(?P<name>[^:]+):[0-9]+",
        "(?:https?://)?([^/]+)(/.*)?",
        "([a-z0-9](?:[-a-z0-9]*[a-z0-9])?)(?::\\d+)?",
        "[\\w-]+[.\\w-]*[\\w.-][a-][-a][^-][+--]",
        "[[:alpha:]_][[:^space:]]*",
        "\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}:\\d{2,5}",
        "^https?$|\\A\\b\\Ba\\z",
        "\\p{Lu}\\pL[\\p{Nd}\\PN]",
        "\\x41\\x{263A}[\\x00-\\x{10FFFF}]",
        "\\.\\-\\_\\/\\:\\[\\]\\{\\}\\<\\&\\ ",
        "a*?b+?c??d{2,}?",
        "(a{10}){100}",
        "((a{600}){0}){2}",
        "()|(|a)||b",
        "a}b]c,d&&e--f~~g",
        "[a&&b~~c]",
        "é☺.*",
        "{{namespace}}".replace('{', "\\{").as_str(),
        &"(".repeat(20).chars().chain(")".repeat(20).chars()).collect::<String>(),
        &"x".repeat(LONGEST),
        &"é".repeat(LONGEST),
    ] {
        check(good).unwrap_or_else(|fault| panic!("{good}: {}", fault.problem));
    }
}

/// What is refused, and whether it is certain that Prometheus does not load it.
#[test]
fn what_go_refuses_or_some_release_may_refuse_is_refused() {
    for (bad, breaks) in [
        (".**", true),
        ("a++", true),
        ("a*+", true),
        ("a???", true),
        ("a{2}{3}", true),
        ("*a", true),
        ("(*)", true),
        ("a|*", true),
        ("(?i)*", false),
        ("^*", false),
        ("\\b+", false),
        ("(", true),
        (")", false),
        ("a)(b", false),
        ("(a))", false),
        ("[a", true),
        ("[", true),
        ("[^", true),
        ("[a-", true),
        ("[]", false),
        ("[]a]", false),
        ("[[a]]", false),
        ("[a-[]", false),
        ("[[:alfa:]]", false),
        ("[[:alpha]]", false),
        ("[[:alpha:]", true),
        ("[b-a]", true),
        ("[a--z]", true),
        ("[a-\\d]", true),
        ("[\\b]", true),
        ("\\", true),
        ("\\y", true),
        ("\\é", true),
        ("\\u0041", true),
        ("\\u{41}", true),
        ("\\C", true),
        ("\\Z", true),
        ("\\Qa\\E", false),
        ("\\1", false),
        ("\\07", false),
        ("\\x4", false),
        ("\\x{}", false),
        ("\\x{110000}", false),
        ("\\x{d800}", false),
        ("\\xé", false),
        ("\\b{start}", false),
        ("\\p", false),
        ("\\p{Alphabetic}", false),
        ("\\p{Greek}", false),
        ("\\p{L", false),
        ("\\p{^L}", false),
        ("\\pé", false),
        ("(?P<a.b>up)", true),
        ("(?P<>a)", true),
        ("(?P<a", true),
        ("(?P<a>b)(?P<a>c)", false),
        ("(?P=a)", true),
        ("(?<a>b)", false),
        ("(?<=a)b", false),
        ("(?=a)", true),
        ("(?!a)", true),
        ("(?#a)", true),
        ("(?x)a", true),
        ("(?u)a", true),
        ("(?R)a", true),
        ("(?-u:a)", true),
        ("(?i-)a", false),
        ("(?i-:a)", false),
        ("(?)a", false),
        ("(?", false),
        ("(?i--s)a", false),
        ("a{1001}", true),
        ("a{5,1001}", true),
        ("a{99999999999999999999}", true),
        ("a{5,4}", true),
        ("(a{100}){11}", true),
        ("((a{11}){11}){11}", true),
        ("{", false),
        ("a{", false),
        ("a{,5}", false),
        ("a{x}", false),
        ("a{01}", false),
        ("a{+1}", false),
        ("a{ 1}", false),
        ("{2}", false),
        ("((a|b){100}(c|d){100}){10}", false),
        ("[\\pL\\pN\\pM]{50}", false),
        (&"(".repeat(21), false),
        (&"x".repeat(LONGEST + 1), false),
    ] {
        let fault = check(bad).expect_err(bad);
        assert_eq!(fault.breaks, breaks, "{bad}: {}", fault.problem);
    }
}

#[test]
fn the_message_says_where() {
    let problem = |bad: &str| check(bad).unwrap_err().problem;
    assert!(problem("é.**").starts_with("at character 4: two repetition operators"), "{}", problem("é.**"));
    assert!(problem("ab(?P<a.b>c)").contains("invalid group name \"a.b\""), "{}", problem("ab(?P<a.b>c)"));
    assert!(problem(&format!("(?P<{}>c)", ".".repeat(4_000))).len() < 300);
}

/// The longest ones of every shape that costs much elsewhere: compiling one took up to 58 ms, reading one takes some µs.
#[test]
fn the_time_of_a_check_is_bounded() {
    let fill = |text: &str| text.repeat(LONGEST / text.len());
    let start = Instant::now();
    let mut checks = 0;
    for text in [
        fill("("),
        fill("()"),
        fill("[a-z]"),
        fill("["),
        fill("[:"),
        fill("(?P<a"),
        fill("{"),
        fill("a{9"),
        fill("a{2}"),
        fill("\\pL"),
        fill("\\x{"),
        fill("\\p{L}"),
        fill("(?i)a|"),
        fill("a*"),
        fill("a|"),
        "(".repeat(20) + &"a{2}".repeat(500) + &"){2}".repeat(20),
        (0..250).map(|number| format!("(?P<a{number}>b)")).collect(),
        // Far too long ones are not read.
        "a".repeat(1 << 20),
        "é".repeat(1 << 20),
    ] {
        for _ in 0..100 {
            let _ = check(&text);
            checks += 1;
        }
    }
    // A hundred times what it takes on a slow machine, and a hundredth of what compiling takes.
    let most = Duration::from_millis(2) * checks;
    assert!(start.elapsed() < most, "{checks} checks took {:?}", start.elapsed());
}
