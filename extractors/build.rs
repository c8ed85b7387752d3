//! Generates code from what other languages describe.

// A build script is no part of the engine.
#![allow(clippy::disallowed_methods)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    compile_capnp()
}

/// The node's Cap'n Proto interface, with the `capnp` tool of Debian's package capnproto.
fn compile_capnp() -> Result<(), Box<dyn std::error::Error>> {
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
