//! Kubernetes quantities: `500m`, `2Gi`, `1e3`.

const SUFFIXES: [(&str, i128); 13] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];
const MILLI: i128 = 1_000;
const MOST_DIGITS: usize = 18;

/// Thousandths of the quantity. None for what is no quantity, or finer or longer than anybody writes.
pub fn thousandths(text: &str) -> Option<i128> {
    if let Some(milli) = text.strip_suffix('m') {
        return number(milli, 0)?.checked_div(MILLI);
    }
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '+' && c != '-').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(at);
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).filter(|rest| !rest.is_empty()) {
        return number(digits, exponent.parse().ok()?);
    }
    let (_, factor) = SUFFIXES.iter().find(|(name, _)| *name == suffix)?;
    number(digits, 0)?.checked_mul(*factor)
}

/// Thousandths of `digits` times ten to the power of `exponent`.
fn number(digits: &str, exponent: i32) -> Option<i128> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if digits.len() > MOST_DIGITS || fraction.starts_with(['+', '-']) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let power = exponent.checked_add(3)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let factor = 10_i128.checked_pow(power.unsigned_abs())?;
    if power >= 0 { value.checked_mul(factor) } else { (value % factor == 0).then_some(value / factor) }
}

/// Whole bytes of the quantity, rounded up. None if it is none, or negative.
pub fn bytes(text: &str) -> Option<u64> {
    let thousandths = u128::try_from(thousandths(text)?).ok()?;
    u64::try_from(thousandths.div_ceil(1_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_one_amount_are_equal() {
        for same in
            [["0.5", "500m"], ["1", "1000m"], ["1Gi", "1024Mi"], ["1e3", "1k"], ["1.5Gi", "1536Mi"], ["2E3", "2k"]]
        {
            assert_eq!(thousandths(same[0]), thousandths(same[1]), "{same:?}");
            assert!(thousandths(same[0]).is_some());
        }
        assert_eq!(bytes("2Gi"), Some(2 << 30));
        assert_eq!(bytes("1500m"), Some(2));
    }

    #[test]
    fn what_is_none() {
        for text in ["", "Gi", "m", ".", "1.2.3", "one", "1Gib", "--1", "1e", "99999999999999999999", "1e99"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
        assert_eq!(bytes("-1"), None);
    }
}
