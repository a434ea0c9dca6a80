//! Clients that take connections and ask for nothing: probes and senders get through all the same.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use promarchive_model::Protocol::V2;
use promarchive_tests::program::{Receiver, headers};
use promarchive_tests::request::{Request, Series};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;

use crate::T;
use crate::tokens::line;

/// The kubelet waits for so long.
const PATIENCE: Duration = Duration::from_secs(5);
const HALF_A_HEAD: &[u8] = b"POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Ty";

/// A crowd of connections from addresses of this machine.
struct Crowd {
    to: SocketAddr,
    runtime: tokio::runtime::Runtime,
    members: Vec<TcpStream>,
}

impl Crowd {
    fn at(to: SocketAddr) -> Self {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        Self { to, runtime, members: Vec::new() }
    }

    fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = || {
            let socket = TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            let stream = self.runtime.block_on(socket.connect(self.to))?.into_std()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            std::io::Result::Ok(stream)
        };
        socket().unwrap()
    }

    /// One more, that says this much.
    fn join(&mut self, from: Ipv4Addr, says: &[u8]) {
        let mut member = self.connect(from);
        // It may have been closed already.
        let _ = member.write_all(says);
        self.members.push(member);
    }
}

/// The status of the answer; none if there is none in time.
fn ask(stream: &mut TcpStream, request: &[u8]) -> Option<u16> {
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        answer.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&answer).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

fn write_request(token: &str, timestamp: i64) -> Vec<u8> {
    let body = Request::of([Series::metric("up").sample(timestamp, 1.0)]).encode(V2);
    let body = snap::raw::Encoder::new().compress_vec(&body).unwrap();
    let fields: String = headers(V2).iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

#[test]
fn who_holds_connections_shuts_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    fs::write(&file, line("honest", "secret")).unwrap();
    let receiver = Receiver::start(&["--tokens", file.to_str().unwrap()]);
    let mut crowd = Crowd::at(receiver.address());
    let mut timestamp = T;
    let mut write = |stream: &mut TcpStream| {
        timestamp += 1;
        ask(stream, &write_request("secret", timestamp))
    };
    let mut kept = crowd.connect(Ipv4Addr::LOCALHOST);
    assert_eq!(write(&mut kept), Some(204));
    let mut check = |crowd: &Crowd, what: &str| {
        for path in ["/-/healthy", "/-/ready"] {
            let probe = format!("GET {path} HTTP/1.1\r\nHost: 198.51.100.7:9201\r\nConnection: close\r\n\r\n");
            let answer = ask(&mut crowd.connect(Ipv4Addr::LOCALHOST), probe.as_bytes());
            assert_eq!(answer, Some(200), "{path} beside {what}");
        }
        assert_eq!(write(&mut crowd.connect(Ipv4Addr::LOCALHOST)), Some(204), "a new connection beside {what}");
        assert_eq!(write(&mut kept), Some(204), "a connection that was there before {what}");
    };

    for _ in 0..1_024 {
        crowd.join(Ipv4Addr::new(127, 0, 0, 2), b"");
    }
    check(&crowd, "idle connections of one address");
    for n in 0..1_200_u16 {
        let [high, low] = (n % 300).to_be_bytes();
        crowd.join(Ipv4Addr::new(127, 0, 1 + high, low), b"");
    }
    check(&crowd, "idle connections of 300 addresses");
    for n in 0..1_100_u16 {
        let [high, low] = (n % 300).to_be_bytes();
        crowd.join(Ipv4Addr::new(127, 1, high, low), HALF_A_HEAD);
    }
    check(&crowd, "half-sent heads");
    // The same address as the honest sender's, as behind a proxy.
    for _ in 0..1_100 {
        crowd.join(Ipv4Addr::LOCALHOST, HALF_A_HEAD);
    }
    check(&crowd, "half-sent heads of its own address");

    let [open, displaced] = ["promarchive_http_connections", "promarchive_http_connections_displaced_total"]
        .map(|name| receiver.metric(name));
    assert!(open <= 1_024.0, "{open} open");
    assert!(displaced >= 500.0, "{displaced} displaced");
}
