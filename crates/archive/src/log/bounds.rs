//! How large and how deep a commit may be that is read.
//!
//! A commit is lines of JSON, which parsers hold many times over, some of them by recursion. Those of this program have some kilobytes, and
//! five levels. Whatever else stands in a log must not take the memory or the stack of whoever reads it.

/// Bytes of a commit: some 100,000 files in one.
pub(crate) const MOST_BYTES: u64 = 64 << 20;
/// Bytes of one action. A metric's name has 1 MiB at most, and statistics hold two.
const MOST_LINE_BYTES: usize = 8 << 20;
/// Objects and lists in each other, as in the JSON library that reads ours.
const MOST_DEPTH: u32 = 127;

/// Why a commit is not read. Some readers take a line feed for any other space, even in a text: so what is open goes on over lines.
pub(crate) fn fault(commit: &[u8]) -> Option<String> {
    let mut nesting = Nesting::default();
    let mut before = 0;
    for line in commit.split_inclusive(|&byte| byte == b'\n') {
        if line.len() > MOST_LINE_BYTES {
            return Some(format!(
                "the line at offset {before} has {} bytes, but at most {MOST_LINE_BYTES} bytes are allowed",
                line.len()
            ));
        }
        if !line.iter().all(|&byte| nesting.go_on(byte) <= MOST_DEPTH) {
            return Some(format!("the JSON at offset {before} has more than {MOST_DEPTH} nested levels"));
        }
        before += line.len();
    }
    None
}

/// How many objects and lists are open. Brackets in texts do not count.
#[derive(Debug, Default)]
struct Nesting {
    depth: u32,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    fn go_on(&mut self, byte: u8) -> u32 {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            _ if self.in_text => {}
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_brackets_outside_of_texts() {
        for (line, wants) in [
            ("{\"a\":[{}]}", 3),
            ("{\"a\":\"[[[[\"}", 1),
            ("{\"a\":\"\\\"[[\"}", 1),
            ("{\"a\\\\\":[]}", 2),
            ("[][][]", 1),
            ("", 0),
        ] {
            let mut nesting = Nesting::default();
            assert_eq!(line.bytes().map(|byte| nesting.go_on(byte)).max().unwrap_or(0), wants, "{line}");
        }
    }

    #[test]
    fn each_line_has_its_own_bounds() {
        let nested = |levels| format!("{}{}\n", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(fault(nested(127).repeat(9).as_bytes()), None);
        let deep = fault(format!("{{}}\n{}", nested(128)).as_bytes()).unwrap();
        assert!(deep.contains("offset 3 has more than"), "{deep}");
        let over_lines = fault("[\n".repeat(128).as_bytes()).unwrap();
        assert!(over_lines.contains("offset 254 has more than"), "{over_lines}");
        let in_a_text = format!("\"\n\"{}", nested(128));
        assert!(fault(in_a_text.as_bytes()).is_some(), "a text that goes on over lines");
        let line = format!("\"{}\"\n", "x".repeat(MOST_LINE_BYTES - 3));
        assert_eq!(fault(line.repeat(2).as_bytes()), None);
        assert!(fault(format!("{{}}\n {line}").as_bytes()).unwrap().contains("at offset 3 has"));
    }
}
