//! Mutation of protobuf messages that keeps their framing: a change inside of a nested message changes the lengths around it, too.
//! Bytes that are changed blindly do not get past the first length.

use std::mem;

/// What a message is made of. Groups are left alone: a message with one is changed as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
    Fixed32([u8; 4]),
}

/// Levels below the request: series, histogram, span.
const MOST_LEVELS: u32 = 4;
const LAST_FIELD: u64 = 18;
const VARINTS: &[u64] = &[
    0,
    1,
    2,
    3,
    127,
    128,
    52,
    105,
    u32::MAX as u64,
    1 << 32,
    (1 << 32) + 1,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
    u64::MAX - 1,
    1_795_305_600_000,
    253_402_300_800_000,
];
const DOUBLES: &[u64] = &[
    0,
    1 << 63,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff0_0000_0000_0002,
    0x7ff8_0000_0000_0001,
    0x7ff0_0000_0000_0001,
    0xffff_ffff_ffff_ffff,
    1,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    0x4330_0000_0000_0000,
];

/// Random numbers (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap_or(0) % sides.max(1)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len())]
    }
}

/// A changed `message`, somewhere. `change` changes plain bytes; the same `seed` chooses the same place.
pub fn mutate(message: &[u8], seed: u32, change: &mut dyn FnMut(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut dice = Dice((u64::from(seed) << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    if dice.roll(8) == 0 {
        return change(message.to_vec());
    }
    mutate_level(message, MOST_LEVELS, &mut dice, change)
}

fn mutate_level(message: &[u8], levels: u32, dice: &mut Dice, change: &mut dyn FnMut(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let Some(mut fields) = parse(message) else { return change(message.to_vec()) };
    if fields.is_empty() {
        return encode(&[new_field(dice, &[])]);
    }
    let at = dice.roll(fields.len());
    if let Value::Bytes(inner) = &mut fields[at].value
        && levels > 0
        && dice.roll(4) > 0
    {
        *inner = mutate_level(&mem::take(inner), levels - 1, dice, change);
    } else {
        mutate_field(&mut fields, at, dice, change);
    }
    encode(&fields)
}

fn mutate_field(fields: &mut Vec<Field>, at: usize, dice: &mut Dice, change: &mut dyn FnMut(Vec<u8>) -> Vec<u8>) {
    let other = dice.roll(fields.len());
    match dice.roll(10) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(other, fields[at].clone()),
        2 => fields.swap(at, other),
        3 => fields[at].number = new_number(dice),
        4 => fields.insert(at, new_field(dice, fields)),
        5 => fields[at].value = fields[other].value.clone(),
        6 => fields[at].value = new_value(dice, fields),
        _ => change_value(&mut fields[at].value, dice, change),
    }
}

fn change_value(value: &mut Value, dice: &mut Dice, change: &mut dyn FnMut(Vec<u8>) -> Vec<u8>) {
    match value {
        Value::Varint(number) if dice.roll(2) == 0 => {
            *number = number.wrapping_add(dice.roll(9) as u64).wrapping_sub(4)
        }
        Value::Varint(number) => *number = dice.one_of(VARINTS),
        Value::Fixed64(bytes) if dice.roll(2) == 0 => *bytes = dice.one_of(DOUBLES).to_le_bytes(),
        Value::Fixed64(bytes) => bytes[dice.roll(8)] ^= 1 << dice.roll(8),
        Value::Fixed32(bytes) => bytes[dice.roll(4)] ^= 1 << dice.roll(8),
        Value::Bytes(bytes) => *bytes = change(mem::take(bytes)),
    }
}

fn new_number(dice: &mut Dice) -> u64 {
    if dice.roll(16) == 0 { 1 << dice.roll(30) } else { 1 + dice.roll(LAST_FIELD as usize) as u64 }
}

fn new_field(dice: &mut Dice, fields: &[Field]) -> Field {
    Field { number: new_number(dice), value: new_value(dice, fields) }
}

fn new_value(dice: &mut Dice, fields: &[Field]) -> Value {
    match dice.roll(6) {
        0 => Value::Varint(dice.one_of(VARINTS)),
        1 => Value::Fixed64(dice.one_of(DOUBLES).to_le_bytes()),
        2 => Value::Fixed32([0; 4]),
        3 => Value::Bytes(Vec::new()),
        // A packed field, or a message of one field.
        4 => {
            Value::Bytes((0..1 + dice.roll(6)).map(|_| dice.one_of(&[0, 1, 2, 3, 4, 8, 9, 0x10, 0x7f, 0x80])).collect())
        }
        _ => fields.first().map_or(Value::Varint(1), |_| Value::Bytes(encode(&fields[dice.roll(fields.len())..]))),
    }
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Varint(take_varint(&mut bytes)?),
            1 => Value::Fixed64(*take(&mut bytes, 8)?.first_chunk()?),
            2 => {
                let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                Value::Bytes(take(&mut bytes, length)?.to_vec())
            }
            5 => Value::Fixed32(*take(&mut bytes, 4)?.first_chunk()?),
            _ => return None,
        };
        fields.push(Field { number: key >> 3, value });
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let length = 1 + bytes.iter().take(10).position(|byte| *byte < 0x80)?;
    let digits = take(bytes, length)?;
    Some(digits.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for Field { number, value } in fields {
        let (wire_type, bytes): (u64, &[u8]) = match value {
            Value::Varint(_) => (0, &[]),
            Value::Fixed64(bytes) => (1, bytes),
            Value::Bytes(bytes) => (2, bytes),
            Value::Fixed32(bytes) => (5, bytes),
        };
        put_varint(number << 3 | wire_type, &mut out);
        match value {
            Value::Varint(number) => put_varint(*number, &mut out),
            Value::Bytes(bytes) => put_varint(bytes.len() as u64, &mut out),
            Value::Fixed64(_) | Value::Fixed32(_) => {}
        }
        out.extend_from_slice(bytes);
    }
    out
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What a field looks like from outside.
pub(crate) struct Outline {
    pub(crate) number: u64,
    pub(crate) wire_type: u64,
    /// A varint's value, or the length of bytes; otherwise 0.
    pub(crate) varint: u64,
}

/// The fields of a message, up to where it cannot be read.
pub(crate) fn outline(mut bytes: &[u8]) -> Vec<Outline> {
    let mut fields = Vec::new();
    while let Some(key) = take_varint(&mut bytes) {
        let (number, wire_type) = (key >> 3, key & 7);
        let varint = if matches!(wire_type, 0 | 2) { take_varint(&mut bytes) } else { Some(0) };
        fields.push(Outline { number, wire_type, varint: varint.unwrap_or(0) });
        let length = match wire_type {
            0 => Some(0),
            1 => Some(8),
            2 => varint.and_then(|length| usize::try_from(length).ok()),
            5 => Some(4),
            _ => None,
        };
        if varint.is_none() || length.and_then(|length| take(&mut bytes, length)).is_none() {
            break;
        }
    }
    fields
}
