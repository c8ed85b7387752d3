//! What was written is read back, and what was damaged is told apart from what was not.

use std::io::{self, Read};

use prost::encoding;

use super::*;
use crate::pb::archive::ArchiveHeader;

const AT_MS: u64 = 1_795_229_768_754;

/// An event of the log extractor with a body of `body_bytes` bytes that differ from event to event.
fn event(index: usize, body_bytes: usize) -> Vec<u8> {
    let body = (0..body_bytes).map(|at| (index * 31 + at) as u8).collect();
    event_at(AT_MS + index as u64, body)
}

fn event_at(timestamp: u64, body: Vec<u8>) -> Vec<u8> {
    let mut payload = Vec::new();
    encoding::bytes::encode(4, &body, &mut payload);
    encoding::uint64::encode(10, &timestamp, &mut payload);
    payload
}

fn header() -> ArchiveHeader {
    ArchiveHeader { created: AT_MS / 1000, low_data: Some(false), node: Some("alice".to_string()) }
}

fn archive(events: &[Vec<u8>], compression: Compression) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), &header(), compression).unwrap();
    for payload in events {
        writer.write_event(payload).unwrap();
    }
    writer.finish().unwrap()
}

/// As [`archive`], with a zstd block for each event.
fn archive_in_blocks(events: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), &header(), ZSTD).unwrap();
    for payload in events {
        writer.write_event(payload).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap()
}

const ZSTD: Compression = Compression::Zstd { level: 3 };

/// Frames that can be read, and everything that is wrong with the archive.
fn read(source: impl Read) -> (Vec<Frame>, Vec<ArchiveError>) {
    let mut reader = match ArchiveReader::new(source) {
        Ok(reader) => reader,
        Err(error) => return (vec![], vec![error]),
    };
    let (mut frames, mut errors) = (vec![], vec![]);
    while let Some(next) = reader.next_frame() {
        assert!(!errors.last().is_some_and(ArchiveError::is_final), "{errors:?} is followed by {next:?}");
        match next {
            Ok(frame) => frames.push(frame),
            Err(error) => errors.push(error),
        }
    }
    assert!(reader.next_frame().is_none());
    (frames, errors)
}

#[track_caller]
fn check(source: impl Read, expected: &[Vec<u8>], expected_errors: &[&str]) {
    let (frames, errors) = read(source);
    let errors: Vec<String> = errors.iter().map(ArchiveError::to_string).collect();
    assert_eq!(errors, expected_errors);
    assert_eq!(frames.len(), expected.len());
    for (frame, payload) in frames.iter().zip(expected) {
        assert!(frame.payload == payload, "payload of {} bytes differs", payload.len());
    }
}

fn three() -> Vec<Vec<u8>> {
    vec![event(0, 5), event(1, 200), event(2, 0)]
}

/// Where the frames of a plain archive begin, and where the last one ends.
fn offsets(events: &[Vec<u8>]) -> Vec<usize> {
    let sizes = events.iter().map(|event| event.len() + encoding::encoded_len_varint(event.len() as u64));
    let header_bytes = archive(&[], Compression::None).len();
    std::iter::once(header_bytes)
        .chain(sizes.scan(header_bytes, |end, size| {
            *end += size;
            Some(*end)
        }))
        .collect()
}

/// Gives one byte a call, and an interruption before each.
struct Trickle<'a> {
    bytes: &'a [u8],
    is_interrupted: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.is_interrupted = !self.is_interrupted;
        if self.is_interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = room.len().min(1);
        self.bytes.read(&mut room[..len])
    }
}

#[test]
fn what_was_written_is_read_back() {
    for compression in [Compression::None, ZSTD, Compression::Zstd { level: -1 }] {
        let written = archive(&three(), compression);
        let mut reader = ArchiveReader::new(&written[..]).unwrap();
        assert_eq!(*reader.header(), header());
        let frames: Vec<Frame> = reader.by_ref().map(Result::unwrap).collect();
        let found: Vec<usize> = frames.iter().map(|frame| frame.offset as usize).collect();
        let expected = offsets(&three());
        assert_eq!(found, expected[..3]);
        assert_eq!(reader.bytes_read() as usize, expected[3]);
        assert_eq!(reader.source_bytes_read() as usize, written.len());
        check(&written[..], &three(), &[]);
    }
}

#[test]
fn a_frame_tells_what_its_envelope_says() {
    let mut payload = event_at(AT_MS, b"body".to_vec());
    encoding::string::encode(100, &"alice".to_string(), &mut payload);
    encoding::uint64::encode(101, &(AT_MS + 3), &mut payload);
    let (frames, _) = read(&archive(&[payload], ZSTD)[..]);
    let [frame] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((frame.timestamp_ms, frame.received_at_ms), (AT_MS, Some(AT_MS + 3)));
    assert_eq!((frame.extractor, frame.body(), frame.node()), (4, &b"body"[..], Some("alice")));
}

#[test]
fn an_archive_without_events_is_sound() {
    check(&archive(&[], Compression::None)[..], &[], &[]);
    check(&archive(&[], ZSTD)[..], &[], &[]);
}

#[test]
fn zstd_streams_that_follow_each_other_are_one_archive() {
    let plain = archive(&three(), Compression::None);
    // The second begins in the middle of a frame, the third is empty.
    let (start, rest) = plain.split_at(plain.len() - 30);
    let streams = [start, rest, &[]].map(|part| zstd::encode_all(part, 0).unwrap());
    check(&streams.concat()[..], &three(), &[]);
}

#[test]
fn the_header_of_older_archives_is_skipped() {
    let plain = archive(&three(), Compression::None);
    let events = &plain[offsets(&three())[0]..];
    let old = [b"PA\x01\x00............", events].concat();
    assert_eq!(*ArchiveReader::new(&old[..]).unwrap().header(), ArchiveHeader::default());
    check(&old[..], &three(), &[]);
    check(&zstd::encode_all(&old[..], 0).unwrap()[..], &three(), &[]);
    check(&old[..15], &[], &["offset 0: archive ends inside a frame, found 15 bytes of it, expected 16"]);
}

#[test]
fn a_source_may_give_one_byte_at_a_time() {
    for compression in [Compression::None, ZSTD] {
        let written = archive(&three(), compression);
        check(Trickle { bytes: &written, is_interrupted: false }, &three(), &[]);
    }
}

#[test]
fn frames_larger_than_a_chunk_are_whole() {
    let events = [event(0, 100), event(1, 4 << 20), event(2, 100), event(3, (1 << 20) + 1), event(4, 9)];
    check(&archive(&events, Compression::None)[..], &events, &[]);
    check(&archive(&events, ZSTD)[..], &events, &[]);
}

#[test]
fn frames_that_are_kept_do_not_change_when_the_chunk_is_used_again() {
    let events: Vec<Vec<u8>> = (0..9000).map(|index| event(index, index % 700)).collect();
    check(&archive(&events, Compression::None)[..], &events, &[]);
    let written = archive(&events, ZSTD);
    let dropped_at_once = ArchiveReader::new(&written[..]).unwrap().zip(&events);
    for (frame, payload) in dropped_at_once {
        assert_eq!(frame.unwrap().payload, payload);
    }
}

#[test]
fn a_plain_archive_cut_anywhere_yields_the_whole_frames_before() {
    let whole = archive(&three(), Compression::None);
    let offsets = offsets(&three());
    check(&whole[..0], &[], &["archive is empty, expected a header and events"]);
    for len in 1..whole.len() {
        let (frames, errors) = read(&whole[..len]);
        let begun = offsets.iter().filter(|offset| **offset <= len).count();
        assert_eq!(frames.len(), begun.saturating_sub(1), "cut to {len} bytes");
        match &errors[..] {
            [] => assert!(offsets.contains(&len), "cut to {len} bytes"),
            [ArchiveError::CutShort { offset, have, want }] => {
                let start = if begun == 0 { 0 } else { offsets[begun - 1] };
                assert_eq!((*offset as usize, *have), (start, len - start));
                assert!(have < want);
            }
            other => panic!("cut to {len} bytes: {other:?}"),
        }
    }
}

#[test]
fn a_zstd_archive_cut_anywhere_is_unfinished() {
    let whole = archive_in_blocks(&three());
    let mut frames_before = 0;
    // With less than its magic number it is no zstd stream.
    for len in 4..whole.len() {
        let (frames, errors) = read(&whole[..len]);
        assert!(frames.len() >= frames_before, "cut to {len} bytes");
        frames_before = frames.len();
        let unfinished =
            matches!(errors[..], [ArchiveError::CutShort { .. } | ArchiveError::UnfinishedStream { .. }]);
        assert!(unfinished, "cut to {len} bytes: {errors:?}");
    }
    assert_eq!(frames_before, 3);
}

#[test]
fn what_was_flushed_can_be_read_while_the_archive_is_written() {
    for compression in [Compression::None, ZSTD] {
        let mut live = Vec::new();
        let mut writer = ArchiveWriter::new(&mut live, &header(), compression).unwrap();
        for payload in three() {
            writer.write_event(&payload).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        let unfinished =
            "offset 254: archive ends before its zstd stream does: it was cut, or is still being written";
        let expected: &[&str] = if compression == Compression::None { &[] } else { &[unfinished] };
        check(&live[..], &three(), expected);
    }
}

#[test]
fn a_flushed_block_is_read_to_its_end_where_a_chunk_ends_inside_it() {
    // The eleventh block of 100 kB reaches over the end of the first chunk.
    let events: Vec<Vec<u8>> = (0..11).map(|index| event(index, 100_000)).collect();
    let mut live = Vec::new();
    let mut writer = ArchiveWriter::new(&mut live, &header(), ZSTD).unwrap();
    for payload in &events {
        writer.write_event(payload).unwrap();
        writer.flush().unwrap();
    }
    drop(writer);
    assert_eq!(read(&live[..]).0.len(), 11);
}

#[test]
fn any_flipped_bit_of_a_plain_archive_leaves_the_frames_before_it() {
    let events = three();
    let offsets = offsets(&events);
    let mut written = archive(&events, Compression::None);
    for bit in 0..written.len() * 8 {
        written[bit / 8] ^= 1 << (bit % 8);
        let (frames, _) = read(&written[..]);
        let intact = offsets.iter().filter(|offset| **offset <= bit / 8).count().saturating_sub(1);
        for (index, payload) in events.iter().take(intact).enumerate() {
            assert_eq!(frames[index].payload, payload, "bit {bit}");
        }
        written[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn any_flipped_bit_of_a_zstd_archive_is_noticed_and_leaves_the_blocks_before_it() {
    let events = three();
    let mut written = archive_in_blocks(&events);
    // A block's end is the first length at which its frame can be read.
    let frames_of = |bytes: &[u8]| read(bytes).0.len();
    let ends: Vec<usize> =
        (1..=3).map(|count| (4..).find(|len| frames_of(&written[..*len]) == count).unwrap()).collect();
    for bit in 0..written.len() * 8 {
        written[bit / 8] ^= 1 << (bit % 8);
        let (frames, errors) = read(&written[..]);
        let intact = ends.iter().filter(|end| **end <= bit / 8).count();
        for (index, payload) in events.iter().take(intact).enumerate() {
            assert_eq!(frames[index].payload, payload, "bit {bit}");
        }
        // Some bits of a zstd header mean nothing; the checksum vouches for the content then.
        let is_unchanged =
            frames.len() == 3 && frames.iter().zip(&events).all(|(frame, event)| frame.payload == event);
        assert!(!errors.is_empty() || is_unchanged, "bit {bit}");
        written[bit / 8] ^= 1 << (bit % 8);
    }
}

/// Where the `count`th block of a zstd stream begins, from RFC 8878, 3.1.1.2: a header of 3 bytes ends in the size.
fn block(stream: &[u8], count: usize) -> usize {
    let frame_header = 4 + 2;
    (1..count).fold(frame_header, |at, _| {
        let header = u32::from_le_bytes([stream[at], stream[at + 1], stream[at + 2], 0]);
        at + 3 + (header >> 3) as usize
    })
}

#[test]
fn blocks_before_a_damaged_block_are_read_to_their_last_byte() {
    let events: Vec<Vec<u8>> = (0..9000).map(|index| event(index * index, index % 700)).collect();
    let mut written = archive(&events, ZSTD);
    let seventh = block(&written, 7);
    let (before, errors) = read(&written[..seventh]);
    let [ArchiveError::CutShort { offset, have, .. }] = errors[..] else { panic!("{errors:?}") };
    assert!(before.len() > 1000);

    // The one type of block that zstd does not have.
    written[seventh] |= 0b110;
    let (frames, errors) = read(&written[..]);
    assert!(frames == before, "{} frames, {} before the damage", frames.len(), before.len());
    let [ArchiveError::Compression { offset: damaged_at, source_offset, .. }] = errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!((damaged_at, source_offset), (offset + have as u64, seventh as u64));
}

#[test]
fn a_damaged_frame_is_skipped() {
    let damaged = vec![event(0, 5), vec![0xff; 7], event(2, 0), vec![], event(4, 3)];
    let sound = [event(0, 5), event(2, 0), event(4, 3)];
    let expected = [
        "offset 32: frame of 7 bytes is not an event: byte 0: no valid varint, expected one that ends within the 7 \
         bytes of the event",
        "offset 50: frame of 0 bytes is not an event: no timestamp, expected field 10",
    ];
    check(&archive(&damaged, Compression::None)[..], &sound, &expected);
}

#[test]
fn three_damaged_frames_in_a_row_end_the_archive() {
    let damaged = vec![event(0, 5), vec![], vec![], event(1, 0), vec![], vec![1], vec![], event(2, 0)];
    let expected = [
        "offset 32: frame of 0 bytes is not an event: no timestamp, expected field 10",
        "offset 33: frame of 0 bytes is not an event: no timestamp, expected field 10",
        "offset 44: frame of 0 bytes is not an event: no timestamp, expected field 10",
        "offset 45: frame of 1 bytes is not an event: byte 0: field 0 has wire type 1, expected fields 1 to 5, 100 and 110 \
         with wire type 2, 10, 101 and 102 with 0, or a number above",
        "offset 44: 3 frames in a row are not events; the events after it cannot be told apart",
    ];
    check(&archive(&damaged, Compression::None)[..], &[event(0, 5), event(1, 0)], &expected);
}

#[test]
fn an_impossible_length_ends_the_archive() {
    let mut written = archive(&[event(0, 5)], Compression::None);
    let len = written.len();
    encoding::encode_varint(MAX_FRAME_BYTES as u64 + 1, &mut written);
    let too_long = "offset 32: frame has 33554433 bytes, expected at most 33554432; the events after it cannot be told \
                    apart";
    check(&written[..], &[event(0, 5)], &[too_long]);
    written.truncate(len);
    written.extend([0xff; 20]);
    let malformed = "offset 32: length has more than 64 bits; the events after it cannot be told apart";
    check(&written[..], &[event(0, 5)], &[malformed]);
}

#[test]
fn an_archive_of_the_legacy_schema_is_named_as_such() {
    let events: Vec<Vec<u8>> = (0..4).map(|index| event_at(AT_MS / 1000 + index, vec![])).collect();
    let (frames, errors) = read(&archive(&events, Compression::None)[..]);
    assert!(frames.is_empty());
    assert_eq!(errors.len(), 3);
    assert_eq!(
        errors[2].to_string(),
        "offset 17: event is in the legacy schema used before 2025-12-11, expected the later one with its timestamp \
         in milliseconds"
    );
}

#[test]
fn events_of_a_newer_peer_observer_do_not_end_the_archive() {
    let mut newer = Vec::new();
    encoding::bytes::encode(6, &vec![1, 2], &mut newer);
    encoding::uint64::encode(10, &AT_MS, &mut newer);
    let events = [vec![newer; 9], three()].concat();
    let (frames, errors) = read(&archive(&events, Compression::None)[..]);
    assert_eq!((frames.len(), errors.len()), (3, 9));
}

#[test]
fn what_is_no_archive_is_not_read() {
    let no_header = |found| format!("offset 0: {found}, expected the header of a peer-observer archive");
    check(&b"\x00\x00\x00\x00"[..], &[], &[&no_header("header has 0 bytes")]);
    check(&[0xff; 40][..], &[], &[&no_header("length has more than 64 bits")]);
    check(&b"\x80\x80\x80\x01"[..], &[], &[&no_header("header has 2097152 bytes")]);
    check(
        &zstd::encode_all(&[][..], 0).unwrap()[..],
        &[],
        &["archive is empty, expected a header and events"],
    );
    let (frames, errors) = read(&b"2026-11-21T11:14:00Z [net] received: ping (8 bytes) peer=4\n"[..]);
    assert!(frames.is_empty());
    assert!(matches!(errors[..], [ArchiveError::Header { .. }]), "{errors:?}");
}

#[test]
fn a_source_that_fails_ends_the_archive_after_what_it_gave() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk on fire"))
        }
    }
    let written = archive(&three(), Compression::None);
    let expected = format!("offset {}: read failed: disk on fire", written.len());
    check(written.chain(Broken), &three(), &[&expected]);
}

#[test]
fn an_event_longer_than_the_limit_is_not_written() {
    let mut writer = ArchiveWriter::new(Vec::new(), &header(), Compression::None).unwrap();
    let error = writer.write_event(&vec![0; MAX_FRAME_BYTES + 1]).unwrap_err();
    assert_eq!(error.to_string(), "event has 33554433 bytes, expected at most 33554432");
    check(&writer.finish().unwrap()[..], &[], &[]);
}
