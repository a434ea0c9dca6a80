//! What a receiver says about deliveries, read with bounds. Pure but for the reading.
//!
//! The pod that answers may be anybody's, so an answer is read as it comes and never in memory as a whole. Of each mark is kept what a
//! receiver can say in it, about a kibibyte at most, and no more marks than were asked for.

use std::fmt;
use std::io::{self, BufReader, Read};

use promarchive_api::{Deliveries, Delivery, LONGEST_DELIVERY_BYTES, Oldest};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Longest answer without its marks.
const LONGEST_REST_BYTES: usize = 256 << 10;
/// A longer text ends the reading: while it is read, it is in memory.
const LONGEST_READ_TEXT_BYTES: usize = 16 << 10;
/// The lengths of time of a mark are four deep; a later version may have something deeper.
const DEEPEST: usize = 16;
/// No name in a mark is longer. The replica is a label of the samples, which may be longer; it is no pod's name then.
const LONGEST_TEXT_BYTES: usize = 253;
/// The name of an entry, an address, and what is shown of a token.
const LONGEST_SHORT_TEXT_BYTES: usize = 64;
const LONGEST_REASON: usize = 300;
/// Lengths of time of one mark.
const MOST_LENGTHS: usize = 8;

/// The answer that `body` gives, with `most` marks at most; else what is wrong with it, without any of its text.
pub(super) fn read(body: impl Read, most: usize) -> Result<Deliveries, String> {
    let body = Guarded { body, left: LONGEST_REST_BYTES + most * LONGEST_DELIVERY_BYTES, text: None, depth: 0 };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(body));
    let answer = Answer { most }.deserialize(&mut json);
    answer.map_err(|e| match e.io_error_kind() {
        Some(_) => e.to_string(),
        None => format!("the response is not valid for a receiver (line {}, column {})", e.line(), e.column()),
    })
}

/// A body that ends with an error where it becomes longer or deeper, or a text in it longer, than a receiver's. The JSON library keeps a byte
/// for each level even of what it passes over.
struct Guarded<R> {
    body: R,
    left: usize,
    text: Option<OpenText>,
    /// Lists and objects that are open.
    depth: usize,
}

/// A text that has begun.
#[derive(Clone, Copy)]
struct OpenText {
    bytes: usize,
    is_escaped: bool,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.body.read(into)?;
        self.left = self.left.checked_sub(length).ok_or_else(|| io::Error::other("the response is too long"))?;
        for byte in into.iter().take(length) {
            match (self.text, byte) {
                (None, b'[' | b'{') => self.depth += 1,
                (None, b']' | b'}') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth > DEEPEST {
                return Err(io::Error::other("the response has too many nested levels"));
            }
            self.text = match (self.text, byte) {
                (None, b'"') => Some(OpenText { bytes: 0, is_escaped: false }),
                (None, _) | (Some(OpenText { is_escaped: false, .. }), b'"') => None,
                (Some(OpenText { bytes, .. }), _) if bytes >= LONGEST_READ_TEXT_BYTES => {
                    return Err(io::Error::other("a string in the response is too long"));
                }
                (Some(OpenText { bytes, is_escaped }), byte) => {
                    Some(OpenText { bytes: bytes + 1, is_escaped: !is_escaped && *byte == b'\\' })
                }
            };
        }
        Ok(length)
    }
}

/// Reads an answer with so many marks at most.
struct Answer {
    most: usize,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    Started,
    Now,
    Ready,
    WritableSince,
    Reason,
    Deliveries,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for Answer {
    type Value = Deliveries;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Deliveries, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Answer {
    type Value = Deliveries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer of a receiver")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Deliveries, A::Error> {
        let (mut started, mut now, mut ready, mut writable_since) = (None, None, None, None);
        let (mut reason, mut deliveries) = (None, None);
        while let Some(field) = fields.next_key()? {
            match field {
                Field::Started => started = Some(fields.next_value()?),
                Field::Now => now = Some(fields.next_value()?),
                Field::Ready => ready = Some(fields.next_value()?),
                Field::WritableSince => writable_since = fields.next_value()?,
                Field::Reason => reason = fields.next_value::<Option<String>>()?,
                Field::Deliveries => deliveries = Some(fields.next_value_seed(Marks { most: self.most })?),
                Field::Other => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let missing = |field| serde::de::Error::missing_field(field);
        Ok(Deliveries {
            started: started.ok_or_else(|| missing("started"))?,
            now: now.ok_or_else(|| missing("now"))?,
            ready: ready.ok_or_else(|| missing("ready"))?,
            writable_since,
            reason: reason.map(|reason| printable(&reason)),
            // Not needed: the operator has written them itself.
            senders: Vec::new(),
            deliveries: deliveries.ok_or_else(|| missing("deliveries"))?,
        })
    }
}

/// One line of a bounded length.
fn printable(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(LONGEST_REASON).collect()
}

/// Reads so many marks at most. What is too long in them is left out.
struct Marks {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Marks {
    type Value = Vec<Delivery>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Marks {
    type Value = Vec<Delivery>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of marks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut marks = Vec::new();
        while marks.len() < self.most {
            let Some(mark) = list.next_element::<Mark>()? else { break };
            marks.extend(mark.kept());
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        marks.shrink_to_fit();
        Ok(marks)
    }
}

/// A mark as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    sender: Bounded<LONGEST_TEXT_BYTES>,
    token: Bounded<LONGEST_SHORT_TEXT_BYTES>,
    entry: Bounded<LONGEST_SHORT_TEXT_BYTES>,
    replica: Bounded<LONGEST_TEXT_BYTES>,
    address: Bounded<LONGEST_SHORT_TEXT_BYTES>,
    first: i64,
    newest: i64,
    last_delivered: i64,
    #[serde(default)]
    oldest: Lengths,
}

impl Mark {
    fn kept(self) -> Option<Delivery> {
        Some(Delivery {
            sender: self.sender.0?,
            token: self.token.0?,
            entry: self.entry.0?,
            replica: self.replica.0.unwrap_or_default(),
            address: self.address.0?,
            first: self.first,
            newest: self.newest,
            last_delivered: self.last_delivered,
            oldest: self.oldest.0,
        })
    }
}

/// A text, if it has no more than `MOST` bytes.
struct Bounded<const MOST: usize>(Option<String>);

impl<'de, const MOST: usize> Deserialize<'de> for Bounded<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText<const MOST: usize>;

        impl<const MOST: usize> Visitor<'_> for OfText<MOST> {
            type Value = Bounded<MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Bounded((text.len() <= MOST).then(|| text.to_owned())))
            }
        }

        deserializer.deserialize_str(OfText)
    }
}

/// As many as a receiver gives.
#[derive(Default)]
struct Lengths(Vec<Oldest>);

impl<'de> Deserialize<'de> for Lengths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(OfLengths)
    }
}

struct OfLengths;

impl<'de> Visitor<'de> for OfLengths {
    type Value = Lengths;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of lengths of time")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Lengths, A::Error> {
        let mut lengths = Vec::new();
        while lengths.len() < MOST_LENGTHS {
            let Some(length) = list.next_element()? else { break };
            lengths.push(length);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        lengths.shrink_to_fit();
        Ok(Lengths(lengths))
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
        json!({"started": 1, "now": 5, "ready": true, "writableSince": 3, "senders": [{"name": "x", "tokens": []}], "deliveries": marks, "more": {"a": []}})
    }

    fn parse(answer: &Value) -> Result<Deliveries, String> {
        read(answer.to_string().as_bytes(), 5_000)
    }

    #[test]
    fn what_a_receiver_says_is_read_and_what_is_new_is_left_out() {
        let read = parse(&answer(vec![mark("a", "p-0")])).unwrap();
        let times = (read.started, read.now, read.writable_since);
        assert_eq!((times, read.ready, read.reason), ((1, 5, Some(3)), true, None));
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

    /// Bytes on the heap.
    fn heap(read: &Deliveries) -> usize {
        let texts = |mark: &Delivery| {
            [&mark.sender, &mark.token, &mark.entry, &mark.replica, &mark.address]
                .map(String::capacity)
                .iter()
                .sum::<usize>()
        };
        let of_mark = |mark: &Delivery| texts(mark) + mark.oldest.capacity() * size_of::<Oldest>();
        read.deliveries.capacity() * size_of::<Delivery>() + read.deliveries.iter().map(of_mark).sum::<usize>()
    }

    #[test]
    fn a_mark_takes_little_memory_however_it_is_written() {
        const MARKS: usize = 512;
        let long = |length: usize| "x".repeat(length);
        let widest = json!([long(253), long(64), long(64), long(253), long(64), 0, 0, 0, vec![json!([0, 0, 0]); 8]]);
        let short = json!(["", "", "", "", "", 0, 0, 0, vec![json!([0, 0, 0]); 5_000]]);
        for mark in [widest, short] {
            let read = read(answer(vec![mark; 9]).to_string().as_bytes(), MARKS).unwrap();
            assert_eq!(read.deliveries.len(), 9);
            assert!(heap(&read) <= 9 * 1_100, "{} bytes", heap(&read));
        }
        let many = answer(vec![json!(["", "", "", "", "", 0, 0, 0]); 20_000]);
        let read = read(many.to_string().as_bytes(), MARKS).unwrap();
        assert_eq!(read.deliveries.len(), MARKS);
        assert!(heap(&read) <= MARKS * size_of::<Delivery>(), "{} bytes", heap(&read));
    }

    #[test]
    fn what_is_passed_over_takes_no_memory_either() {
        let nested = |depth: usize| {
            let mut answer = answer(vec![mark("a", "p-0")]).to_string();
            answer.truncate(answer.len() - 1);
            format!("{answer},\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
        };
        assert_eq!(read(nested(DEEPEST - 1).as_bytes(), 512).unwrap().deliveries.len(), 1);
        let body = nested(1 << 19);
        let mut body = body.as_bytes();
        assert!(read(&mut body, 512).unwrap_err().starts_with("the response has too many nested levels"));
        assert!(body.len() > 900 << 10, "{} bytes are left", body.len());
        let in_text = json!("[".repeat(100));
        let mut answer = answer(vec![]);
        answer["reason"] = in_text.clone();
        assert_eq!(parse(&answer).unwrap().reason.as_deref(), in_text.as_str());
    }

    #[test]
    fn what_is_longer_than_a_receivers_is_not_read_to_its_end() {
        let taken = |body: &str, most: usize| {
            let mut body = body.as_bytes();
            let fault = read(&mut body, most).unwrap_err();
            (fault, body.len())
        };
        let mut reason = answer(vec![]);
        reason["reason"] = json!("\\\"x".repeat(1 << 20));
        let (fault, left) = taken(&reason.to_string(), 512);
        assert_eq!(fault, "a string in the response is too long at line 1 column 16384");
        assert!(left > 1 << 20, "{left} bytes are left");
        let (fault, left) = taken(&(" ".repeat(2 << 20) + "{}"), 512);
        assert!(fault.starts_with("the response is too long"), "{fault}");
        assert!(left > 900 << 10, "{left} bytes are left");
    }

    #[test]
    fn no_text_of_something_else_is_told() {
        let mut wrong = answer(vec![]);
        wrong["ready"] = json!("secret");
        for body in [wrong.to_string(), "<html>secret</html>".to_owned(), r#"{"started": "secret"}"#.to_owned()] {
            let fault = read(body.as_bytes(), 10).unwrap_err();
            assert!(fault.starts_with("the response is not valid for a receiver (line 1, column"), "{fault}");
        }
        let mut reason = answer(vec![]);
        reason["reason"] = json!(format!("a\nb\u{1b}[31m{}", "x".repeat(5_000)));
        let reason = parse(&reason).unwrap().reason.unwrap();
        assert!(reason.starts_with("a b [31mx") && reason.len() == LONGEST_REASON, "{reason}");
    }
}
