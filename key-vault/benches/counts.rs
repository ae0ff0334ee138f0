//! The session step and the seals, to be counted: `.ci/counts` runs this under callgrind, which collects within `counted` alone.
//!
//! `session_counts STEP N` does a step N times; without a step it names all.

use std::hint::black_box;

use sealpost_key_vault::measured::{Records, acquainted};
use sealpost_runtime::Allocator;
use zeroizing_alloc::ZeroAlloc;

/// As the vault's.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Allocator> = ZeroAlloc(Allocator);

const CONTENT: usize = 1024;
const STEPS: [&str; 7] = [
    "encrypt-1k-burst",
    "encrypt-1k-turn",
    "encrypt-1k-from-rows",
    "decrypt-1k-burst",
    "decrypt-1k-turn",
    "record-seal-1k",
    "record-open-1k",
];

#[expect(clippy::print_stdout, reason = "a program that answers its caller")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(step), Some(times)) = (arguments.next(), arguments.next()) else {
        return println!("{}", STEPS.join("\n"));
    };
    let times: usize = times.parse().expect("N is a number");
    match step.as_str() {
        "record-seal-1k" | "record-open-1k" => seal(&step, times),
        _ => converse(&step, times),
    }
}

fn converse(step: &str, times: usize) {
    let (mut vault, mut device) = acquainted(CONTENT);
    let text = vec![b'a'; vault.frame_bytes()];
    for _ in 0..times {
        match step {
            "encrypt-1k-burst" => {
                let sent = counted(|| {
                    let sent = vault.encrypt();
                    vault.keep();
                    sent
                });
                device.decrypt(&sent);
            }
            "encrypt-1k-from-rows" => {
                let sent = counted(|| {
                    vault.reopen();
                    let sent = vault.encrypt();
                    vault.keep();
                    sent
                });
                device.decrypt(&sent);
            }
            "encrypt-1k-turn" => {
                let asked = device.encrypt(&text);
                vault.decrypt(&asked);
                let sent = counted(|| {
                    let sent = vault.encrypt();
                    vault.keep();
                    sent
                });
                device.decrypt(&sent);
            }
            "decrypt-1k-burst" => {
                let asked = device.encrypt(&text);
                counted(|| {
                    vault.decrypt(&asked);
                    vault.keep();
                });
            }
            "decrypt-1k-turn" => {
                let asked = device.encrypt(&text);
                counted(|| {
                    vault.decrypt(&asked);
                    vault.keep();
                });
                let answer = vault.encrypt();
                device.decrypt(&answer);
            }
            other => panic!("no step is named {other}"),
        }
    }
}

fn seal(step: &str, times: usize) {
    let mut records = Records::new(CONTENT);
    // What is only done once is done before: here, finding out what the processor can do.
    let record = records.seal();
    assert!(records.open(&record) > CONTENT);
    for _ in 0..times {
        if step == "record-seal-1k" {
            counted(|| records.seal());
        } else {
            counted(|| records.open(&record));
        }
    }
}

/// What callgrind collects: it knows the function by its name.
#[inline(never)]
fn counted<T>(step: impl FnOnce() -> T) -> T {
    black_box(step())
}
