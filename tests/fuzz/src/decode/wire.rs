//! The messages of remote write for prost, their parts as bytes, their numbers as wide as the wire allows.

use prost::Message;

use crate::mutation::outline;

/// The message, if prost can read it and no group is in it.
pub(super) fn decode<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    let has_group = outline(bytes).iter().any(|field| matches!(field.wire_type, 3 | 4));
    if has_group { None } else { M::decode(bytes).ok() }
}

/// All of these messages, or none.
pub(super) fn decode_all<M: Message + Default>(all: &[Vec<u8>]) -> Option<Vec<M>> {
    all.iter().map(|bytes| decode(bytes)).collect()
}

/// Whether the request has one of these fields, as bytes.
pub(super) fn has_bytes(request: &[u8], numbers: &[u64]) -> bool {
    outline(request).iter().any(|field| field.wire_type == 2 && numbers.contains(&field.number))
}

/// Whether the field is there with another wire type than these.
pub(super) fn has_other_type(message: &[u8], number: u64, wire_types: &[u64]) -> bool {
    outline(message).iter().any(|field| field.number == number && !wire_types.contains(&field.wire_type))
}

/// Whether these fields have no more than 32 bits. Each number is looked at, also one that a later one replaces.
pub(super) fn are_narrow(message: &[u8], numbers: &[u64]) -> bool {
    let narrow = |number: u64| u32::try_from(number).is_ok();
    outline(message)
        .iter()
        .all(|field| field.wire_type != 0 || !numbers.contains(&field.number) || narrow(field.varint))
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct V1Request {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) timeseries: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) metadata: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct V2Request {
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) symbols: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(super) timeseries: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct V1Series {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) labels: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) samples: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) exemplars: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) histograms: Vec<Vec<u8>>,
}

/// Without the references, which may be packed or not.
#[derive(Clone, PartialEq, Message)]
pub(super) struct V2Series {
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) samples: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) histograms: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) exemplars: Vec<Vec<u8>>,
    /// Parts of one message: put together, they are merged.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(super) metadata: Vec<Vec<u8>>,
    #[prost(int64, tag = "6")]
    pub(super) created_timestamp: i64,
}

/// Of a series or an exemplar.
#[derive(Clone, PartialEq, Message)]
pub(super) struct References {
    #[prost(uint64, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(fixed64, tag = "1")]
    pub(super) value: u64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
    #[prost(int64, tag = "3")]
    pub(super) start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct V1Exemplar {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) labels: Vec<Vec<u8>>,
    #[prost(fixed64, tag = "2")]
    pub(super) value: u64,
    #[prost(int64, tag = "3")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct V2Exemplar {
    #[prost(uint64, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u64>,
    #[prost(fixed64, tag = "2")]
    pub(super) value: u64,
    #[prost(int64, tag = "3")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct V1Metadata {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) metric_family_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) help: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) unit: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct V2Metadata {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(uint64, tag = "3")]
    pub(super) help_ref: u64,
    #[prost(uint64, tag = "4")]
    pub(super) unit_ref: u64,
}

/// The spans of a histogram.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Spans {
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(super) negative: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "11")]
    pub(super) positive: Vec<Vec<u8>>,
}
