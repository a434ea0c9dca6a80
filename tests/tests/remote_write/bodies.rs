//! Bodies that cannot be read, or are too long.

use promarchive_model::Protocol::{self, V1, V2};
use promarchive_tests::program::{Receiver, headers};
use promarchive_tests::protobuf::Message;
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;
use reqwest::Method;

use crate::{PROTOCOLS, T, committed};

fn compress(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

fn assert_refused(receiver: &Receiver, protocol: Protocol, body: Vec<u8>, status: u16, names: &str) {
    let answer = receiver.send(Method::POST, "/api/v1/write", headers(protocol), body);
    assert_eq!(answer.status, status, "{protocol:?} {names}: {answer:?}");
    assert!(answer.is_one_line() && answer.body.contains(names), "{protocol:?} {names}: {answer:?}");
    let written = (protocol == V2).then_some([0, 0, 0]);
    assert_eq!(answer.written(), written, "{protocol:?} {names}: {answer:?}");
}

#[test]
fn what_is_no_snappy_block() {
    let receiver = Receiver::start(&[]);
    for protocol in PROTOCOLS {
        let message = Request::of([Series::metric("up").sample(T, 1.0).sample(T + 1, 1.0)]).encode(protocol);
        let block = compress(&message);
        let mut framed = snap::read::FrameEncoder::new(message.as_slice());
        let mut frames = Vec::new();
        std::io::copy(&mut framed, &mut frames).unwrap();
        let mut flipped = block.clone();
        flipped[0] ^= 1;
        for body in
            [Vec::new(), message, frames, flipped, block[..block.len() - 1].to_vec(), b"\x1f\x8b\x08gzip".to_vec()]
        {
            assert_refused(&receiver, protocol, body, 400, "snappy");
        }
    }
    assert_eq!(committed(&receiver), Tables::default());
}

#[test]
fn what_is_no_protobuf() {
    let receiver = Receiver::start(&[]);
    for protocol in PROTOCOLS {
        let series = if protocol == V1 { 1 } else { 5 };
        let good = Request::of([Series::metric("up").sample(T, 1.0)]).encode(protocol);
        let symbols = if protocol == V1 { Message::new() } else { Message::new().bytes(4, "") };
        let bodies = [
            good[..good.len() - 1].to_vec(),
            [good.clone(), vec![0x00]].concat(),
            [good.clone(), vec![0xff; 11]].concat(),
            // A length that goes over the end, and one over all memory.
            symbols.clone().raw(&[series << 3 | 2, 0x05, 0x00]).into_bytes(),
            symbols.clone().raw(&[series << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).into_bytes(),
            // A group, and a series that is a number.
            symbols.clone().raw(&[0x4b]).into_bytes(),
            symbols.clone().unsigned(series.into(), 1).into_bytes(),
            // A sample whose value is no double.
            symbols
                .clone()
                .message(series.into(), Message::new().message(2, Message::new().unsigned(1, 1)))
                .into_bytes(),
        ];
        for body in bodies {
            assert_refused(&receiver, protocol, compress(&body), 400, "malformed protobuf");
        }
    }
    assert_eq!(committed(&receiver), Tables::default(), "nothing of an unreadable request is kept");
}

#[test]
fn the_message_of_the_other_protocol() {
    let receiver = Receiver::start(&[]);
    let request = Request::of([Series::metric("up").sample(T, 1.0)]);
    // Skipping unknown fields, a receiver would acknowledge it and keep nothing.
    assert_refused(&receiver, V1, compress(&request.encode(V2)), 400, "remote write 1.0");
    assert_refused(&receiver, V2, compress(&request.encode(V1)), 400, "remote write 2.0");
    assert_eq!(committed(&receiver), Tables::default());
}

#[test]
fn the_first_symbol_is_empty() {
    let receiver = Receiver::start(&[]);
    let series = || Message::new().packed_unsigned(1, &[0, 1]).message(2, Message::new().double(1, 1).signed(2, T));
    for symbols in [&["__name__", "up"][..], &["x", "__name__", "up"], &[]] {
        let message = symbols.iter().fold(Message::new(), |message, symbol| message.bytes(4, symbol));
        assert_refused(&receiver, V2, compress(&message.message(5, series()).into_bytes()), 400, "symbols[0]");
    }
}

#[test]
fn too_long() {
    let receiver = Receiver::start(&["--max-request-bytes", "4Ki", "--max-decoded-bytes", "8Ki"]);
    // Noise, which does not compress.
    let noise: String =
        (0..1000_u64).map(|n| (n * n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 36).map(|n| format!("{n:x}")).collect();
    for protocol in PROTOCOLS {
        let long = Request::of([Series::new(&[("__name__", "up"), ("noise", &noise)]).sample(T, 1.0)]).encode(protocol);
        let body = compress(&long);
        assert!(body.len() > 4096, "{}", body.len());
        assert_refused(&receiver, protocol, body, 413, "4096 bytes");

        let name = "a".repeat(9000);
        let expanding = compress(&Request::of([Series::metric(&name).sample(T, 1.0)]).encode(protocol));
        assert!(expanding.len() < 4096, "{}", expanding.len());
        assert_refused(&receiver, protocol, expanding, 400, "exceeds the limit of 8192");

        // 4 GiB declared by a body of a few bytes.
        assert_refused(&receiver, protocol, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00], 400, "decoded length");
    }
    assert_eq!(committed(&receiver), Tables::default());
}

#[test]
fn the_default_limits_are_32_mib() {
    let receiver = Receiver::start(&[]);
    let limit = 32 << 20;
    assert_refused(&receiver, V2, vec![0; limit + 1], 413, &format!("{limit} bytes"));
    let mut declared = Message::new().raw(&[0x81, 0x80, 0x80, 0x10]).into_bytes();
    declared.resize(100, 0);
    assert_refused(&receiver, V2, declared, 400, &format!("decoded length of {} bytes", limit + 1));
}
