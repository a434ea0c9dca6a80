//! Protobuf messages written field by field. Unlike an encoder made from a schema this one leaves out nothing that is zero, so −0 is
//! sent as such, and it writes what is wrong as readily as what is right.

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The encoded bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Bytes as they are, whatever they mean.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn key(self, field: u32, wire_type: u32) -> Self {
        self.number(u64::from(field << 3 | wire_type))
    }

    fn number(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
        self
    }

    /// `uint32`, `uint64`, `enum`, `bool`.
    #[must_use]
    pub fn unsigned(self, field: u32, value: u64) -> Self {
        self.key(field, 0).number(value)
    }

    /// `int32`, `int64`.
    #[must_use]
    pub fn signed(self, field: u32, value: i64) -> Self {
        self.unsigned(field, value.cast_unsigned())
    }

    /// `sint32`, `sint64`.
    #[must_use]
    pub fn zigzag(self, field: u32, value: i64) -> Self {
        self.unsigned(field, zigzag(value))
    }

    /// `double`, by its bits.
    #[must_use]
    pub fn double(self, field: u32, bits: u64) -> Self {
        self.key(field, 1).raw(&bits.to_le_bytes())
    }

    /// `string`, `bytes`.
    #[must_use]
    pub fn bytes(self, field: u32, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.key(field, 2).number(u64::try_from(value.len()).unwrap()).raw(value)
    }

    /// A message inside.
    #[must_use]
    pub fn message(self, field: u32, value: Self) -> Self {
        self.bytes(field, value.0)
    }

    /// Messages inside, one after the other.
    #[must_use]
    pub fn messages(self, field: u32, values: impl IntoIterator<Item = Self>) -> Self {
        values.into_iter().fold(self, |message, value| message.message(field, value))
    }

    /// Packed `uint32`.
    #[must_use]
    pub fn packed_unsigned(self, field: u32, values: &[u64]) -> Self {
        self.message(field, values.iter().fold(Self::new(), |packed, &value| packed.number(value)))
    }

    /// Packed `sint64`.
    #[must_use]
    pub fn packed_zigzag(self, field: u32, values: &[i64]) -> Self {
        self.message(field, values.iter().fold(Self::new(), |packed, &value| packed.number(zigzag(value))))
    }

    /// Packed `double`, by their bits.
    #[must_use]
    pub fn packed_doubles(self, field: u32, bits: &[u64]) -> Self {
        self.message(field, bits.iter().fold(Self::new(), |packed, bits| packed.raw(&bits.to_le_bytes())))
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use promarchive_wire::proto::v1;
    use prost::Message as _;

    use super::*;

    #[test]
    fn prost_reads_what_is_written() {
        let sample = Message::new().double(1, 1.5_f64.to_bits()).signed(2, -7);
        let label = Message::new().bytes(1, "name").bytes(2, "value");
        let histogram = Message::new().zigzag(4, -53).packed_zigzag(12, &[i64::MIN, i64::MAX]);
        let series = Message::new().message(1, label).message(2, sample).message(4, histogram);
        let read = v1::TimeSeries::decode(series.into_bytes().as_slice()).unwrap();
        assert_eq!((read.samples[0].value, read.samples[0].timestamp), (1.5, -7));
        assert_eq!((read.labels[0].name.as_str(), read.labels[0].value.as_str()), ("name", "value"));
        assert_eq!(
            (read.histograms[0].schema, &read.histograms[0].positive_deltas[..]),
            (-53, &[i64::MIN, i64::MAX][..])
        );
    }
}
