//! Compiles the schemas in Rust (no protoc) and keeps the descriptors, comments included, for `schema.rs`.

// A build script is no part of the engine.
#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=schema");
    let mut files: Vec<PathBuf> = std::fs::read_dir("schema")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();

    let mut compiler = protox::Compiler::new(["schema"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(&files)?;
    let descriptors = compiler.file_descriptor_set();

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    prost_build::Config::new()
        .btree_map(["."])
        .type_attribute(".", "#[allow(missing_docs, clippy::all)]")
        .include_file("schemas.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
