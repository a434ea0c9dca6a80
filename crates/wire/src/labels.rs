//! Label sets, from the bytes of either protocol to the canonical form.
//!
//! ```text
//! 1.0  field 1 of a TimeSeries or Exemplar, once a label:  Label { 1 name, 2 value }
//! 2.0  field 1, packed or not: name, value, name, value, … as indices into the symbols
//! ```
//!
//! Canonical: the metric name apart, the rest sorted by name in byte order, no name twice, no empty value (an empty
//! value is an absent label). Any UTF-8 is a name, in both protocols.

use std::fmt;

use promarchive_model::quote::{name, quote, truncate};
use promarchive_model::{Invalid, METRIC_NAME, Protocol, Reason, SetLabel};

use super::Malformed;
use super::cursor::{BYTES, Cursor, key};

/// Labels of one set, at most: a pair of references takes 2 bytes, and 32 in memory.
const MAX_LABELS: usize = 1 << 16;

/// Bytes of the names and values of one set, at most: a pair of references of 2.0 can stand for a megabyte, and all of it is written out in
/// a file.
const MAX_LABEL_SET_BYTES: usize = 1 << 20;

/// Room for the labels of most series.
const USUAL_LABELS: usize = 16;

const LABEL: u32 = key(1, BYTES);
const NAME: u32 = key(1, BYTES);
const VALUE: u32 = key(2, BYTES);

/// The labels of a series or exemplar as sent, in place. Equal bytes of [`Text`](Self::Text) are equal label sets, and
/// so are equal bytes of [`Refs`](Self::Refs) within one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawLabels<'a> {
    /// 1.0: all `labels` fields, keys included.
    Text(&'a [u8]),
    /// 2.0: the varints of `labels_refs`.
    Refs(&'a [u8]),
    /// Not in one piece on the wire: legal, and rare.
    Scattered(Scattered<'a>),
}

/// Labels in several pieces; put together, these are what [`RawLabels::Text`] or [`RawLabels::Refs`] hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scattered<'a> {
    /// 1.0: pieces of text; 2.0: of references.
    pub protocol: Protocol,
    /// In the order of the wire. No label and no varint is split.
    pub pieces: Vec<&'a [u8]>,
}

impl<'a> RawLabels<'a> {
    /// No labels.
    pub(super) const fn none(protocol: Protocol) -> Self {
        match protocol {
            Protocol::V1 => Self::Text(&[]),
            Protocol::V2 => Self::Refs(&[]),
        }
    }

    /// The protocol whose form the bytes have.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Text(_) => Protocol::V1,
            Self::Refs(_) => Protocol::V2,
            Self::Scattered(scattered) => scattered.protocol,
        }
    }

    /// The bytes, in one or more pieces.
    pub fn pieces(&self) -> &[&'a [u8]] {
        match self {
            Self::Text(piece) | Self::Refs(piece) => std::slice::from_ref(piece),
            Self::Scattered(scattered) => &scattered.pieces,
        }
    }

    /// Adds the next piece.
    #[inline]
    pub(super) fn push(&mut self, piece: &'a [u8]) {
        match self {
            Self::Text(whole) | Self::Refs(whole) if whole.is_empty() => *whole = piece,
            _ => self.scatter(piece),
        }
    }

    #[cold]
    fn scatter(&mut self, piece: &'a [u8]) {
        let protocol = self.protocol();
        match self {
            Self::Text(first) | Self::Refs(first) => {
                *self = Self::Scattered(Scattered { protocol, pieces: vec![first, piece] });
            }
            Self::Scattered(scattered) => scattered.pieces.push(piece),
        }
    }

    /// Name and value of each label, in the order of the wire.
    fn for_each(
        &self,
        symbols: &[&'a [u8]],
        mut each: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        match self.protocol() {
            Protocol::V1 => {
                for piece in self.pieces() {
                    let mut cursor = Cursor::new(piece, "label set");
                    while let Some(key) = cursor.key().map_err(malformed)? {
                        if key != LABEL {
                            cursor.skip(key, &[1]).map_err(malformed)?;
                            continue;
                        }
                        let (name, value) = cursor.message("label").and_then(read_label).map_err(malformed)?;
                        each(name, value)?;
                    }
                }
            }
            Protocol::V2 => {
                let mut pending = None;
                for piece in self.pieces() {
                    let mut cursor = Cursor::new(piece, "label reference");
                    while !cursor.rest().is_empty() {
                        let symbol = resolve(cursor.varint().map_err(malformed)?, symbols)?;
                        match pending.take() {
                            None => pending = Some(symbol),
                            Some(name) => each(name, symbol)?,
                        }
                    }
                }
                if pending.is_some() {
                    return Err(Invalid::new(Reason::InvalidLabelRefs, "odd number of label references"));
                }
            }
        }
        Ok(())
    }

    /// The label references of 2.0 in the order of the wire; `None` for one that cannot be read, and nothing after it.
    pub fn refs(&self) -> impl Iterator<Item = Option<usize>> + use<'a> {
        let mut cursor = match self {
            Self::Refs(bytes) => Cursor::new(bytes, "label reference"),
            _ => Cursor::new(&[], "label reference"),
        };
        std::iter::from_fn(move || {
            if cursor.rest().is_empty() {
                return None;
            }
            let reference = cursor.varint().ok().and_then(|reference| usize::try_from(reference).ok());
            if reference.is_none() {
                cursor = Cursor::new(&[], "label reference");
            }
            Some(reference)
        })
    }

    /// The series as an answer or a log names it, such as `up{job="x"}`: bounded, escaped, and never failing. What
    /// cannot be read is left out.
    pub fn describe(&self, symbols: &[&'a [u8]]) -> String {
        const LABELS_SHOWN: usize = 32;
        let mut labels = Vec::new();
        let _ = self.for_each(symbols, |name, value| {
            labels.push((name, value));
            // Any fault ends the walk.
            if labels.len() < LABELS_SHOWN { Ok(()) } else { Err(Invalid::new(Reason::LabelLimit, "")) }
        });
        let metric = labels.iter().position(|(name, _)| *name == METRIC_NAME.as_bytes()).map(|at| labels.remove(at).1);
        labels.sort_unstable();
        describe(metric.unwrap_or_default(), labels.into_iter())
    }
}

/// `metric{name="value",…}`, cut at a length that suits one line.
fn describe<'a>(metric: &[u8], labels: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> String {
    const SHOWN: usize = 160;
    let mut text = if metric.is_empty() { String::new() } else { name(metric).into_owned() };
    let mut separator = '{';
    for (label, value) in labels {
        text.push(separator);
        text.push_str(&name(label));
        text.push('=');
        text.push_str(&quote(value));
        separator = ',';
        if text.len() > SHOWN {
            break;
        }
    }
    match separator {
        ',' => text.push('}'),
        _ if text.is_empty() => text.push_str("{}"),
        _ => {}
    }
    truncate(&mut text, SHOWN);
    text
}

fn read_label(mut label: Cursor<'_>) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value) = (&[][..], &[][..]);
    while let Some(key) = label.key()? {
        match key {
            NAME => name = label.bytes()?,
            VALUE => value = label.bytes()?,
            other => label.skip(other, &[1, 2])?,
        }
    }
    Ok((name, value))
}

fn resolve<'a>(reference: u64, symbols: &[&'a [u8]]) -> Result<&'a [u8], Invalid> {
    let symbol = usize::try_from(reference).ok().and_then(|index| symbols.get(index));
    symbol.copied().ok_or_else(|| {
        let detail = format!("label reference {reference} is out of range: there are {} symbols", symbols.len());
        Invalid::new(Reason::InvalidLabelRefs, detail)
    })
}

fn malformed(malformed: Malformed) -> Invalid {
    Invalid::new(Reason::MalformedLabels, malformed.to_string())
}

/// All labels, canonical but for the metric name, which is one of them.
pub(super) fn canonical<'a>(raw: &RawLabels<'a>, symbols: &[&'a [u8]]) -> Result<Vec<(&'a str, &'a str)>, Invalid> {
    let mut labels = Vec::with_capacity(USUAL_LABELS);
    let mut bytes = 0_usize;
    raw.for_each(symbols, |name, value| {
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        if bytes > MAX_LABEL_SET_BYTES {
            return Err(Invalid::new(
                Reason::LabelLimit,
                format!("the labels take more than {MAX_LABEL_SET_BYTES} bytes"),
            ));
        }
        let (name, value) = (utf8("label name", name)?, utf8("label value", value)?);
        if name.is_empty() {
            return Err(Invalid::new(
                Reason::EmptyLabelName,
                format!("the label with the value {} has no name", quote(value.as_bytes())),
            ));
        }
        if labels.len() == MAX_LABELS {
            return Err(Invalid::new(Reason::LabelLimit, format!("more than {MAX_LABELS} labels")));
        }
        if !value.is_empty() {
            labels.push((name, value));
        }
        Ok(())
    })?;
    labels.sort_unstable();
    match labels.array_windows().find(|[(one, _), (next, _)]| one == next) {
        Some([(twice, _), _]) => {
            Err(Invalid::new(Reason::DuplicateLabel, format!("{} twice", quote(twice.as_bytes()))))
        }
        None => Ok(labels),
    }
}

/// `bytes` as text, or a refusal that says what of.
pub(super) fn utf8<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str, Invalid> {
    str::from_utf8(bytes).map_err(|_| Invalid::new(Reason::InvalidUtf8, format!("{what} {}", quote(bytes))))
}

/// A canonical label set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LabelSet<'a> {
    /// The metric name, not empty.
    pub metric: &'a str,
    /// The other labels: (name, value), sorted by name in byte order, no name twice, nothing empty.
    pub labels: Vec<(&'a str, &'a str)>,
}

impl<'a> LabelSet<'a> {
    /// Parses, checks and sorts. `symbols` are those of the same request, empty for 1.0.
    ///
    /// # Errors
    ///
    /// No metric name; a name twice or empty; not UTF-8; references odd in number or out of range; too many or too long; broken framing.
    pub fn parse(raw: &RawLabels<'a>, symbols: &[&'a [u8]]) -> Result<Self, Invalid> {
        let mut labels = canonical(raw, symbols)?;
        match labels.binary_search_by_key(&METRIC_NAME, |(name, _)| name) {
            Ok(at) => Ok(Self { metric: labels.remove(at).1, labels }),
            Err(_) => Err(Invalid::no_metric_name()),
        }
    }

    /// Bytes of all its names and values.
    pub fn text_bytes(&self) -> usize {
        self.labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + self.metric.len()
    }
}

/// As PromQL writes it, shortened to suit one line: for people, not an identity.
impl<'a> LabelSet<'a> {
    /// Sets a label, whatever was sent under its name. The set stays canonical.
    pub fn set(&mut self, label: SetLabel<'a>) {
        match self.labels.binary_search_by_key(&label.name(), |(name, _)| name) {
            Ok(at) => {
                if let Some(found) = self.labels.get_mut(at) {
                    found.1 = label.value();
                }
            }
            Err(at) => self.labels.insert(at, (label.name(), label.value())),
        }
    }
}

impl fmt::Display for LabelSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        f.write_str(&describe(self.metric.as_bytes(), labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_the_place_of_what_was_sent_and_keeps_the_order() {
        let label = SetLabel::new("sender", "team/k8s").unwrap();
        for labels in [vec![("job", "x"), ("zone", "z")], vec![("job", "x"), ("sender", "forged"), ("zone", "z")]] {
            let mut set = LabelSet { metric: "up", labels };
            set.set(label);
            assert_eq!(set.labels, [("job", "x"), ("sender", "team/k8s"), ("zone", "z")]);
        }
        let mut alone = LabelSet { metric: "up", labels: Vec::new() };
        alone.set(label);
        assert_eq!(alone.labels, [("sender", "team/k8s")]);
    }
}
