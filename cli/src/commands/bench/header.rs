//! What stands at the beginning of a bench message's text: which one it is, and when it was meant to leave.
//!
//! Pure. Fixed width and printable, so that the text is a text to everything that carries it.

/// Characters of a header.
pub const LEN: usize = 42;

/// The first letters: a bench message of this shape.
const MARK: &str = "b1";
const FILL: u8 = b'.';

/// Names one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which run of the bench.
    pub run: u32,
    /// Which conversation.
    pub conversation: u32,
    /// Its place in the conversation: 0 primes it, what counts begins with 1.
    pub sequence: u32,
    /// When it was meant to leave, by [`super::time::now`].
    pub intended: u64,
}

impl Header {
    /// A text of `size` characters that begins with it; of its own length when that is more.
    pub fn text(&self, size: usize) -> String {
        let Self {
            run,
            conversation,
            sequence,
            intended,
        } = self;
        let mut text = format!("{MARK}{run:08x}{conversation:08x}{sequence:08x}{intended:016x}");
        let mut bytes = std::mem::take(&mut text).into_bytes();
        bytes.resize(size.max(LEN), FILL);
        // Nothing but ASCII stands in it.
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// Reads it from a text; nothing when that is no bench message.
    pub fn of(text: &str) -> Option<Self> {
        let rest = text.get(..LEN)?.strip_prefix(MARK)?;
        let part = |from: usize, to: usize| u64::from_str_radix(rest.get(from..to)?, 16).ok();
        let short = |from: usize| u32::try_from(part(from, from + 8)?).ok();
        Some(Self {
            run: short(0)?,
            conversation: short(8)?,
            sequence: short(16)?,
            intended: part(24, 40)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        run: 0xdead_beef,
        conversation: 9_999,
        sequence: 1,
        intended: u64::MAX - 1,
    };

    #[test]
    fn a_header_is_read_back_from_a_text_of_the_size_that_was_asked_for() {
        for size in [0, LEN, LEN + 1, 1024] {
            let text = HEADER.text(size);
            assert_eq!(text.len(), size.max(LEN));
            assert_eq!(Header::of(&text), Some(HEADER));
        }
    }

    #[test]
    fn other_texts_have_none() {
        let text = HEADER.text(LEN);
        for other in [
            "",
            "b1",
            "Hello",
            &text[..LEN - 1],
            &text.replace("b1", "b2"),
        ] {
            assert_eq!(Header::of(other), None, "{other}");
        }
        assert_eq!(Header::of(&"é".repeat(LEN)), None);
    }
}
