//! The socket `control` in the WAL directory, by which people ask for a flush on the receiver's own machine or in its pod.
//!
//! Only the receiver's user may open it, as the files of the WAL. This is the right to flush: no token is asked for. A connection is one
//! request: the line `flush`. The answer is one line: `ok` and the report in JSON, or `error` and why not.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use promarchive_directory::open_directory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::http::WriteTarget;

/// Name of the socket in the WAL directory.
pub const CONTROL_SOCKET: &str = "control";
const REQUEST: &[u8] = b"flush\n";
const FOR_THE_OWNER: u32 = 0o600;
const BACKLOG: u32 = 16;
/// A report has some hundred bytes, and the reason of a failure names a file or two.
const MOST_ANSWER_BYTES: u64 = 1 << 20;
/// For the request to come, and for the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Asks the receiver that uses the WAL directory `wal` to flush, and returns its report in JSON. Blocks until it has flushed.
pub fn ask_for_flush(wal: &Path) -> io::Result<Result<String, String>> {
    use std::io::{Read, Write};
    let mut stream = at(wal, |path| std::os::unix::net::UnixStream::connect(path))?;
    stream.write_all(REQUEST)?;
    let mut answer = String::new();
    // Whoever can write to the directory may have put another socket there.
    stream.take(MOST_ANSWER_BYTES).read_to_string(&mut answer)?;
    if answer.len() as u64 == MOST_ANSWER_BYTES {
        return Err(io::Error::other(
            "the response is too long for a receiver: find out which program created the socket",
        ));
    }
    match answer.trim_end().split_once(' ') {
        Some(("ok", report)) => Ok(Ok(report.to_owned())),
        Some(("error", reason)) => Ok(Err(reason.to_owned())),
        _ => Err(io::Error::other("the receiver stopped before it answered")),
    }
}

/// Calls `with` with a path of the socket that is short: addresses of sockets have 107 bytes at most, paths of directories more.
fn at<T>(wal: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let directory = open_directory(wal)?;
    with(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(CONTROL_SOCKET))
}

/// The socket, open for requests.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
}

impl Control {
    /// Makes the socket in the WAL directory `wal`, which this process has locked, in place of one that an earlier process left.
    pub(super) fn bind(wal: &Path) -> io::Result<Self> {
        at(wal, |path| {
            if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                fs::remove_file(path)?;
            }
            let socket = for_the_owner()?;
            socket.bind(path)?;
            // For a kernel that did not take the mode from the socket. Nobody can connect before it listens.
            fs::set_permissions(path, Permissions::from_mode(FOR_THE_OWNER))?;
            Ok(Self { listener: socket.listen(BACKLOG)? })
        })
    }

    /// Answers one request after the other, until `stop`.
    pub(super) async fn run(self, target: impl WriteTarget, stop: impl Future<Output = ()>) {
        tokio::select! { () = self.serve(&target) => {}, () = stop => {} }
    }

    async fn serve(&self, target: &impl WriteTarget) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Whoever has asked may have gone.
                    let _ = answer(stream, target).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection on the control socket");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

/// A socket whose file only the owner may open, from the moment at which it is bound: Linux makes the file with the mode of the socket.
fn for_the_owner() -> io::Result<UnixSocket> {
    let socket = UnixSocket::new_stream()?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(FOR_THE_OWNER))?;
    Ok(socket)
}

async fn answer(mut stream: UnixStream, target: &impl WriteTarget) -> io::Result<()> {
    let mut request = [0; REQUEST.len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut request)).await??;
    let line = match request == REQUEST {
        true => match target.flush().await {
            Ok(report) => format!("ok {report}"),
            Err(reason) => format!("error {reason}"),
        },
        false => "error unknown request; the only request is flush".to_owned(),
    };
    let line = line.replace('\n', " ") + "\n";
    tokio::time::timeout(PATIENCE, stream.write_all(line.as_bytes())).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_an_end_is_refused() {
        use std::io::Write;
        let directory = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(directory.path().join(CONTROL_SOCKET)).unwrap();
        let endless = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            (0..1024).try_for_each(|_| stream.write_all(&[b'x'; 1 << 16])).unwrap_err().kind()
        });
        let error = ask_for_flush(directory.path()).unwrap_err().to_string();
        assert!(error.contains("find out which program created the socket"), "{error}");
        assert!(matches!(endless.join().unwrap(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn nobody_else_can_connect_at_any_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(CONTROL_SOCKET);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let socket = for_the_owner().unwrap();
        socket.bind(&path).unwrap();
        assert_eq!(mode(), FOR_THE_OWNER, "as it is made");
        let early = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused, "before it listens");
        drop(socket);
        let _control = Control::bind(directory.path()).unwrap();
        assert_eq!(mode(), FOR_THE_OWNER, "in place of an earlier one");
        UnixStream::connect(&path).await.unwrap();
    }
}
