//! What lies in the key vault's memory: content is gone from it seconds after it passed.
//!
//! Only root reads the memory of a hardened process; for everybody else that it cannot be read is all there is to see.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use memchr::memmem;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::program::Program;
use sealpost_tests::{Options, Suite, progress};
use tokio::time::sleep;

use super::LATER;

/// How long content may stay after it was delivered.
const GONE: Duration = Duration::from_secs(10);
/// Read at a time, and so many bytes again with the next part: a marker may lie across.
const PART: usize = 1 << 20;
const OVERLAP: usize = 256;

/// How often each of `markers` lies in the writable memory of process `pid`; none, when this user may not read it.
fn occurrences(pid: u32, markers: &[&str]) -> anyhow::Result<Option<Vec<usize>>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"));
    let memory = File::open(format!("/proc/{pid}/mem"));
    let (maps, mut memory) = match (maps, memory) {
        (Ok(maps), Ok(memory)) => (maps, memory),
        (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(None);
        }
        (Err(error), _) | (_, Err(error)) => return Err(error.into()),
    };
    let mut found = vec![0; markers.len()];
    let mut part = vec![0; PART + OVERLAP];
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next(), words.next());
        let (Some(range), Some(rights)) = (range, rights) else {
            continue;
        };
        if !rights.starts_with("rw") || line.ends_with("[vvar]") {
            continue;
        }
        let (begin, end) = range.split_once('-').context("a range")?;
        let (begin, end) = (
            u64::from_str_radix(begin, 16)?,
            u64::from_str_radix(end, 16)?,
        );
        let mut at = begin;
        while at < end {
            let length = usize::try_from(end - at)?.min(part.len());
            memory.seek(SeekFrom::Start(at))?;
            // It may have been given back meanwhile.
            if memory.read_exact(&mut part[..length]).is_err() {
                break;
            }
            for (marker, count) in markers.iter().zip(&mut found) {
                *count += memmem::find_iter(&part[..length], marker.as_bytes()).count();
            }
            at += PART as u64;
        }
    }
    Ok(Some(found))
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_gone_from_the_vaults_memory_within_seconds() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: 1,
        ..Options::default()
    })
    .await?;
    let program = Program::start(&suite, "memory")?;
    let consumer = Consumer::online(&suite, 0)?;
    let phone = suite.facts().consumers[0].phone_number.clone();
    let number = suite.number(0).to_owned();
    let out = "outbound-content-5b8f2c91d7e64a03";
    let into = "inbound-content-90ac17e4b36d582f";
    // Several, so that buffers and pages are used more than once.
    for round in 0..20 {
        let words = format!("{out} {round}");
        program
            .text_until_accepted(&number, &phone, &words, &words, LATER)
            .await?;
        consumer.wait_for(round + 1, LATER).await?;
        let words = format!("{into} {round}");
        consumer.text(&suite, 0, &words).await?;
        let begun = Instant::now();
        while program.texts_from(&number, &phone).len() <= round {
            ensure!(begun.elapsed() < LATER, "{words:?} was not heard");
            sleep(Duration::from_millis(10)).await;
        }
    }
    let delivered = Instant::now();
    let markers = [out, into, phone.as_str()];
    // This process is both ends.
    let here = occurrences(std::process::id(), &markers)?.context("its own memory")?;
    ensure!(
        here.iter().all(|count| *count > 0),
        "the search finds: {here:?}"
    );
    let pid = suite
        .run_file()?
        .service("key-vault")?
        .pid
        .context("a pid")?;
    loop {
        let Some(found) = occurrences(pid, &markers)? else {
            progress("this user cannot read the vault's memory");
            return Ok(());
        };
        if found[..2] == [0, 0] {
            let after = delivered.elapsed().as_millis();
            progress(&format!(
                "content was gone {after} ms after the last text: {found:?}"
            ));
            return Ok(());
        }
        ensure!(
            delivered.elapsed() < GONE,
            "in the vault's memory: {found:?}"
        );
        sleep(Duration::from_millis(500)).await;
    }
}
