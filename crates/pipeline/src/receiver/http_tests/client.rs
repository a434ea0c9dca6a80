//! A client that sends exactly what it is told to.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) const V1: &str = "Content-Type: application/x-protobuf\r\n";
pub(super) const V2: &str = "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n";

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The three counts of a version 2 answer, if they are there.
    pub(super) fn written(&self) -> Option<[u64; 3]> {
        let count = |what: &str| self.header(&format!("X-Prometheus-Remote-Write-{what}-Written"));
        let counts = ["Samples", "Histograms", "Exemplars"].map(count);
        if counts.iter().all(Option::is_none) {
            return None;
        }
        Some(counts.map(|value| value.unwrap().parse().unwrap()))
    }

    /// That a fault is told in one line of text.
    pub(super) fn is_one_line(&self) -> bool {
        self.body.ends_with('\n')
            && self.body.trim_end().lines().count() == 1
            && self.header("content-type") == Some("text/plain; charset=utf-8")
    }
}

pub(super) fn head(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

pub(super) fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = head("POST", path, &format!("{headers}Content-Length: {}\r\n", body.len())).into_bytes();
    request.extend_from_slice(body);
    request
}

/// Sends `request` on a connection of its own, all of it, and reads the answer.
pub(super) async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_ref()).await.unwrap();
    // An answer to HEAD has the length of a body, and none.
    let bodiless = request.as_ref().starts_with(b"HEAD ");
    read(&mut stream, bodiless).await.expect("an answer")
}

/// The next answer on `stream`; none when the server closes first.
pub(super) async fn read_answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Option<Answer> {
    read(stream, false).await
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bodiless: bool) -> Option<Answer> {
    let mut received = Vec::new();
    let end = loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(1) => received.extend_from_slice(&byte),
            _ => return None,
        }
    };
    let text = String::from_utf8(received[..end].to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").filter(|_| !bodiless).map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    answer.body = String::from_utf8(body).unwrap();
    Some(answer)
}
