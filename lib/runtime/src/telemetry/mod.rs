//! Log lines on standard error, made so that content, phone numbers, tokens and keys cannot reach them.
//!
//! Three walls: only [`ALLOWED_FIELDS`] are written; only our own crates speak, others at most say that they warned;
//! in free text every long run of digits is masked. libsignal says nothing at all. Spans are not recorded.

mod line;

use std::io::{self, Write};

use thiserror::Error;
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::{
    args::{LogFormat, ServiceArgs},
    config::{LogConfig, LogLevel},
};

use line::Line;

/// The fields that may be written. `message` must be fixed text, and `error` of a type that says nothing about its
/// input.
pub const ALLOWED_FIELDS: &[&str] = &[
    "address",
    "attempt",
    "bytes",
    "code",
    "count",
    "elapsed_ms",
    "epoch",
    "error",
    "file",
    "message",
    "method",
    "name",
    "path",
    "peer_name",
    "pid",
    "reason",
    "role",
    "service",
    "shard",
    "state",
    "version",
];

/// Targets whose crates handle plaintext or keys: they are off whatever they say.
const SILENT: &[&str] = &["libsignal", "signal", "spqr", "hpke", "sqlx"];

/// Starts logging for this process; `--log-format` wins over the configuration.
///
/// # Errors
/// When something else logs already.
pub fn init(
    service: &'static str,
    config: &LogConfig,
    args: &ServiceArgs,
) -> Result<(), TelemetryError> {
    let format = args.log_format.unwrap_or(config.format);
    tracing_subscriber::registry()
        .with(Lines::new(service, format, config.level, io::stderr))
        .try_init()
        .map_err(|_| TelemetryError)
}

/// Something else logs already.
#[derive(Debug, Error)]
#[error("logging was started before")]
pub struct TelemetryError;

/// Writes each allowed event as one line.
struct Lines<W> {
    service: &'static str,
    format: LogFormat,
    level: LevelFilter,
    output: W,
}

impl<W, O> Lines<W>
where
    W: Fn() -> O + 'static,
    O: Write,
{
    fn new(service: &'static str, format: LogFormat, level: LogLevel, output: W) -> Self {
        let level = match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
        };
        Self {
            service,
            format,
            level,
            output,
        }
    }
}

impl<S, W, O> Layer<S> for Lines<W>
where
    S: Subscriber,
    W: Fn() -> O + 'static,
    O: Write,
{
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let (level, target) = (*metadata.level(), metadata.target());
        if level > self.level {
            return;
        }
        let mut line = Line::new(self.service, level, target);
        match voice_of(level, target) {
            Voice::Ours => event.record(&mut line),
            Voice::Foreign => line.put_text("message", "a dependency reported a problem"),
            Voice::None => return,
        }
        // A log that cannot be written has nowhere to say so.
        let _ = (self.output)().write_all(line.render(self.format).as_bytes());
    }
}

/// How much of an event may be heard.
enum Voice {
    Ours,
    Foreign,
    None,
}

fn voice_of(level: Level, target: &str) -> Voice {
    if target.starts_with("sealpost") {
        Voice::Ours
    } else if SILENT.iter().any(|silent| target.starts_with(silent)) || level > Level::WARN {
        Voice::None
    } else {
        Voice::Foreign
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, speak: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let output = buffer.clone();
        let lines = Lines::new("test", format, LogLevel::Info, move || output.clone());
        with_default(tracing_subscriber::registry().with(lines), speak);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_field_that_is_not_allowed_never_reaches_the_output() {
        for format in [LogFormat::Human, LogFormat::Json] {
            let text = logged(format, || {
                tracing::info!(
                    phone = "+4915112345678",
                    token = "t0ken",
                    count = 918_273,
                    "sent"
                );
            });
            assert!(text.contains("sent") && text.contains("918273"), "{text}");
            assert!(
                !text.contains("4915112345678") && !text.contains("t0ken"),
                "{text}"
            );
            assert!(!text.contains("phone"), "{text}");
        }
    }

    #[test]
    fn digits_in_free_text_are_masked() {
        let text = logged(LogFormat::Json, || {
            tracing::info!(
                error = "no session for 4915112345678",
                "number +49 15112345678 moved"
            );
        });
        assert!(!text.contains("15112345678"), "{text}");
        assert!(text.contains("no session for #"), "{text}");
    }

    #[test]
    fn foreign_warnings_lose_their_text_and_foreign_chatter_is_dropped() {
        let text = logged(LogFormat::Human, || {
            tracing::warn!(target: "h2::codec", count = 918_273, "secret text");
            tracing::info!(target: "h2::codec", "chatter");
        });
        assert!(text.contains("h2::codec"), "{text}");
        assert!(
            !text.contains("secret") && !text.contains("chatter") && !text.contains("918"),
            "{text}"
        );
    }

    #[test]
    fn libsignal_is_silent() {
        let text = logged(LogFormat::Human, || {
            tracing::error!(target: "libsignal_protocol::session", "bad");
            tracing::error!(target: "signal_crypto", "bad");
        });
        assert_eq!(text, "");
    }

    #[test]
    fn a_json_line_is_one_object() {
        let text = logged(LogFormat::Json, || {
            tracing::error!(
                method = "Admit",
                elapsed_ms = 12_u64,
                error = "a \"quoted\"\nline",
                "failed"
            );
        });
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["service"], "test");
        assert_eq!(line["method"], "Admit");
        assert_eq!(line["elapsed_ms"], 12);
        assert_eq!(line["error"], "a \"quoted\"\nline");
    }
}
