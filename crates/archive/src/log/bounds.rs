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

/// Why a commit is not read.
pub(crate) fn fault(commit: &[u8]) -> Option<String> {
    let mut before = 0;
    for line in commit.split_inclusive(|&byte| byte == b'\n') {
        if line.len() > MOST_LINE_BYTES {
            return Some(format!("a line of {} bytes at offset {before}, more than {MOST_LINE_BYTES}", line.len()));
        }
        if depth(line) > MOST_DEPTH {
            return Some(format!("the JSON at offset {before} is nested more than {MOST_DEPTH} levels deep"));
        }
        before += line.len();
    }
    None
}

/// The most objects and lists in each other. Brackets in texts do not count.
fn depth(line: &[u8]) -> u32 {
    let (mut depth, mut most) = (0_u32, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                most = most.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
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
            assert_eq!(depth(line.as_bytes()), wants, "{line}");
        }
    }

    #[test]
    fn each_line_has_its_own_bounds() {
        let nested = |levels| format!("{}{}\n", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(fault(nested(127).repeat(9).as_bytes()), None);
        let deep = fault(format!("{{}}\n{}", nested(128)).as_bytes()).unwrap();
        assert!(deep.contains("offset 3 is nested"), "{deep}");
        let line = format!("\"{}\"\n", "x".repeat(MOST_LINE_BYTES - 3));
        assert_eq!(fault(line.repeat(2).as_bytes()), None);
        assert!(fault(format!("{{}}\n {line}").as_bytes()).unwrap().contains("at offset 3, more than"));
    }
}
