//! Writes `docs/vectors/envelope.json` anew: `cargo run -p sealpost-envelope --example vectors`.

mod cases;

fn main() -> std::io::Result<()> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/vectors/envelope.json"
    );
    std::fs::write(path, cases::document().to_json())
}
