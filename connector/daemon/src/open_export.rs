//! `--open-export FILE`: prints the messages of an export, one JSON object a line, with content and phone number.
//!
//! What it prints is the business's own; it touches no queue and no network.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message as _;
use sealpost_connector_sdk::{BusinessKeys, Direction, Exported, open_export, wamid};
use serde_json::{Value, json};

use crate::{config::Config, webhook::payload};

/// Opens `file` with the configured keys and pins, and prints to `out`.
///
/// # Errors
/// When a file cannot be read, or a line does not open: it names the line.
pub fn open(config: &Config, file: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let keys = BusinessKeys::read(&config.business.key_files())?;
    let pins = config.pins();
    let lines = BufReader::new(File::open(file).context("the export cannot be read")?).lines();
    for (at, line) in lines.enumerate() {
        let line = line.context("the export cannot be read")?;
        let messages =
            open_export(&keys, &pins, &line).with_context(|| format!("line {}", at + 1))?;
        for message in &messages {
            writeln!(out, "{}", describe(message))?;
        }
    }
    Ok(())
}

fn describe(message: &Exported) -> Value {
    json!({
        "phone_number_id": message.phone_number_id.as_str(),
        "peer": message.peer.expose(),
        "direction": match message.direction {
            Direction::Outbound => "outbound",
            Direction::Inbound | Direction::Status => "inbound",
        },
        "id": wamid(message.message_id),
        "time_ms": message.time.0,
        "status": message.status,
        "kept_at_ms": message.kept_at_ms,
        "content": payload::content(&message.content),
        // All of it, as `sealpost.content.v1.Content`: what webhooks show is less.
        "content_bytes": STANDARD.encode(message.content.encode_to_vec()),
    })
}
