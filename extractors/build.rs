//! Generates code from what other languages describe, and compiles what is not Rust.

// A build script is no part of the engine.
#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    compile_capnp()?;
    compile_tracepoints()
}

/// The node's Cap'n Proto interface, with the `capnp` tool of Debian's package capnproto.
fn compile_capnp() -> Result<(), Box<dyn Error>> {
    const FOLDER: &str = "src/ipc/schema";
    println!("cargo:rerun-if-changed={FOLDER}");
    capnpc::CompilerCommand::new()
        .src_prefix(FOLDER)
        .file(format!("{FOLDER}/node.capnp"))
        .default_parent_module(vec!["ipc".to_string()])
        .run()
        .map_err(|error| format!("the `capnp` tool (Debian: capnproto): {error}"))?;
    Ok(())
}

/// Compiles `bpf/` into `tocsin.bpf.o`. Needs clang 14 or later; libbpf's headers come with libbpf-cargo.
fn compile_tracepoints() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../bpf");
    println!("cargo:rerun-if-changed={}", folder.display());
    let object = PathBuf::from(std::env::var("OUT_DIR")?).join("tocsin.bpf.o");
    let include = folder.join("include");
    libbpf_cargo::SkeletonBuilder::new()
        .source(folder.join("tocsin.bpf.c"))
        .obj(&object)
        .clang_args(["-Wall".as_ref(), "-Werror".as_ref(), "-I".as_ref(), include.as_os_str()])
        .build()?;
    Ok(())
}
