use serde_json::{Value, json};

use super::*;

fn copied(rule: &'static Rule, from: &Value, room: usize) -> (Option<Value>, Vec<String>) {
    let mut into = Copied::with_room(room);
    let text = from.to_string();
    Copy { rule, into: &mut into }.deserialize(&mut serde_json::Deserializer::from_str(&text)).unwrap();
    let mentions = into.mentions.iter().map(ToString::to_string).collect();
    (into.text().map(|text| serde_json::from_str(&text).unwrap()), mentions)
}

#[test]
fn everything_is_copied_as_it_is() {
    let all = json!({"a": [1, -2, 2.5, true, null, "x\"\n\u{e9}", {}, []], "b": {"c": {"d": [[]]}}, "": 0});
    assert_eq!(copied(&Rule::All, &all, 1 << 20).0, Some(all));
}

#[test]
fn fields_that_are_not_named_are_left_out_and_presence_is_told() {
    static RULE: Rule = Rule::Fields(&[
        (
            "spec",
            Rule::Fields(&[
                ("list", Rule::Fields(&[("a", Rule::All)])),
                ("big", Rule::Presence),
                ("no", Rule::Presence),
            ]),
        ),
        ("data", Rule::Keys),
    ]);
    let from =
        json!({"status": {"x": 1}, "spec": {"list": [{"a": 1, "b": 2}, {}], "big": {"c": [1]}, "no": null, "z": 1}});
    let wanted = json!({"spec": {"list": [{"a": 1}, {}], "big": true, "no": null}});
    assert_eq!(copied(&RULE, &from, 1 << 20).0, Some(wanted));
}

#[test]
fn entries_keep_their_positions_and_only_ours_are_copied_in_full() {
    let ours = json!({"authorization": {"type": "Bearer"}, "name": "promarchive/n/lab/0a1b2c3d", "url": "https://r"});
    let from = json!([
        {"basicAuth": {"big": "x".repeat(5000)}, "name": "theirs", "url": "https://example.org", "queueConfig": {}},
        ours,
        {"url": "https://example.org"},
        {"name": ["no text"], "url": 7},
        "no entry at all",
        {"name": "promarchive/n/long/0a1b2c3d", "url": "u", "headers": {"x": "y".repeat(LONGEST_ENTRY)}},
    ]);
    let (copy, mentions) = copied(&Rule::Entries, &from, 1 << 20);
    let wanted = json!([
        {"name": "theirs", "url": "https://example.org"},
        ours,
        {"url": "https://example.org"},
        {},
        null,
        {"name": "promarchive/n/long/0a1b2c3d", "url": "u", "cut": true},
    ]);
    assert_eq!(copy, Some(wanted));
    assert_eq!(mentions, ["n/lab", "n/long"]);
}

#[test]
fn the_claim_of_an_archive_is_noted_however_long_the_rest_is() {
    static RULE: Rule = Rule::AllWith(&[("storage", Rule::AllWith(&[("claim", Rule::Claim)]))]);
    let from = json!({"more": "x".repeat(100), "storage": {"claim": "c", "other": [1]}, "rest": {"a": null}});
    for (room, is_whole) in [(1 << 10, true), (20, false)] {
        let mut into = Copied::with_room(room);
        let text = from.to_string();
        Copy { rule: &RULE, into: &mut into }.deserialize(&mut serde_json::Deserializer::from_str(&text)).unwrap();
        assert_eq!(into.claim.as_deref(), Some("c"));
        let copy = into.text().map(|text| serde_json::from_str::<Value>(&text).unwrap());
        assert_eq!(copy, is_whole.then(|| from.clone()));
    }
}

#[test]
fn only_keys_of_our_shape_name_an_archive() {
    assert_eq!(archive_of("team.lab.x.p.token"), Some(ArchiveName::new("team", "lab")));
    for other in ["team.lab", "team", "", "Team.lab.x", "team.9lab.x", "team..x", "_.lab.x"] {
        assert_eq!(archive_of(other), None, "{other}");
    }
}

#[test]
fn what_has_no_room_is_not_there_at_all_and_still_mentioned() {
    static RULE: Rule = Rule::Fields(&[("spec", Rule::Fields(&[("more", Rule::All), ("remoteWrite", Rule::Entries)]))]);
    let from = json!({"spec": {"more": "x".repeat(100), "remoteWrite": [{"name": "promarchive/n/lab/0a1b2c3d"}]}});
    assert_eq!(copied(&RULE, &from, 100), (None, vec!["n/lab".to_owned()]));
    let from = json!({"a.b.token": "x".repeat(100), "c.d.ca.crt": "", "theirs": "", "two.parts": ""});
    assert_eq!(copied(&Rule::Keys, &from, 20), (None, vec!["a/b".to_owned(), "c/d".to_owned()]));
}
