//! A label that the receiver sets, whatever the sender says.

use super::LabelSet;

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

    /// Sets it in a label set, which stays canonical.
    pub fn apply(self, set: &mut LabelSet<'a>) {
        match set.labels.binary_search_by_key(&self.name, |(name, _)| name) {
            Ok(at) => {
                if let Some(label) = set.labels.get_mut(at) {
                    label.1 = self.value;
                }
            }
            Err(at) => set.labels.insert(at, (self.name, self.value)),
        }
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
            label.apply(&mut set);
            assert_eq!(set.labels, [("job", "x"), ("sender", "team/k8s"), ("zone", "z")]);
        }
        let mut alone = LabelSet { metric: "up", labels: Vec::new() };
        label.apply(&mut alone);
        assert_eq!(alone.labels, [("sender", "team/k8s")]);
    }

    #[test]
    fn an_absent_label_cannot_be_set() {
        let long = "x".repeat(256);
        for (name, value) in [("", "x"), ("x", ""), (&long, "x"), ("x", &long)] {
            assert_eq!(SetLabel::new(name, value), None);
        }
        assert!(SetLabel::new(&long[1..], &long[1..]).is_some());
    }
}
