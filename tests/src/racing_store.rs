//! A store that speaks as much of S3 as a probe needs, over real connections, and whose conditional put does not hold.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Between looking whether a name is taken and taking it.
const PAUSE: Duration = Duration::from_millis(30);
const DATE: &str = "Mon, 30 Nov 2026 12:00:00 GMT";

/// What it does with `If-None-Match: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing: what is there is replaced.
    Ignores,
    /// It looks, and writes later: two that come one after the other are told apart.
    Races,
}

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Starts one; it ends with the process. Where it listens.
pub fn start(flaw: Flaw) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let objects = Objects::default();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let objects = objects.clone();
            // Who goes away ends its connection.
            thread::spawn(move || drop(serve(connection, &objects, flaw)));
        }
    });
    address
}

struct Request {
    method: String,
    path: String,
    query: String,
    has_condition: bool,
    body: Vec<u8>,
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (mut length, mut has_condition) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "if-none-match" => has_condition = true,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Ok(Some(Request { method, path: path.to_owned(), query: query.to_owned(), has_condition, body }))
}

fn serve(mut connection: TcpStream, objects: &Objects, flaw: Flaw) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        let is_head = request.method == "HEAD";
        let (status, body) = answer(request, objects, flaw);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"x\"\r\nLast-Modified: {DATE}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes())?;
        if !is_head {
            connection.write_all(&body)?;
        }
    }
    Ok(())
}

fn answer(request: Request, objects: &Objects, flaw: Flaw) -> (&'static str, Vec<u8>) {
    let Request { method, path, query, has_condition, body } = request;
    match method.as_str() {
        "PUT" => {
            let is_taken = objects.lock().unwrap().contains_key(&path);
            if has_condition && flaw == Flaw::Races {
                if is_taken {
                    return ("412 Precondition Failed", Vec::new());
                }
                thread::sleep(PAUSE);
            }
            objects.lock().unwrap().insert(path, body);
            ("200 OK", Vec::new())
        }
        "DELETE" => {
            objects.lock().unwrap().remove(&path);
            ("204 No Content", Vec::new())
        }
        _ if query.contains("list-type=2") => ("200 OK", b"<ListBucketResult></ListBucketResult>".to_vec()),
        _ => match objects.lock().unwrap().get(&path) {
            Some(found) => ("200 OK", found.clone()),
            None => ("404 Not Found", Vec::new()),
        },
    }
}
