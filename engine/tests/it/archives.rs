//! Recordings as files: split, merged, cut, damaged, empty, from standard input.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tocsin_proto::archive::{ArchiveReader, ArchiveWriter, Compression, Frame};
use tocsin_proto::pb::archive::ArchiveHeader;

use super::{recording, replay, root, stderr, stdout, tocsin};

fn frames(path: &Path) -> Vec<Frame> {
    let reader = ArchiveReader::new(fs::File::open(path).expect("there")).expect("a header");
    reader.map(|frame| frame.expect("intact")).collect()
}

fn write(path: &Path, frames: &[Frame], header: &ArchiveHeader, compression: Compression) {
    let file = fs::File::create(path).expect("writable");
    let mut writer = ArchiveWriter::new(file, header, compression).expect("writable");
    for frame in frames {
        writer.write_event(&frame.payload).expect("writable");
    }
    writer.finish().expect("writable");
}

#[test]
fn the_same_recording_gives_the_same_lines_twice_and_split_in_two() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["incidents/addr_flood", "incidents/misbehaving", "incidents/node_restart"] {
        let whole = recording(name);
        let first = stdout(&replay(&whole, &[]));
        assert!(!first.is_empty());
        assert_eq!(first, stdout(&replay(&whole, &[])));

        let frames = frames(&whole);
        for cut in [1, frames.len() / 3, frames.len() / 2, frames.len() - 1] {
            let (a, b) = (folder.path().join("b.bin.zst"), folder.path().join("a.bin"));
            write(&a, &frames[..cut], &ArchiveHeader::default(), Compression::Zstd { level: 1 });
            write(&b, &frames[cut..], &ArchiveHeader::default(), Compression::None);
            // In either order: time decides, not the command line.
            for files in [[&a, &b], [&b, &a]] {
                let output = replay(files[0], &[files[1].to_str().expect("UTF-8")]);
                assert_eq!(stdout(&output), first, "{name} cut at {cut}: {}", stderr(&output));
            }
        }
    }
}

#[test]
fn the_order_of_arrival_does_not_matter_within_the_allowed_lateness() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = recording("incidents/inv_flood");
    let mut frames = frames(&whole);
    frames.sort_by_key(|frame| frame.timestamp_ms);
    let sorted = folder.path().join("sorted.bin");
    write(&sorted, &frames, &ArchiveHeader::default(), Compression::None);
    assert_eq!(stdout(&replay(&sorted, &[])), stdout(&replay(&whole, &[])));
}

#[test]
fn a_recording_is_read_from_standard_input() {
    let whole = recording("incidents/ping_spam");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tocsin"))
        .args(["replay", "-", "--format", "json"])
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(&fs::read(&whole).expect("there")).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(stdout(&output), stdout(&replay(&whole, &[])));
}

/// Replays bytes and checks the exit code and what standard error says. Returns standard output.
#[track_caller]
fn check_damaged(bytes: &[u8], code: i32, expected: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged.bin.zst");
    fs::write(&path, bytes).expect("writable");
    let output = replay(&path, &[]);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(expected) && errors.contains("damaged.bin.zst"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    stdout(&output)
}

#[test]
fn a_recording_cut_short_gives_what_was_intact_and_says_where_it_ends() {
    let bytes = fs::read(recording("incidents/addr_flood")).expect("there");
    let whole = stdout(&replay(&recording("incidents/addr_flood"), &[]));
    let lines = check_damaged(&bytes[..bytes.len() * 9 / 10], 3, "offset");
    assert_eq!(lines, whole, "all four alerts are in the first nine tenths");
    assert_eq!(check_damaged(&bytes[..bytes.len() / 10], 3, "byte"), "");
}

#[test]
fn any_flipped_bit_of_a_recording_with_checksum_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own.bin.zst");
    let frames = frames(&recording("incidents/ping_spam"));
    write(&path, &frames, &ArchiveHeader::default(), Compression::Zstd { level: 3 });
    let bytes = fs::read(&path).expect("there");
    for part in 1..12 {
        let mut flipped = bytes.clone();
        flipped[bytes.len() * part / 12] ^= 1 << (part % 8);
        check_damaged(&flipped, 3, "offset");
    }
}

#[test]
fn a_flipped_bit_of_a_recording_without_checksum_never_panics() {
    // peer-observer's archives carry no checksum: a flip that leaves the events well-formed cannot be noticed.
    let bytes = fs::read(recording("incidents/addr_flood")).expect("there");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged.bin.zst");
    let mut noticed = 0;
    for part in 1..24 {
        let mut flipped = bytes.clone();
        flipped[bytes.len() * part / 24] ^= 1 << (part % 8);
        fs::write(&path, flipped).expect("writable");
        let output = replay(&path, &[]);
        let errors = stderr(&output);
        assert!(!errors.contains("panicked"), "{errors}");
        match output.status.code() {
            Some(0) => assert_eq!(errors, ""),
            Some(3) => noticed += 1,
            other => panic!("{other:?}: {errors}"),
        }
    }
    assert!(noticed > 5, "{noticed} of 23 flips were noticed");
}

#[test]
fn a_flipped_bit_in_a_plain_recording_is_reported_with_its_place_and_skipped() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = folder.path().join("plain.bin");
    let frames = frames(&recording("incidents/ping_spam"));
    write(&plain, &frames, &ArchiveHeader::default(), Compression::None);
    let frames = self::frames(&plain);
    let mut bytes = fs::read(&plain).expect("there");
    // The first tag of a frame's event: its wire type becomes one that no field has.
    let victim = frames[100].offset as usize;
    let length_bytes = if frames[100].payload.len() < 128 { 1 } else { 2 };
    bytes[victim + length_bytes] ^= 0x07;
    let lines = check_damaged(&bytes, 3, &format!("offset {victim}"));
    assert_eq!(
        lines,
        stdout(&replay(&recording("incidents/ping_spam"), &[])),
        "one event less changes nothing"
    );
}

#[test]
fn an_empty_file_is_an_error() {
    check_damaged(b"", 3, "empty");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let output = tocsin(&["replay", "no/such/file.bin"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no/such/file.bin"), "{}", stderr(&output));
}

#[test]
fn the_node_comes_from_the_event_the_header_or_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let frames = frames(&recording("incidents/ping_spam"));
    let named = folder.path().join("named.bin");
    let header = ArchiveHeader { node: Some("hal".into()), ..Default::default() };
    write(&named, &frames, &header, Compression::None);
    let nodes = |output: std::process::Output| -> Vec<String> {
        let lines = stdout(&output);
        let node =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["node"].to_string();
        lines.lines().map(node).collect()
    };
    assert_eq!(nodes(replay(&named, &[])), ["\"hal\""]);
    assert_eq!(nodes(replay(&named, &["--node", "len"])), ["\"hal\""]);
    assert_eq!(nodes(replay(&recording("incidents/ping_spam"), &["--node", "len"])), ["\"len\""]);

    // Two nodes with the same peers at the same time: each has its own alert.
    let other = recording("incidents/ping_spam");
    let both = nodes(replay(&named, &[other.to_str().expect("UTF-8"), "--node", "x", "--node", "len"]));
    assert_eq!(both.len(), 2);
    assert!(both.contains(&"\"hal\"".to_string()) && both.contains(&"\"len\"".to_string()));
}

#[test]
fn a_configuration_is_tried_on_a_recording() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tocsin.toml");
    let whole = recording("incidents/ping_spam");
    let replayed = |text: &str, more: &[&str]| {
        fs::write(&config, text).expect("writable");
        replay(&whole, &[&["--config", config.to_str().expect("UTF-8")], more].concat())
    };
    let set = "data = \"x\"\n[rules.set]\n\"ping_spam.pings_max\" = 1000000\n";
    let plain = stdout(&replay(&whole, &[]));
    assert!(plain.contains("ping_spam"), "{plain}");
    assert!(!stdout(&replayed(set, &[])).contains("ping_spam"));
    // The command line comes after it.
    assert!(stdout(&replayed(set, &["--set", "ping_spam.pings_max=1"])).contains("ping_spam"));
    let wrong = replayed("data = \"x\"\n[[series]]\nname = \"no_such\"\neffect_min = 1\n", &[]);
    assert!(stderr(&wrong).contains("no such series to change"), "{}", stderr(&wrong));
}
