//! Finds network addresses in any text.
//!
//! Rather hides a number of four parts that was none than shows an address. What looks alike and is none stays: versions of
//! three parts, times of the day, hashes.

use std::net::Ipv6Addr;
use std::ops::Range;
use std::sync::OnceLock;

use regex::Regex;

/// Most bytes of an IPv6 address as text: eight groups, the last two as IPv4.
const IPV6_MAX: usize = 45;
/// Groups from which on hex digits between colons are a hash, not an address with a word before and a port after it.
const HASH_GROUPS: usize = 11;

/// The text with each address replaced by what `instead` makes of it.
pub fn replace(text: &str, mut instead: impl FnMut(&str) -> String) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut done = 0;
    for span in spans(text) {
        replaced.push_str(&text[done..span.start]);
        replaced.push_str(&instead(&text[span.clone()]));
        done = span.end;
    }
    replaced.push_str(&text[done..]);
    replaced
}

/// Where addresses stand, in order, without overlaps; ports, brackets, zones and lengths of prefixes included.
pub fn spans(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = names().find_iter(text).map(|name| name.range()).collect();
    found.extend(ipv6(text));
    found.extend(ipv4(text));
    let mut found: Vec<Range<usize>> = found.into_iter().map(|span| whole(text, span)).collect();
    found.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    let mut spans: Vec<Range<usize>> = Vec::new();
    for span in found {
        match spans.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => spans.push(span),
        }
    }
    spans
}

/// Tor of both versions, and I2P.
fn names() -> &'static Regex {
    static NAMES: OnceLock<Regex> = OnceLock::new();
    NAMES.get_or_init(|| {
        Regex::new(r"(?i)[a-z2-7]{16,}\.onion|[a-z2-7]{40,}\.b32\.i2p|[a-z0-9-]+\.i2p").expect("a constant")
    })
}

/// Four numbers up to 255 with dots between them; a fifth one is a port, as BSD's tools write it.
fn ipv4(text: &str) -> Vec<Range<usize>> {
    static RUNS: OnceLock<Regex> = OnceLock::new();
    let runs = RUNS.get_or_init(|| Regex::new(r"[0-9]+(?:\.[0-9]+){3,}").expect("a constant"));
    let is_address = |run: &str| {
        let parts: Vec<&str> = run.split('.').collect();
        let is_octet = |part: &&str| part.len() <= 3 && part.parse::<u16>().is_ok_and(|number| number <= 255);
        let is_port = |part: &&str| part.parse::<u16>().is_ok();
        parts.len() <= 5 && parts[..4].iter().all(is_octet) && parts[4..].iter().all(is_port)
    };
    runs.find_iter(text).filter(|run| is_address(run.as_str())).map(|run| run.range()).collect()
}

/// What the standard library takes for an IPv6 address, in runs of hex digits, colons and dots.
fn ipv6(text: &str) -> Vec<Range<usize>> {
    static RUNS: OnceLock<Regex> = OnceLock::new();
    let runs =
        RUNS.get_or_init(|| Regex::new(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*").expect("a constant"));
    let mut found = Vec::new();
    for run in runs.find_iter(text) {
        let mut from = run.start();
        while let Some(span) = first_ipv6(text, run.range(), from) {
            from = span.end;
            found.push(span);
        }
    }
    found
}

/// The first, then longest address of a run that does not begin before `from`.
fn first_ipv6(text: &str, run: Range<usize>, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let is_hash = !text[run.clone()].contains("::") && text[run.clone()].split(':').count() >= HASH_GROUPS;
    if is_hash {
        return None;
    }
    let is_edge = |at: usize| {
        at == run.start
            || at == run.end
            || !bytes[at - 1].is_ascii_hexdigit()
            || !bytes[at].is_ascii_hexdigit()
    };
    for start in (from..run.end).filter(|start| is_edge(*start)) {
        let ends = (start + 3..=run.end.min(start + IPV6_MAX)).rev();
        for end in ends.filter(|end| is_edge(*end)) {
            let candidate = &text[start..end];
            if candidate.parse::<Ipv6Addr>().is_ok() && !is_path(text, start..end) {
                return Some(start..end);
            }
        }
    }
    None
}

/// `std::fs` and the like: two groups or fewer, within a word.
fn is_path(text: &str, span: Range<usize>) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let before = text[..span.start].chars().next_back();
    let after = text[span.end..].chars().next();
    let groups = text[span].split(':').filter(|group| !group.is_empty()).count();
    groups < 3 && (is_letter(before) || is_letter(after))
}

/// The span with what belongs to the address: zone, brackets, port, length of the prefix.
fn whole(text: &str, span: Range<usize>) -> Range<usize> {
    static AFTER: OnceLock<[Regex; 2]> = OnceLock::new();
    let [zone, port] = AFTER.get_or_init(|| {
        [r"^%[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", r"^(?::[0-9]{1,5}|/[0-9]{1,3})"]
            .map(|pattern| Regex::new(pattern).expect("a constant"))
    });
    let Range { mut start, mut end } = span;
    let after =
        |pattern: &Regex, end: usize| pattern.find(&text[end..]).map_or(end, |found| end + found.end());
    end = after(zone, end);
    if text[..start].ends_with('[') && text[end..].starts_with(']') {
        start -= 1;
        end += 1;
    }
    match after(port, end) {
        // Digits that go on are no port, and may begin another address.
        cut if text[cut..].starts_with(|c: char| c.is_ascii_digit()) => start..end,
        end => start..end,
    }
}
