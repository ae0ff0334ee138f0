//! Registers a suite's consumers: each a device with a state file of its own.

use std::path::PathBuf;

use anyhow::Context;
use sealpost_consumer::{PhoneNumber, Relay, State, register};
use sealpost_runtime::Clock;

use super::codes::NewCodes;
use super::layout::Layout;
use crate::files;

/// A consumer's state file.
pub fn state_file(layout: &Layout, phone: &str) -> PathBuf {
    layout.consumers().join(format!("{phone}.state"))
}

/// Registers the consumer of that number, unless its state says that it is registered.
pub async fn ensure(
    layout: &Layout,
    relay: &Relay,
    codes: &NewCodes,
    clock: &Clock,
    phone: &str,
) -> anyhow::Result<()> {
    files::create_folder(&layout.consumers())?;
    let mut state = State::open(&state_file(layout, phone))?;
    if state.registration().is_some() {
        return Ok(());
    }
    let number: PhoneNumber = phone.parse()?;
    register(relay, &mut state, clock, &number, async |_expires| {
        codes.wait_for(phone).await
    })
    .await
    .context("a consumer could not be registered")?;
    Ok(())
}
