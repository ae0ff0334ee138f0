//! Compiles the contracts with protox, so that no `protoc` is needed for them.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut protos = Vec::new();
    collect(&root.join("sealpost"), &mut protos)?;
    protos.sort();
    println!("cargo::rerun-if-changed=sealpost");

    let descriptors = protox::Compiler::new([&root])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(&protos)?
        .encode_file_descriptor_set();
    fs::write(out.join("sealpost.bin"), &descriptors)?;

    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(prost::Message::decode(descriptors.as_slice())?)?;
    Ok(())
}

fn collect(folder: &Path, protos: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, protos)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            protos.push(path);
        }
    }
    Ok(())
}
