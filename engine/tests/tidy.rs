//! The architecture, checked: fixed folders, one direction of imports, functions of one screen, the project's words.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the engine from first to last; each may import itself and what comes before it.
const LAYERS: [&str; 13] = [
    "time", "stored", "detectors", "project", "windows", "rules", "sequence", "alerts", "filters", "plan", "timeline",
    "engine", "dispatch",
];
/// The top level, besides loose files.
const FOLDERS: [&str; 7] = ["bpf", "engine", "extractors", "notifiers", "proto", "rules", "testdata"];
const FUNCTION_LINES_MAX: usize = 70;
/// Words that mean what another word of the project means already (or nothing at all).
const WORDS: [&str; 8] = ["Verdict", "Signal", "Trigger", "Job", "Manager", "Service", "Helper", "Util"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [
        "engine/src",
        "engine/tests",
        "engine/benches",
        "extractors/src",
        "extractors/tests",
        "extractors/benches",
        "notifiers/src",
        "notifiers/tests",
        "proto/src",
        "testdata/support",
    ] {
        sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 30, "the sources were not found");
    found
}

#[test]
fn the_top_level_is_fixed() {
    for folder in FOLDERS {
        assert!(root().join(folder).is_dir(), "{folder}/ is missing");
    }
    for entry in fs::read_dir(root()).expect("the workspace") {
        let entry = entry.expect("readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_known = FOLDERS.contains(&name.as_str()) || name == "target" || name.starts_with('.');
        assert!(!entry.path().is_dir() || is_known, "{name}/ is no folder of the design");
    }
}

#[test]
fn inside_the_engine_arrows_run_one_way() {
    let source = root().join("engine/src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    let mut checked = 0;
    for file in files {
        let inside = file.strip_prefix(&source).expect("found there").display().to_string();
        let module = inside.split(['/', '.']).next().expect("a path has a first part").to_string();
        let Some(own) = LAYERS.iter().position(|layer| *layer == module) else { continue };
        checked += 1;
        let text = fs::read_to_string(&file).expect("readable");
        for (number, line) in text.lines().enumerate() {
            for (layer, name) in LAYERS.iter().enumerate().skip(own + 1) {
                let imports =
                    line.contains(&format!("crate::{name}::")) || line.contains(&format!("crate::{name}}}"));
                let is_code = !line.trim_start().starts_with("//");
                assert!(
                    !(imports && is_code),
                    "{inside}:{}: {module} imports {name}, which comes after it ({layer})",
                    number + 1
                );
            }
        }
    }
    assert!(checked > 20, "the modules were not found");
}

#[test]
fn the_engine_does_not_know_the_program() {
    let mut files = Vec::new();
    sources(&root().join("engine/src"), &mut files);
    files.retain(|file| {
        !file.ends_with("main.rs") && !file.components().any(|part| part.as_os_str() == "program")
    });
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        for word in ["clap::", "indicatif::", "anyhow::", "println!", "eprintln!"] {
            assert!(!text.contains(word), "{}: {word} belongs to the program", file.display());
        }
    }
}

#[test]
fn functions_fit_on_a_screen() {
    let mut too_long = Vec::new();
    for file in all_sources() {
        let text = fs::read_to_string(&file).expect("readable");
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_function =
                ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn ", "const fn ", "pub const fn "]
                    .iter()
                    .any(|head| line.trim_start().starts_with(head));
            // Rules in texts have functions too.
            let is_text = line.contains("{{");
            if !is_function || is_text || line.trim_end().ends_with(';') || line.trim_end().ends_with('}') {
                continue;
            }
            // rustfmt puts the closing brace at the indent of the first line.
            let closing = format!("{}}}", " ".repeat(indent));
            let place = format!("{}:{}", file.display(), start + 1);
            let length = lines[start..].iter().position(|line| *line == closing);
            let length = length.unwrap_or_else(|| panic!("{place}: a function without an end"));
            if length + 1 > FUNCTION_LINES_MAX {
                too_long.push(format!("{place}: {} lines", length + 1));
            }
        }
    }
    assert!(too_long.is_empty(), "longer than {FUNCTION_LINES_MAX} lines:\n{}", too_long.join("\n"));
}

#[test]
fn types_use_the_words_of_the_design() {
    for file in all_sources() {
        let text = fs::read_to_string(&file).expect("readable");
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let declares = words.by_ref().any(|word| ["struct", "enum", "trait", "type"].contains(&word));
            let name = words.next().unwrap_or_default();
            let forbidden = WORDS.iter().find(|word| declares && name.contains(*word));
            assert!(forbidden.is_none(), "{}:{}: {name} uses {forbidden:?}", file.display(), number + 1);
        }
    }
}
