//! What a receiver says about deliveries, read with bounds. Pure.

use std::fmt;

use promarchive_api::{Deliveries, Delivery, MOST_DELIVERIES};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

/// No name in a mark is longer. The replica is a label of the samples, which may be longer; it is no pod's name then.
const LONGEST_TEXT_BYTES: usize = 253;
const LONGEST_REASON: usize = 300;
/// Lengths of time of one mark.
const MOST_LENGTHS: usize = 8;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    started: i64,
    now: i64,
    ready: bool,
    #[serde(default)]
    reason: Option<String>,
    deliveries: Marks,
}

/// The answer, with `most` marks at most; else what is wrong with it, without any of its text.
pub(super) fn read(body: &[u8], most: usize) -> Result<Deliveries, String> {
    let mut answer: Answer = serde_json::from_slice(body)
        .map_err(|e| format!("the answer is not that of a receiver (line {}, column {})", e.line(), e.column()))?;
    answer.deliveries.0.truncate(most);
    Ok(Deliveries {
        started: answer.started,
        now: answer.now,
        ready: answer.ready,
        reason: answer.reason.map(|reason| printable(&reason)),
        // Not needed: the operator has written them itself.
        senders: Vec::new(),
        deliveries: answer.deliveries.0,
    })
}

/// One line of a bounded length.
fn printable(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(LONGEST_REASON).collect()
}

/// No more than a receiver keeps. What is too long in them is left out.
struct Marks(Vec<Delivery>);

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MarksVisitor)
    }
}

struct MarksVisitor;

impl<'de> Visitor<'de> for MarksVisitor {
    type Value = Marks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of marks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Marks, A::Error> {
        let mut marks: Vec<Delivery> = Vec::new();
        while marks.len() < MOST_DELIVERIES {
            let Some(mut mark) = list.next_element::<Delivery>()? else { return Ok(Marks(marks)) };
            if mark.replica.len() > LONGEST_TEXT_BYTES {
                mark.replica = String::new();
            }
            let texts = [&mark.sender, &mark.token, &mark.entry, &mark.address];
            if texts.iter().any(|text| text.len() > LONGEST_TEXT_BYTES) {
                continue;
            }
            mark.oldest.truncate(MOST_LENGTHS);
            marks.push(mark);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Marks(marks))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mark(sender: &str, replica: &str) -> Value {
        json!({"sender": sender, "token": "t", "entry": "e", "replica": replica, "address": "10.0.0.1",
            "first": i64::MIN, "newest": i64::MAX, "lastDelivered": 3})
    }

    fn answer(marks: Vec<Value>) -> Value {
        json!({"started": 1, "now": 2, "ready": true, "senders": [{"name": "x", "tokens": []}], "deliveries": marks, "more": {"a": []}})
    }

    fn parse(answer: &Value) -> Result<Deliveries, String> {
        read(answer.to_string().as_bytes(), 5_000)
    }

    #[test]
    fn what_a_receiver_says_is_read_and_what_is_new_is_left_out() {
        let read = parse(&answer(vec![mark("a", "p-0")])).unwrap();
        assert_eq!((read.started, read.now, read.ready, read.reason), (1, 2, true, None));
        assert_eq!(read.deliveries, [serde_json::from_value(mark("a", "p-0")).unwrap()]);
        assert_eq!(read.senders, []);
    }

    #[test]
    fn no_more_is_kept_than_was_asked_for() {
        let many = (0..10_000).map(|n| mark(&format!("s{n}"), "")).collect();
        assert_eq!(parse(&answer(many)).unwrap().deliveries.len(), 5_000);
        let of_one = (0..1_000).map(|n| mark("s", &format!("p-{n}"))).collect();
        assert_eq!(parse(&answer(of_one)).unwrap().deliveries.len(), 1_000, "a sender may have many pods");
        let mut long = mark("s", "p-0");
        long["oldest"] = json!(vec![json!({"seconds": 1, "timestamp": 2, "longestPause": 3}); 100]);
        assert_eq!(parse(&answer(vec![long])).unwrap().deliveries[0].oldest.len(), MOST_LENGTHS);
        let long = vec![mark(&"x".repeat(254), "p-0"), mark("s", &"x".repeat(254)), mark("s", &"x".repeat(253))];
        let replicas: Vec<usize> =
            parse(&answer(long)).unwrap().deliveries.iter().map(|one| one.replica.len()).collect();
        assert_eq!(replicas, [0, 253]);
    }

    #[test]
    fn no_text_of_something_else_is_told() {
        let mut wrong = answer(vec![]);
        wrong["ready"] = json!("secret");
        for body in [wrong.to_string(), "<html>secret</html>".to_owned(), r#"{"started": "secret"}"#.to_owned()] {
            let fault = read(body.as_bytes(), 10).unwrap_err();
            assert!(fault.starts_with("the answer is not that of a receiver (line 1, column"), "{fault}");
        }
        let mut reason = answer(vec![]);
        reason["reason"] = json!(format!("a\nb\u{1b}[31m{}", "x".repeat(5_000)));
        let reason = parse(&reason).unwrap().reason.unwrap();
        assert!(reason.starts_with("a b [31mx") && reason.len() == LONGEST_REASON, "{reason}");
    }
}
