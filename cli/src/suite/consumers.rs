//! Registers a suite's consumers: each a device with a state file of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use sealpost_consumer::{Code, ConsumerError, PhoneNumber, Relay, State, register};
use sealpost_runtime::Clock;
use serde::Deserialize;

use super::layout::Layout;
use crate::files;

/// How long the development code may take to appear in its file.
const CODE_TIME: Duration = Duration::from_secs(10);

/// A consumer's state file.
pub fn state_file(layout: &Layout, phone: &str) -> PathBuf {
    layout.consumers().join(format!("{phone}.state"))
}

/// Registers the consumer of that number, unless its state says that it is registered.
pub async fn ensure(
    layout: &Layout,
    relay: &Relay,
    clock: &Clock,
    phone: &str,
) -> anyhow::Result<()> {
    files::create_folder(&layout.consumers())?;
    let mut state = State::open(&state_file(layout, phone))?;
    if state.registration().is_some() {
        return Ok(());
    }
    let number: PhoneNumber = phone.parse()?;
    let codes = layout.codes_file();
    let since = code_count(&codes, phone);
    register(relay, &mut state, clock, &number, async |_expires| {
        wait_for_code(&codes, phone, since).await
    })
    .await
    .context("a consumer could not be registered")?;
    Ok(())
}

#[derive(Deserialize)]
struct SentCode {
    phone_number: String,
    code: String,
}

fn codes_of(path: &Path, phone: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str::<SentCode>(line).ok())
        .filter(|sent| sent.phone_number == phone)
        .map(|sent| sent.code)
        .collect()
}

/// How many codes the file has for `phone`.
pub fn code_count(path: &Path, phone: &str) -> usize {
    codes_of(path, phone).len()
}

/// The first code for `phone` beyond the `since` ones that were there before.
pub async fn wait_for_code(path: &Path, phone: &str, since: usize) -> Result<Code, ConsumerError> {
    let found = tokio::time::timeout(CODE_TIME, async {
        loop {
            if let Some(code) = codes_of(path, phone).into_iter().nth(since) {
                return code;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    found
        .await
        .map_err(|_| ConsumerError::Malformed("no code was sent in time"))?
        .parse()
}
