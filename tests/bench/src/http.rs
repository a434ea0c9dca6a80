//! A client that takes next to no processor time: it shares the processors with what is measured.
//!
//! One connection that stays open, the head written once, the body sent from where it lies, and of an answer only what is asked for.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    to: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    /// Up to the length of the body.
    head: String,
    line: String,
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Samples and native histograms that the receiver says it has written; only in version 2.0.
    pub written: Option<u64>,
}

impl Connection {
    /// One that posts to a path, with these headers. Nothing is sent yet.
    pub fn new(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {to}\r\n{headers}Content-Length: ");
        Self { to, stream: None, head, line: String::new() }
    }

    /// Posts a body, and reads the answer.
    pub fn post(&mut self, body: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let head = format!("{}{}\r\n\r\n", self.head, body.len());
        let sent = stream.get_mut().write_vectored(&[IoSlice::new(head.as_bytes()), IoSlice::new(body)])?;
        for (part, before) in [(head.as_bytes(), 0), (body, head.len())] {
            stream.get_mut().write_all(part.get(sent.saturating_sub(before)..).unwrap_or_default())?;
        }
        let (answer, stays_open) = read_answer(&mut stream, &mut self.line)?;
        self.stream = stays_open.then_some(stream);
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }
}

/// An answer, and whether the connection can be used again.
fn read_answer(stream: &mut impl BufRead, line: &mut String) -> io::Result<(Answer, bool)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not an answer of HTTP: {what:?}"));
    read_line(stream, line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.trim().parse().ok()).ok_or_else(|| bad(line))?;
    let (mut length, mut closes, mut written) = (None, false, None);
    loop {
        read_line(stream, line)?;
        let header = line.trim_ascii();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| bad(header))?;
        let (is, number) = (|other: &str| name.eq_ignore_ascii_case(other), value.trim().parse::<u64>().ok());
        if is("Content-Length") {
            length = number;
        } else if is("Connection") {
            closes |= value.trim().eq_ignore_ascii_case("close");
        } else if is("X-Prometheus-Remote-Write-Samples-Written") || is("X-Prometheus-Remote-Write-Histograms-Written")
        {
            written = Some(written.unwrap_or(0) + number.unwrap_or(0));
        }
    }
    // An answer without a length is as long as the connection is open, or comes in chunks: rare, and not worth reading.
    let length = if status == 204 { Some(0) } else { length };
    if let Some(length) = length {
        io::copy(&mut stream.take(length), &mut io::sink())?;
    }
    Ok((Answer { status, written }, length.is_some() && !closes))
}

fn read_line(stream: &mut impl BufRead, line: &mut String) -> io::Result<()> {
    line.clear();
    match stream.read_line(line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> (Answer, bool, String) {
        let mut rest = answer.as_bytes();
        let (answer, stays_open) = read_answer(&mut rest, &mut String::new()).unwrap();
        (answer, stays_open, String::from_utf8(rest.to_vec()).unwrap())
    }

    #[test]
    fn an_answer_is_read_to_its_end() {
        let counted = "HTTP/1.1 204 No Content\r\nx-prometheus-remote-write-samples-written: 7\r\n\
                       X-Prometheus-Remote-Write-Histograms-Written: 2\r\n\r\nnext";
        assert_eq!(read(counted), (Answer { status: 204, written: Some(9) }, true, "next".to_owned()));
        let refused = "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno\nnext";
        assert_eq!(read(refused), (Answer { status: 400, written: None }, true, "next".to_owned()));
    }

    #[test]
    fn a_connection_of_unknown_rest_is_not_used_again() {
        let (_, stays_open, _) = read("HTTP/1.1 503 Later\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n");
        assert!(!stays_open);
        let (_, stays_open, _) = read("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert!(!stays_open);
        assert!(read_answer(&mut &b"HTTP/1.1 204 No Content\r\n"[..], &mut String::new()).is_err());
    }
}
