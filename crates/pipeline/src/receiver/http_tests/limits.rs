//! What a client may send and hold: bytes, memory, time, connections.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::auth::allow;
use super::client::{V1, V2, exchange, head, post, read_answer};
use super::*;
use crate::core::Delivered;
use crate::receiver::metrics::View;

fn chunked(headers: &str, chunks: &[&[u8]]) -> Vec<u8> {
    let mut request = head("POST", "/receive", &format!("{headers}Transfer-Encoding: chunked\r\n")).into_bytes();
    for chunk in chunks {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

#[tokio::test]
async fn a_body_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let target = Script::default();
    let server = start(settings(), target.clone()).await;
    let limit = 64 << 10;
    let body = vec![7; limit + 1];
    assert_eq!(exchange(server.address, post("/receive", V1, &body[..limit])).await.status, 204);
    assert_eq!(exchange(server.address, chunked(V1, &[&body[..60_000], &body[60_000..limit]])).await.status, 204);
    assert!(target.seen().iter().all(|(_, seen)| seen.len() == limit));
    assert_eq!(target.seen().len(), 2);

    for request in [post("/receive", V2, &body), chunked(V2, &[&body[..60_000], &body[60_000..]])] {
        let answer = exchange(server.address, request).await;
        assert_eq!((answer.status, answer.written()), (413, Some([0; 3])));
        assert!(answer.body.contains("65536 bytes") && answer.is_one_line(), "{}", answer.body);
    }
    assert_eq!(target.seen().len(), 2);
    assert_eq!(server.metrics.http_in_flight_bytes.get(), 0);
}

#[tokio::test]
async fn a_declared_length_over_the_limit_is_refused_before_it_is_sent() {
    let server = start(settings(), Script::default()).await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let headers = format!("{V1}{expect}Content-Length: 99999999999\r\n");
        let answer = exchange(server.address, head("POST", "/receive", &headers)).await;
        assert_eq!(answer.status, 413);
    }
}

#[tokio::test]
async fn a_refused_body_that_is_still_coming_does_not_hide_the_answer() {
    let server = start(settings(), Script::default()).await;
    let body = vec![1; 16 << 20];
    for request in [post("/receive", V1, &body), post("/nowhere", V1, &body), chunked(V1, &[&body, &body])] {
        // All of it is sent before the answer is read, as simple clients do.
        let answer = exchange(server.address, request).await;
        assert!(matches!(answer.status, 413 | 404));
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_off_and_an_idle_connection_is_not() {
    let mut settings = settings();
    settings.timeouts.head = Duration::from_millis(300);
    let server = start(settings, Script::default()).await;

    for first in ["", "POST /receive HTTP/1.1\r\nHost:"] {
        let started = Instant::now();
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(first.as_bytes()).await.unwrap();
        assert_eq!(slow.read(&mut [0; 100]).await.unwrap_or(0), 0, "cut off");
        assert!((300..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    }

    let mut idle = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..2 {
        idle.write_all(&post("/receive", V1, b"x")).await.unwrap();
        assert_eq!(read_answer(&mut idle).await.unwrap().status, 204);
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    // A second head that does not end is cut off as the first is.
    idle.write_all(b"POST").await.unwrap();
    assert_eq!(idle.read(&mut [0; 100]).await.unwrap_or(0), 0, "cut off");
}

#[tokio::test]
async fn a_slow_body_is_answered_in_time_and_not_with_4xx() {
    let mut settings = settings();
    settings.timeouts.body = Duration::from_millis(200);
    let server = start(settings, Script::default()).await;
    let answer = exchange(server.address, head("POST", "/receive", &format!("{V2}Content-Length: 100\r\n"))).await;
    assert_eq!((answer.status, answer.written()), (503, Some([0; 3])));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(server.metrics.http_in_flight_bytes.get(), 0);
}

#[tokio::test]
async fn a_slow_write_is_answered_in_time_and_goes_on() {
    let mut settings = settings();
    settings.timeouts.answer = Duration::from_millis(100);
    let target = Script::slow(Duration::from_millis(400));
    let server = start(settings, target.clone()).await;
    let answer = exchange(server.address, post("/receive", V1, b"x")).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("too long"));
    assert_eq!(target.finished.load(Ordering::SeqCst), 0);
    eventually(async || target.finished.load(Ordering::SeqCst) == 1).await;
    eventually(async || server.metrics.http_in_flight_bytes.get() == 0).await;
}

#[tokio::test]
async fn a_sender_that_goes_away_takes_nothing_back() {
    let target = Script::slow(Duration::from_millis(200));
    let server = start(settings(), target.clone()).await;
    let mut gone = TcpStream::connect(server.address).await.unwrap();
    gone.write_all(&post("/receive", V1, b"x")).await.unwrap();
    eventually(async || target.seen().len() == 1).await;
    drop(gone);
    eventually(async || target.finished.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn memory_in_flight_is_bounded_and_who_waits_too_long_comes_again() {
    let mut settings = settings();
    settings.timeouts.admission = Duration::from_millis(100);
    (settings.max_request_bytes, settings.max_decoded_bytes, settings.in_flight_bytes) = (2 << 20, 2 << 20, 8 << 20);
    let target = Script::slow(Duration::from_millis(500));
    let server = start(settings, target.clone()).await;
    // The budget for long bodies is one of the longest, and a chunked body counts as the longest.
    let mut held = TcpStream::connect(server.address).await.unwrap();
    held.write_all(head("POST", "/receive", "Transfer-Encoding: chunked\r\n").as_bytes()).await.unwrap();
    eventually(async || server.metrics.http_in_flight_bytes.get() == 2 << 20).await;
    let answer = exchange(server.address, chunked(V2, &[b"x"])).await;
    assert_eq!((answer.status, answer.written()), (503, Some([0; 3])));
    assert!(answer.header("retry-after").is_some() && answer.body.contains("in flight"), "{answer:?}");

    // A short one has room.
    assert_eq!(exchange(server.address, post("/receive", V1, b"x")).await.status, 204);

    // What is read counts as what it is: one byte, which declares that it decompresses to nothing.
    held.write_all(b"1\r\n\0\r\n0\r\n\r\n").await.unwrap();
    eventually(async || target.seen().len() == 2).await;
    assert_eq!(server.metrics.http_in_flight_bytes.get(), 1);
    assert_eq!(read_answer(&mut held).await.unwrap().status, 204);
    assert_eq!(exchange(server.address, chunked(V1, &[b"x"])).await.status, 204);
}

#[tokio::test]
async fn decompressed_bytes_are_admitted_too() {
    let mut settings = settings();
    settings.timeouts.admission = Duration::from_millis(100);
    let server = start(settings, Script::slow(Duration::from_millis(1500))).await;
    let compressed = snap::raw::Encoder::new().compress_vec(&vec![0; 64 << 10]).unwrap();
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        answers.spawn(exchange(server.address, post("/receive", V1, &compressed)));
    }
    let mut codes: Vec<u16> = answers.join_all().await.iter().map(|answer| answer.status).collect();
    codes.sort_unstable();
    // Each is the longest, and takes its length once more as rows: one at a time.
    assert_eq!(codes, [204, 503, 503]);
}

/// Whether the server has closed a connection on which nothing was asked, or does so now.
async fn is_closed(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0]))
        .await
        .is_ok_and(|read| matches!(read, Ok(0) | Err(_)))
}

#[tokio::test]
async fn one_connection_too_many_takes_the_slot_of_the_longest_idle_stranger() {
    let mut settings = settings();
    (settings.max_connections, settings.max_connections_per_address) = (3, 3);
    let server = start(settings, Script::default()).await;
    let mut known = TcpStream::connect(server.address).await.unwrap();
    known.write_all(&post("/receive", V1, b"x")).await.unwrap();
    assert_eq!(read_answer(&mut known).await.unwrap().status, 204);
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"POST /receive HTTP/1.1\r\nHost: local").await.unwrap();
    let mut silent = TcpStream::connect(server.address).await.unwrap();

    let mut new = TcpStream::connect(server.address).await.unwrap();
    new.write_all(&post("/receive", V1, b"x")).await.unwrap();
    assert_eq!(read_answer(&mut new).await.unwrap().status, 204);
    assert!(is_closed(&mut half).await);
    let mut newer = TcpStream::connect(server.address).await.unwrap();
    newer.write_all(&post("/receive", V1, b"x")).await.unwrap();
    assert_eq!(read_answer(&mut newer).await.unwrap().status, 204);
    assert!(is_closed(&mut silent).await);
    for kept in [&mut known, &mut new, &mut newer] {
        kept.write_all(&post("/receive", V1, b"x")).await.unwrap();
        assert_eq!(read_answer(kept).await.unwrap().status, 204);
    }
    assert!(server.metrics.text(View::Full).contains("promarchive_http_connections_displaced_total 2\n"));
}

#[tokio::test]
async fn probes_are_answered_while_every_connection_has_a_request_in_flight() {
    let mut settings = settings();
    (settings.max_connections, settings.max_connections_per_address) = (2, 2);
    settings.timeouts.probe = Duration::from_millis(300);
    let target = Script::slow(Duration::from_secs(60));
    let server = start(settings, target.clone()).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&post("/receive", V1, b"x")).await.unwrap();
        busy.push(stream);
    }
    eventually(async || target.seen().len() == 2).await;
    // Those who would take the slots for probes, and say nothing.
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    for path in ["/-/healthy", "/-/ready"] {
        let answer = exchange(server.address, head("GET", path, "")).await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{path}");
    }
    for request in [post("/receive", V2, b"x"), head("GET", "/metrics", "").into(), post("/-/healthy", "", b"")] {
        let answer = exchange(server.address, &request).await;
        assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
        assert!(answer.header("retry-after").is_some() && answer.body.contains("connections"), "{}", answer.body);
    }
    assert_eq!(target.seen().len(), 2, "nothing of them was taken");
    assert!(is_closed(silent.last_mut().unwrap()).await, "a probe has little time");
}

#[tokio::test]
async fn a_stranger_is_idle_for_less_time_than_a_sender() {
    let mut settings = settings();
    (settings.timeouts.head, settings.timeouts.idle_stranger) =
        (Duration::from_millis(700), Duration::from_millis(300));
    let server = start(settings, Script::default()).await;
    let (mut sender, mut stranger) =
        (TcpStream::connect(server.address).await.unwrap(), TcpStream::connect(server.address).await.unwrap());
    sender.write_all(&post("/receive", V1, b"x")).await.unwrap();
    stranger.write_all(head("GET", "/-/ready", "").as_bytes()).await.unwrap();
    for stream in [&mut sender, &mut stranger] {
        assert!([200, 204].contains(&read_answer(stream).await.unwrap().status));
    }
    assert!(is_closed(&mut stranger).await);
    // Longer than both, since it connected and since its answer.
    tokio::time::sleep(Duration::from_millis(900)).await;
    sender.write_all(head("GET", "/-/ready", "").as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut sender).await.unwrap().status, 200);
    tokio::time::sleep(Duration::from_millis(900)).await;
    sender.write_all(&post("/receive", V1, b"x")).await.unwrap();
    assert_eq!(read_answer(&mut sender).await.unwrap().status, 204);
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_cut_off() {
    let mut settings = settings();
    settings.timeouts.stalled_answer = Duration::from_millis(200);
    let server = start(settings, Script::default()).await;
    let mut greedy = TcpStream::connect(server.address).await.unwrap();
    let request = head("GET", "/metrics", "");
    // Until neither side's buffers hold more.
    let flood = async { while greedy.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), flood).await.expect("the server closes");
    eventually(async || server.metrics.http_connections.get() == 0).await;
}

#[tokio::test]
async fn a_head_of_64_kib_is_taken_and_one_byte_more_is_not() {
    let server = start(settings(), Script::default()).await;
    let bare = head("GET", "/-/healthy", "X: \r\n").len();
    // Behind another request on its connection, too, and with the body of its own right behind it.
    for (first, rest) in [("", ""), (&*head("GET", "/-/healthy", ""), ""), ("", "body")] {
        for (length, status) in [(64 << 10, 200), ((64 << 10) + 1, 431), (70_000, 431), (200_000, 431)] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let length_of_body = if rest.is_empty() { String::new() } else { "Content-Length: 4\r\n".to_owned() };
            let filler = "a".repeat(length - bare - length_of_body.len());
            let request = head("GET", "/-/healthy", &format!("{length_of_body}X: {filler}\r\n"));
            assert_eq!(request.len(), length);
            let _ = stream.write_all(format!("{first}{request}{rest}").as_bytes()).await;
            if !first.is_empty() {
                assert_eq!(read_answer(&mut stream).await.unwrap().status, 200);
            }
            let answer = read_answer(&mut stream).await;
            // What is still on its way when the server closes may hide the answer.
            let hidden = status == 431 && length > 66_000 && answer.is_none();
            assert!(hidden || answer.as_ref().is_some_and(|answer| answer.status == status), "{length}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_hundred_fields_are_taken_and_one_more_is_not() {
    let server = start(settings(), Script::default()).await;
    for (fields, status) in [(99, 200), (100, 431)] {
        // One more is the host.
        let request = head("GET", "/-/healthy", &"X: y\r\n".repeat(fields));
        assert_eq!(exchange(server.address, request).await.status, status, "{fields}");
    }
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let server = start(settings(), Script::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ").await;
    for _ in 0..100 {
        if stream.write_all(&[b'a'; 4096]).await.is_err() {
            break;
        }
    }
    if let Some(answer) = read_answer(&mut stream).await {
        assert_eq!(answer.status, 431);
    }
}

/// Asks for deliveries with this token, and reads only the beginning of the answer.
async fn unread(server: &Running, token: &str) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().unwrap();
    // Else the kernel may take the whole answer, and grows its buffers as it likes.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request = head("GET", "/api/v1/deliveries", &format!("Authorization: Bearer {token}\r\n"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    (stream, String::from_utf8_lossy(&begin).into_owned())
}

#[tokio::test]
async fn answers_that_nobody_reads_count_and_hold_up_no_other_sender() {
    const MARKS: usize = 8_000;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    allow(&file, &[("a", "first"), ("b", "second")]);
    let mut settings = HttpSettings { tokens: Some(file), in_flight_bytes: 64 << 20, ..settings() };
    settings.timeouts.admission = Duration::from_millis(50);
    let target = (0..MARKS).fold(Script::default(), |target, at| {
        let delivered = Delivered { first: 1, newest: 1, replica: format!("{at:0250}").into() };
        target.then(Ok(Written { samples: 1, delivered: Some(delivered), ..Written::default() }))
    });
    let server = start(settings, target).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = post("/receive", &format!("{V1}Authorization: Bearer first\r\n"), b"x");
    for _ in 0..MARKS {
        stream.write_all(&request).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.unwrap().status, 204);
    }
    // An answer has about 4 MB.
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(unread(&server, "first").await);
    }
    let taken = held.iter().filter(|(_, begin)| begin == "HTTP/1.1 200").count();
    let refused = held.iter().filter(|(_, begin)| begin == "HTTP/1.1 503").count();
    assert!((1..8).contains(&taken) && taken + refused == 20, "{taken} of 20, {refused} were refused");
    assert!(server.metrics.http_in_flight_bytes.get() <= 16 << 20);
    assert_eq!(unread(&server, "second").await.1, "HTTP/1.1 200");
    drop(held);
    eventually(|| async { server.metrics.http_in_flight_bytes.get() == 0 }).await;
}
