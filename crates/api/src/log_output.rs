//! Where log lines go: standard error.
//!
//! A line that cannot be written is lost and counted. The reader of a pipe may have gone, or the disk behind a file may be full;
//! neither may stop the program, and it goes on when lines can be written again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// Standard error for a log: writing to it never fails. Every call of [`Write::write`] is one line.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogOutput;

impl Write for LogOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write_or_count(io::stderr().lock(), line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_or_count(mut output: impl Write, line: &[u8]) {
    if output.write_all(line).and_then(|()| output.flush()).is_err() {
        LOST_LINES.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many lines were lost since the last call, for a counter.
pub fn take_lost_lines() -> u64 {
    LOST_LINES.swap(0, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_once() {
        let mut kept = Vec::new();
        write_or_count(&mut kept, b"a line\n");
        assert_eq!((kept.as_slice(), take_lost_lines()), (b"a line\n".as_slice(), 0));
        write_or_count(Full, b"a line\n");
        assert_eq!((take_lost_lines(), take_lost_lines()), (1, 0));
    }
}
