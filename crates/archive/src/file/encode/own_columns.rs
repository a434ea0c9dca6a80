//! The columns that a table has beyond the key, row by row.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanArray, BooleanBufferBuilder, BooleanBuilder, Float64Array, Float64Builder,
    Int32Builder, Int64Builder, ListBuilder, StructBuilder, TimestampMillisecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use promarchive_model::{Counts, Histogram, MetadataRow, STALE_NAN, Sample, Span};

use super::dictionary::DictionaryColumn;
use crate::schema::span_fields;

fn timestamps(values: &mut Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(std::mem::take(values)).with_timezone("UTC"))
}

/// Start timestamps: 0 is none.
fn start_timestamps(values: &mut Vec<i64>) -> ArrayRef {
    let values = std::mem::take(values);
    let some = values.iter().any(|&value| value != 0).then(|| values.iter().map(|&value| value != 0).collect());
    let nulls = some.unwrap_or_else(|| NullBuffer::new_null(values.len()));
    Arc::new(TimestampMillisecondArray::new(values.into(), Some(nulls)).with_timezone("UTC"))
}

/// `timestamp`, `start_timestamp`, `value`, `stale`.
#[derive(Debug, Default)]
pub(super) struct SampleColumns {
    timestamps: Vec<i64>,
    starts: Vec<i64>,
    /// IEEE bits, of stale markers too.
    values: Vec<f64>,
    /// Rows that are stale markers; few.
    stale: Vec<usize>,
}

impl SampleColumns {
    pub(super) fn append(&mut self, sample: Sample) {
        if sample.value == STALE_NAN {
            self.stale.push(self.values.len());
        }
        self.timestamps.push(sample.timestamp);
        self.starts.push(sample.start_timestamp);
        self.values.push(f64::from_bits(sample.value));
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        let values = std::mem::take(&mut self.values);
        let mut stale = BooleanBufferBuilder::new(values.len());
        stale.append_n(values.len(), false);
        self.stale.drain(..).for_each(|row| stale.set_bit(row, true));
        let stale = stale.finish();
        let present = NullBuffer::new(!&stale);
        vec![
            timestamps(&mut self.timestamps),
            start_timestamps(&mut self.starts),
            Arc::new(Float64Array::new(values.into(), Some(present).filter(|present| present.null_count() > 0))),
            Arc::new(BooleanArray::new(stale, None)),
        ]
    }
}

fn list<B: ArrayBuilder>(values: B, item: DataType) -> ListBuilder<B> {
    ListBuilder::new(values).with_field(Field::new("element", item, false))
}

fn longs() -> ListBuilder<Int64Builder> {
    list(Int64Builder::new(), DataType::Int64)
}

fn doubles() -> ListBuilder<Float64Builder> {
    list(Float64Builder::new(), DataType::Float64)
}

/// The columns of native histograms. Integer and float histograms have columns of their own, null for the other kind.
#[derive(Debug)]
pub(super) struct HistogramColumns {
    timestamps: Vec<i64>,
    starts: Vec<i64>,
    stale: BooleanBuilder,
    reset_hint: DictionaryColumn,
    schema: Int32Builder,
    zero_threshold: Float64Builder,
    sum: Float64Builder,
    count: Int64Builder,
    zero_count: Int64Builder,
    positive: ListBuilder<Int64Builder>,
    negative: ListBuilder<Int64Builder>,
    float_count: Float64Builder,
    float_zero_count: Float64Builder,
    float_positive: ListBuilder<Float64Builder>,
    float_negative: ListBuilder<Float64Builder>,
    positive_spans: ListBuilder<StructBuilder>,
    negative_spans: ListBuilder<StructBuilder>,
    custom_values: ListBuilder<Float64Builder>,
}

impl Default for HistogramColumns {
    fn default() -> Self {
        let spans = || list(StructBuilder::from_fields(span_fields(), 0), DataType::Struct(span_fields()));
        Self {
            timestamps: Vec::new(),
            starts: Vec::new(),
            stale: BooleanBuilder::new(),
            reset_hint: DictionaryColumn::default(),
            schema: Int32Builder::new(),
            zero_threshold: Float64Builder::new(),
            sum: Float64Builder::new(),
            count: Int64Builder::new(),
            zero_count: Int64Builder::new(),
            positive: longs(),
            negative: longs(),
            float_count: Float64Builder::new(),
            float_zero_count: Float64Builder::new(),
            float_positive: doubles(),
            float_negative: doubles(),
            positive_spans: spans(),
            negative_spans: spans(),
            custom_values: doubles(),
        }
    }
}

impl HistogramColumns {
    pub(super) fn append(&mut self, histogram: &Histogram) {
        let stale = histogram.is_stale();
        self.timestamps.push(histogram.timestamp);
        self.starts.push(histogram.start_timestamp);
        self.stale.append_value(stale);
        self.reset_hint.append(Some(&histogram.reset_hint.as_str().into()), 1);
        self.schema.append_value(histogram.schema);
        self.zero_threshold.append_value(f64::from_bits(histogram.zero_threshold));
        self.sum.append_option((!stale).then_some(f64::from_bits(histogram.sum)));
        self.append_counts(&histogram.counts);
        append_spans(&mut self.positive_spans, &histogram.positive_spans);
        append_spans(&mut self.negative_spans, &histogram.negative_spans);
        let custom = (!histogram.custom_values.is_empty()).then_some(&histogram.custom_values);
        append_list(&mut self.custom_values, custom.map(|values| values.iter().map(|&bits| f64::from_bits(bits))));
    }

    fn append_counts(&mut self, counts: &Counts) {
        let (integer, float) = match counts {
            // Counts over i64::MAX are refused at decoding.
            Counts::Integer { count, zero, positive, negative } => {
                (Some((count.cast_signed(), zero.cast_signed(), positive, negative)), None)
            }
            Counts::Float { count, zero, positive, negative } => (None, Some((*count, *zero, positive, negative))),
        };
        self.count.append_option(integer.map(|(count, ..)| count));
        self.zero_count.append_option(integer.map(|(_, zero, ..)| zero));
        append_long_list(&mut self.positive, integer.map(|(_, _, positive, _)| positive));
        append_long_list(&mut self.negative, integer.map(|(.., negative)| negative));
        self.float_count.append_option(float.map(|(count, ..)| f64::from_bits(count)));
        self.float_zero_count.append_option(float.map(|(_, zero, ..)| f64::from_bits(zero)));
        let bits = |values: &Vec<u64>| values.iter().map(|&bits| f64::from_bits(bits)).collect::<Vec<_>>();
        append_list(&mut self.float_positive, float.map(|(_, _, positive, _)| bits(positive).into_iter()));
        append_list(&mut self.float_negative, float.map(|(.., negative)| bits(negative).into_iter()));
    }

    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(vec![
            timestamps(&mut self.timestamps),
            start_timestamps(&mut self.starts),
            Arc::new(self.stale.finish()),
            self.reset_hint.finish()?,
            Arc::new(self.schema.finish()),
            Arc::new(self.zero_threshold.finish()),
            Arc::new(self.sum.finish()),
            Arc::new(self.count.finish()),
            Arc::new(self.zero_count.finish()),
            Arc::new(self.positive.finish()),
            Arc::new(self.negative.finish()),
            Arc::new(self.float_count.finish()),
            Arc::new(self.float_zero_count.finish()),
            Arc::new(self.float_positive.finish()),
            Arc::new(self.float_negative.finish()),
            Arc::new(self.positive_spans.finish()),
            Arc::new(self.negative_spans.finish()),
            Arc::new(self.custom_values.finish()),
        ])
    }
}

fn append_long_list(column: &mut ListBuilder<Int64Builder>, values: Option<&Vec<i64>>) {
    if let Some(values) = values {
        column.values().append_slice(values);
    }
    column.append(values.is_some());
}

fn append_list(column: &mut ListBuilder<Float64Builder>, values: Option<impl Iterator<Item = f64>>) {
    let present = values.is_some();
    values.into_iter().flatten().for_each(|value| column.values().append_value(value));
    column.append(present);
}

fn append_spans(column: &mut ListBuilder<StructBuilder>, spans: &[Span]) {
    for span in spans {
        let fields = column.values();
        if let Some(offsets) = fields.field_builder::<Int32Builder>(0) {
            offsets.append_value(span.offset);
        }
        if let Some(lengths) = fields.field_builder::<Int32Builder>(1) {
            // Lengths add up to a number of buckets that fitted into a request.
            lengths.append_value(i32::try_from(span.length).unwrap_or(i32::MAX));
        }
        fields.append(true);
    }
    column.append(true);
}

/// `timestamp`, `value`, `exemplar_labels`.
#[derive(Debug, Default)]
pub(super) struct ExemplarColumns {
    timestamps: Vec<i64>,
    values: Float64Builder,
    labels: DictionaryColumn,
}

impl ExemplarColumns {
    pub(super) fn append(&mut self, timestamp: i64, value: u64, labels: &str) {
        self.timestamps.push(timestamp);
        self.values.append_value(f64::from_bits(value));
        self.labels.append(Some(&labels.into()), 1);
    }

    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(vec![timestamps(&mut self.timestamps), Arc::new(self.values.finish()), self.labels.finish()?])
    }
}

/// All columns of `metadata`.
#[derive(Debug, Default)]
pub(super) struct MetadataColumns {
    metric: DictionaryColumn,
    timestamps: Vec<i64>,
    kind: DictionaryColumn,
    unit: DictionaryColumn,
    help: DictionaryColumn,
}

impl MetadataColumns {
    pub(super) fn append(&mut self, row: &MetadataRow) {
        self.metric.append(Some(&row.metric.as_str().into()), 1);
        self.timestamps.push(row.received_at);
        self.kind.append(Some(&row.kind.into()), 1);
        self.unit.append(Some(&row.unit.as_str().into()), 1);
        self.help.append(Some(&row.help.as_str().into()), 1);
    }

    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(vec![
            self.metric.finish()?,
            timestamps(&mut self.timestamps),
            self.kind.finish()?,
            self.unit.finish()?,
            self.help.finish()?,
        ])
    }
}
