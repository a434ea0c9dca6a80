//! Listening, and the ordered end.

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::{V1, exchange, head, post, read_answer};
use super::*;

#[tokio::test]
async fn a_taken_address_is_named_with_what_to_do() {
    let server = start(settings(), Script::default()).await;
    let taken = HttpSettings { listen: server.address, ..settings() };
    let refused =
        Server::bind(taken, Script::default(), Arc::new(Metrics::new()), clock()).await.err().unwrap().to_string();
    assert!(refused.contains(&server.address.to_string()) && refused.contains("--listen"), "{refused}");
}

#[tokio::test]
async fn requests_in_flight_are_finished() {
    let target = Script::slow(Duration::from_millis(400));
    let server = start(settings(), target.clone()).await;
    let address = server.address;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(head("GET", "/-/healthy", "").as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut idle).await.unwrap().status, 200);

    let in_flight = tokio::spawn(async move { exchange(address, post("/receive", V1, b"x")).await });
    eventually(async || target.seen().len() == 1).await;
    let started = Instant::now();
    server.stop().await;
    let answer = in_flight.await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (204, Some("close")));
    assert!(started.elapsed() < Duration::from_secs(3), "the idle connection holds nothing up");
    assert!(read_answer(&mut idle).await.is_none(), "closed");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn the_grace_period_ends() {
    let mut settings = settings();
    settings.timeouts.drain = Duration::from_millis(200);
    let target = Script::slow(Duration::from_secs(60));
    let server = start(settings, target.clone()).await;
    let mut held = TcpStream::connect(server.address).await.unwrap();
    held.write_all(&post("/receive", V1, b"x")).await.unwrap();
    eventually(async || target.seen().len() == 1).await;
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(read_answer(&mut held).await.is_none(), "cut off");
}

#[tokio::test]
async fn a_write_that_is_read_after_the_signal_comes_again_later() {
    let server = start(settings(), Script::default()).await;
    let mut late = TcpStream::connect(server.address).await.unwrap();
    late.write_all(b"POST /receive HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
    eventually(async || server.metrics.http_connections.get() == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopping = tokio::spawn(server.stop());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _ = late.write_all(b"Content-Length: 1\r\n\r\nx").await;
    // Either the connection is closed or it is told to come again: never acknowledged, never a 4xx.
    if let Some(answer) = read_answer(&mut late).await {
        assert_eq!(answer.status, 503);
    }
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_body_that_keeps_coming_does_not_use_up_the_grace_period() {
    let mut settings = settings();
    settings.timeouts.stopping_body = Duration::from_millis(200);
    let server = start(settings, Script::default()).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let request = head("POST", "/receive", &format!("{V1}Content-Length: 100\r\n"));
    slow.write_all(request.as_bytes()).await.unwrap();
    eventually(async || server.metrics.http_in_flight_bytes.get() == 100).await;
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(read_answer(&mut slow).await.unwrap().status, 503);
}
