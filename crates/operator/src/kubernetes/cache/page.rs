//! What the API server answers to a list and a watch: objects, of which each is read as [`Read`].

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::copy::ShortText;
use super::kept::{Read, Reading};
use super::source::Source;

#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: Vec<Read>,
    pub(super) resource_version: String,
    /// Where the next page begins; empty after the last one.
    pub(super) token: String,
}

pub(super) struct ReadingPage(pub(super) Source);

impl<'de> DeserializeSeed<'de> for ReadingPage {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
struct PageMeta {
    #[serde(default, rename = "resourceVersion")]
    resource_version: String,
    #[serde(default, rename = "continue")]
    token: String,
}

impl<'de> Visitor<'de> for ReadingPage {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Page, A::Error> {
        let mut page = Page::default();
        while let Some(key) = fields.next_key::<String>()? {
            match key.as_str() {
                "metadata" => {
                    let meta: PageMeta = fields.next_value()?;
                    (page.resource_version, page.token) = (meta.resource_version, meta.token);
                }
                "items" => page.items = fields.next_value_seed(Items(self.0))?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(page)
    }
}

struct Items(Source);

impl<'de> DeserializeSeed<'de> for Items {
    type Value = Vec<Read>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // Null, when there is none.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<Read>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(read) = items.next_element_seed(Reading(self.0))? {
            all.push(read.shortened());
        }
        Ok(all)
    }
}

/// What a watch says.
#[derive(Debug)]
pub(super) enum Said {
    /// It is there, as it is now.
    Changed(Box<Read>),
    /// It is gone.
    Gone(Box<Read>),
    /// All up to here was said.
    Bookmark(String),
    /// The watch cannot go on.
    Error(Box<kube::core::Status>),
}

/// Reads one line of a watch.
pub(super) struct ReadingEvent(pub(super) Source);

impl<'de> DeserializeSeed<'de> for ReadingEvent {
    type Value = Said;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Said, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReadingEvent {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event of a watch")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Said, A::Error> {
        let (mut type_, mut said) = (None, None);
        while let Some(key) = fields.next_key::<String>()? {
            match (key.as_str(), type_.as_deref()) {
                ("type", _) => type_ = fields.next_value_seed(ShortText)?,
                // The type comes first, always.
                ("object", Some("ERROR")) => said = Some(Said::Error(fields.next_value()?)),
                ("object", Some(type_)) => {
                    let read = Box::new(fields.next_value_seed(Reading(self.0))?);
                    said = Some(match type_ {
                        "DELETED" => Said::Gone(read),
                        "BOOKMARK" => Said::Bookmark(read.metadata.resource_version.unwrap_or_default()),
                        _ => Said::Changed(read),
                    });
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        said.ok_or_else(|| A::Error::custom("an event without type or object"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_and_the_events_of_a_watch_are_read() {
        let page = json!({
            "kind": "List", "metadata": {"resourceVersion": "7", "continue": "next", "remainingItemCount": 3},
            "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}],
        });
        let page = ReadingPage(Source::Namespace).deserialize(&page).unwrap();
        assert_eq!((page.items.len(), page.resource_version.as_str(), page.token.as_str()), (2, "7", "next"));
        let none = ReadingPage(Source::Namespace).deserialize(&json!({"metadata": {}, "items": null})).unwrap();
        assert_eq!((none.items.len(), none.token.as_str()), (0, ""));
        let event = |text: &str| {
            ReadingEvent(Source::Namespace).deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap()
        };
        let object = r#""object":{"metadata":{"name":"a","resourceVersion":"9"}}"#;
        assert!(matches!(event(&format!(r#"{{"type":"MODIFIED",{object}}}"#)), Said::Changed(_)));
        assert!(matches!(event(&format!(r#"{{"type":"DELETED",{object}}}"#)), Said::Gone(_)));
        assert!(matches!(event(&format!(r#"{{"type":"BOOKMARK",{object}}}"#)), Said::Bookmark(at) if at == "9"));
        let error = r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"old","code":410}}"#;
        assert!(matches!(event(error), Said::Error(status) if status.code == 410));
    }
}
