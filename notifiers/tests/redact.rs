//! What leaves the machine does not tell where the nodes are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use tocsin_notifiers::redact::{Redact, redacted};
use tocsin_proto::pb::notification::{Alert, Evidence, Notification};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn hidden(text: &str) -> String {
    let told = Notification { reason_text: text.to_string(), ..Notification::default() };
    redacted(told, Redact::Addresses, &BTreeSet::new()).reason_text
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(hidden(text), expected);
}

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
const I2P: &str = "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p";

#[test]
fn addresses_of_every_network_are_hidden() {
    check("peer 1.2.3.4 left", "peer [address] left");
    check("1.2.3.4:8333, 255.0.0.1.", "[address], [address].");
    check("[1.2.3.4]:8333/tcp", "[address]/tcp");
    check("1.2.3.4/9991.2.3.4", "[address]/9991.2.3.4");
    check("1.2.0.0/16 and 1.2.3.4.8333", "[address] and [address]");
    check("from[2001:db8::1]:8333", "from[address]");
    check("2001:db8::1 fe80::1%eth0.4, (::1)", "[address] [address], ([address])");
    check("::ffff:1.2.3.4 [::ffff:1.2.3.4]:18444", "[address] [address]");
    check("fc00:1234:5678:9abc:def0:1234:5678:9abc", "[address]");
    check("addr:2001:DB8::1: gone", "addr:[address]: gone");
    check("peer2001:db8:0:0:0:0:0:1...2001:db8::2", "peer[address]...[address]");
    check("2001:db8:0:0:0:0:0:1:8333", "[address]");
    check(&format!("{ONION}:8333 {}", ONION.to_uppercase()), "[address] [address]");
    check("expyuzz4wqqyqhjn.onion", "[address]");
    check(&format!("{I2P}:0, zzz.i2p"), "[address], [address]");
}

#[test]
fn what_is_no_address_stays() {
    for text in [
        "version 31.99.0, 0.21.1",
        "/Satoshi:29.1.0/Knots:20250903/",
        "at 12:30:15 and 2026-11-21T12:30:15.123Z",
        "00000000000000000001a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7",
        "aa:bb:cc:dd:ee:ff",
        "de:ad:be:ef:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33",
        "std::fs::File, word::abc",
        "1.3.6.1.4.1.311, 999.1.1.1, 1.5",
        "the .onion network, i2p, http://example.org:8080/x",
        "5:3, ::, a:b",
        "äöü 100% [x]",
    ] {
        check(text, text);
    }
}

fn told() -> Notification {
    let labels =
        [("alertname", "hal"), ("node", "hal"), ("address", "1.2.3.4:8333"), ("text", "hal saw 5.6.7.8")];
    let alert = Alert {
        fingerprint: "0123456789abcdef".to_string(),
        labels: map(&labels),
        annotations: map(&[("summary", "hal, hal-2 and halt: 1.2.3.4:8333")]),
        evidence: Some(Evidence { quantity: "messages of 1.2.3.4".to_string(), ..Evidence::default() }),
        ..Alert::default()
    };
    let other = Alert { labels: map(&[("node", "hal-2"), ("address", "1.2.3.5:8333")]), ..alert.clone() };
    Notification {
        id: "ab".repeat(16),
        thread: "cd".repeat(16),
        group_key: "{}:{address=\"1.2.3.4:8333\", node=\"hal\"}".to_string(),
        group_labels: map(&[("node", "hal"), ("address", "1.2.3.4:8333")]),
        common_labels: map(&labels),
        common_annotations: map(&[("why", "see 9.9.9.9")]),
        external_url: "http://10.0.0.1:9095/".to_string(),
        alerts: vec![alert, other],
        ..Notification::default()
    }
}

#[test]
fn addresses_are_hidden_wherever_they_stand() {
    let told = redacted(told(), Redact::Addresses, &BTreeSet::new());
    let all = format!("{told:?}");
    for address in ["1.2.3.4", "1.2.3.5", "5.6.7.8", "9.9.9.9", "10.0.0.1"] {
        assert!(!all.contains(address), "{all}");
    }
    assert_eq!(told.alerts[0].annotations["summary"], "hal, hal-2 and halt: [address]");
    assert_eq!(told.external_url, "");
    assert_eq!((told.id.len(), told.thread.len(), told.alerts[0].fingerprint.len()), (32, 32, 16));
}

#[test]
fn labels_and_groups_that_differed_still_differ() {
    let told = redacted(told(), Redact::AddressesAndNodes, &BTreeSet::new());
    let [first, second] = &told.alerts[..] else { panic!("two alerts") };
    assert!(first.labels["address"].starts_with("[address]-"));
    assert_ne!(first.labels["address"], second.labels["address"]);
    assert_ne!(first.labels["node"], second.labels["node"]);
    assert_eq!(first.labels["address"], told.group_labels["address"]);
    assert!(told.group_key.contains(&first.labels["address"]), "{}", told.group_key);
    assert!(told.group_key.contains(&first.labels["node"]), "{}", told.group_key);
}

#[test]
fn names_of_nodes_become_the_same_words_each_time() {
    let told = redacted(told(), Redact::AddressesAndNodes, &BTreeSet::new());
    let [first, second] = &told.alerts[..] else { panic!("two alerts") };
    let (hal, hal_2) = (&first.labels["node"], &second.labels["node"]);
    assert!(hal.starts_with("node-") && hal.len() == 9, "{hal}");
    assert_eq!(first.annotations["summary"], format!("{hal}, {hal_2} and halt: [address]"));
    assert_eq!(first.labels["alertname"], "hal", "a rule keeps its name");
    assert_eq!(told.common_labels["node"], *hal);
}

#[test]
fn nodes_that_are_in_no_label_are_hidden_too() {
    let fleet = Notification {
        alerts: vec![Alert {
            labels: map(&[("alertname", "split")]),
            annotations: map(&[("summary", "hal is on another tip than bob and bob-2, not bobby")]),
            ..Alert::default()
        }],
        reason_text: "bob has new alerts".to_string(),
        ..Notification::default()
    };
    let known: BTreeSet<String> = ["hal", "bob", "bob-2", ""].map(str::to_string).into();
    let told = redacted(fleet.clone(), Redact::AddressesAndNodes, &known);
    let summary = &told.alerts[0].annotations["summary"];
    let words: Vec<&str> = summary.split([' ', ',']).filter(|word| word.starts_with("node-")).collect();
    assert_eq!(words.len(), 3, "{summary}");
    assert!(summary.ends_with(", not bobby") && !summary.contains("hal"), "{summary}");
    assert_eq!(told.reason_text, format!("{} has new alerts", words[1]));
    let addresses_alone = redacted(fleet.clone(), Redact::Addresses, &known);
    assert_eq!(addresses_alone, fleet);
}

#[test]
fn nothing_is_hidden_unless_asked_for() {
    assert_eq!(redacted(told(), Redact::Nothing, &BTreeSet::new()), told());
}

/// An address in one of the forms in which programs write them.
fn address() -> impl Strategy<Value = String> {
    let ip = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        // Zeros between make short forms.
        (any::<u128>(), any::<u128>())
            .prop_map(|(bits, mask)| IpAddr::V6(Ipv6Addr::from(bits & mask | 0xfd << 120))),
        any::<u32>().prop_map(|bits| IpAddr::V6(Ipv4Addr::from(bits).to_ipv6_mapped())),
        any::<[u8; 2]>().prop_map(|[first, last]| {
            IpAddr::V6(Ipv6Addr::new(0xfc00 | u16::from(first), 0, 0, 0, 0, 0, 0, 1 + u16::from(last)))
        }),
    ];
    let ip = (ip, any::<u16>(), 0..3).prop_map(|(ip, port, form)| match (form, ip) {
        (0, ip) => ip.to_string(),
        (1, ip) => SocketAddr::new(ip, port).to_string(),
        (_, IpAddr::V6(ip)) => format!("[{ip}%eth0]:{port}"),
        (_, ip) => ip.to_string(),
    });
    prop_oneof![3 => ip, 1 => "[a-z2-7]{56}\\.onion", 1 => "[a-z2-7]{16}\\.onion:[1-9]{4}", 1 => "[a-z2-7]{52}\\.b32\\.i2p"]
}

proptest! {
    #[test]
    fn no_address_that_was_put_in_remains(
        words in prop::collection::vec(("[ ,;(=\"<>|@äß\n]{1,2}", address(), "[ ,;)\"<>|@äß\n]{1,2}"), 1..6),
    ) {
        let text: String = words.iter().map(|(before, address, after)| format!("{before}{address}{after}")).collect();
        let left: String = words.iter().map(|(before, _, after)| format!("{before}[address]{after}")).collect();
        prop_assert_eq!(hidden(&text), left);
    }

    #[test]
    fn texts_without_two_colons_or_three_dots_or_networks_stay(text in "[^:.]{0,40}[:.]?[^:.]{0,40}[.]?[^:.]{0,20}") {
        let has_network = text.to_lowercase().contains(".onion") || text.to_lowercase().contains(".i2p");
        prop_assume!(!has_network);
        prop_assert_eq!(hidden(&text), text);
    }

    #[test]
    fn hashes_and_times_and_versions_stay(
        hash in "[0-9a-f]{64}", time in "[0-2][0-9]:[0-5][0-9]:[0-5][0-9]", version in "[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]",
    ) {
        let text = format!("{hash} at {time} by /Satoshi:{version}/");
        prop_assert_eq!(hidden(&text), text);
    }

    #[test]
    fn any_text_is_taken_and_gets_no_address(text in "[0-9a-f:.%/\\[\\]]{0,60}|\\PC{0,60}") {
        // What is left between the marks holds no whole address.
        for part in hidden(&text).split("[address]") {
            prop_assert!(part.trim_matches(['[', ']', '%', '/']).parse::<Ipv4Addr>().is_err(), "{part}");
        }
    }
}
