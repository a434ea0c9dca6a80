//! A label that the receiver sets, whatever the sender says.

/// A label that the receiver sets on every series of a request, in place of what the sender gave it: who the sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLabel<'a> {
    name: &'a str,
    value: &'a str,
}

impl<'a> SetLabel<'a> {
    /// Bytes of a name or a value, at most.
    pub const MOST_BYTES: usize = u8::MAX as usize;

    /// A label, if neither name nor value is empty or too long.
    pub fn new(name: &'a str, value: &'a str) -> Option<Self> {
        let fits = |text: &str| (1..=Self::MOST_BYTES).contains(&text.len());
        (fits(name) && fits(value)).then_some(Self { name, value })
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        self.name
    }

    /// Its value.
    pub fn value(self) -> &'a str {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_label_cannot_be_set() {
        let long = "x".repeat(256);
        for (name, value) in [("", "x"), ("x", ""), (&long, "x"), ("x", &long)] {
            assert_eq!(SetLabel::new(name, value), None);
        }
        assert!(SetLabel::new(&long[1..], &long[1..]).is_some());
    }
}
