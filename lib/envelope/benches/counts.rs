//! The same steps, to be counted: `.ci/counts` runs this under callgrind, which collects within `counted` alone.
//!
//! `envelope_counts STEP N` does a step N times; without a step it names all.

mod both;

use std::hint::black_box;

use both::Ends;

const STEPS: [&str; 4] = ["seal-1k", "open-1k", "wrap", "unwrap"];

#[expect(clippy::print_stdout, reason = "a program that answers its caller")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(step), Some(times)) = (arguments.next(), arguments.next()) else {
        return println!("{}", STEPS.join("\n"));
    };
    let times: usize = times.parse().expect("N is a number");
    let mut ends = Ends::new();
    // What is only done once is done before: here, finding out what the processor can do.
    let (key, wire) = ends.wrap();
    ends.unwrap(&wire);
    let sealed = ends.seal(&key);
    ends.open(&key, &sealed);
    for _ in 0..times {
        match step.as_str() {
            "seal-1k" => drop(counted(|| ends.seal(&key))),
            "open-1k" => drop(counted(|| ends.open(&key, &sealed))),
            "wrap" => drop(counted(|| ends.wrap())),
            "unwrap" => drop(counted(|| ends.unwrap(&wire))),
            other => panic!("no step is named {other}"),
        }
    }
}

/// What callgrind collects: it knows the function by its name.
#[inline(never)]
fn counted<T>(step: impl FnOnce() -> T) -> T {
    black_box(step())
}
