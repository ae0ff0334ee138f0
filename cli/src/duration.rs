//! Stretches of time as people write them: `90s`, `15m`, `2h`, `31d`.
//!
//! Pure.

use std::time::Duration;

const DAY: u64 = 86_400;
const UNITS: [(char, u64); 4] = [('d', DAY), ('h', 3_600), ('m', 60), ('s', 1)];
const SHAPE: &str = "write a duration as 90s, 15m, 2h or 31d";

/// Reads one: a whole number and its unit, or several of them (`1d12h`).
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut seconds: u64 = 0;
    let mut digits = String::new();
    for letter in text.trim().chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let (_, unit) = UNITS
            .into_iter()
            .find(|(name, _)| *name == letter)
            .ok_or(SHAPE)?;
        let count: u64 = digits.parse().map_err(|_| SHAPE)?;
        digits.clear();
        seconds = count
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or("that is too long")?;
    }
    if !digits.is_empty() || text.trim().is_empty() {
        return Err(SHAPE.to_owned());
    }
    Ok(Duration::from_secs(seconds))
}

/// Reads one that may have a minus, in seconds.
///
/// # Errors
/// What is wrong with it.
pub fn parse_signed(text: &str) -> Result<i64, String> {
    let (sign, size) = match text.trim().strip_prefix('-') {
        Some(size) => (-1, size),
        None => (1, text),
    };
    let plain = size.trim().parse::<i64>().ok();
    let seconds = match plain {
        Some(0) => 0,
        _ => i64::try_from(parse(size)?.as_secs()).map_err(|_| "that is too long")?,
    };
    Ok(sign * seconds)
}

/// Writes one with its two largest units.
pub fn show(duration: Duration) -> String {
    let mut left = duration.as_secs();
    let mut parts = Vec::new();
    for (name, unit) in UNITS {
        if left >= unit && parts.len() < 2 {
            parts.push(format!("{}{name}", left / unit));
            left %= unit;
        }
    }
    if parts.is_empty() {
        parts.push("0s".to_owned());
    }
    parts.join(" ")
}

/// Writes seconds that may be below zero.
pub fn show_signed(seconds: i64) -> String {
    let size = show(Duration::from_secs(seconds.unsigned_abs()));
    if seconds < 0 {
        format!("-{size}")
    } else {
        size
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_duration_is_whole_numbers_with_units() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("2h", 7_200),
            ("31d", 2_678_400),
            (" 1d12h ", 129_600),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            " ",
            "31",
            "d",
            "1w",
            "-1d",
            "1.5h",
            "1d2",
            "99999999999999999999s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&format!("{}d", u64::MAX)).is_err());
    }

    #[test]
    fn a_signed_duration_may_be_below_zero_and_a_bare_zero_is_one() {
        assert_eq!(parse_signed("-2h"), Ok(-7_200));
        assert_eq!(parse_signed("31d"), Ok(2_678_400));
        assert_eq!(parse_signed("0"), Ok(0));
        assert!(parse_signed("5").is_err());
        assert!(parse_signed("--5s").is_err());
    }

    #[test]
    fn a_duration_shows_its_two_largest_units() {
        assert_eq!(show(Duration::ZERO), "0s");
        assert_eq!(show(Duration::from_secs(61)), "1m 1s");
        assert_eq!(show(Duration::from_secs(90_061)), "1d 1h");
        assert_eq!(show_signed(-3_600), "-1h");
    }
}
