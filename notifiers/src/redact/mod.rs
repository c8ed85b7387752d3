//! Hides addresses of nodes and peers, and names of nodes, in what leaves the machine.

mod addresses;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use tocsin_proto::pb::notification::{Alert, Notification};

/// Stands for an address.
const ADDRESS: &str = "[address]";
/// Labels with words of ours, among which a node's name would be a coincidence.
const OURS: [&str; 3] = ["alertname", "severity", "status"];

/// What is hidden.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redact {
    /// Nothing.
    #[default]
    Nothing,
    /// Addresses: IPv4, IPv6, Tor, I2P, CJDNS, with and without ports, wherever they stand.
    Addresses,
    /// Addresses, and names of nodes, which become `node-` and four hex digits, the same each time.
    AddressesAndNodes,
}

/// The notification without what is to be hidden. Ids, fingerprints and the thread stay, so that a receiver still knows
/// repeats.
///
/// An address becomes `[address]`; in labels and the group's key, `[address]-` and four hex digits of its hash, so that
/// alerts and groups that differ in nothing else stay different. The hash, like the fingerprint, tells somebody who
/// guesses the address that the guess is right. A link to an address is left out.
///
/// `nodes` are the names of all nodes that are known: texts name others than those in the labels.
pub fn redacted(mut notification: Notification, redact: Redact, nodes: &BTreeSet<String>) -> Notification {
    if redact == Redact::Nothing {
        return notification;
    }
    let nodes = match redact {
        Redact::AddressesAndNodes => longest_first(nodes.iter().chain(named(&notification)).collect()),
        _ => Vec::new(),
    };
    let hide = Hide { nodes };
    hide.labels(&mut notification.group_labels);
    hide.labels(&mut notification.common_labels);
    hide.texts(&mut notification.common_annotations);
    notification.group_key = hide.label(&notification.group_key);
    notification.reason_text = hide.text(&notification.reason_text);
    if hide.text(&notification.external_url) != notification.external_url {
        notification.external_url.clear();
    }
    for alert in &mut notification.alerts {
        hide.alert(alert);
    }
    notification
}

/// A text without what is to be hidden; `nodes` are the names of nodes that may stand in it.
pub fn redacted_text(text: &str, redact: Redact, nodes: &BTreeSet<String>) -> String {
    match redact {
        Redact::Nothing => text.to_string(),
        Redact::Addresses => Hide { nodes: Vec::new() }.text(text),
        Redact::AddressesAndNodes => Hide { nodes: longest_first(nodes.iter().collect()) }.text(text),
    }
}

/// Names of nodes in a notification's labels.
fn named(notification: &Notification) -> impl Iterator<Item = &String> {
    let labels = [&notification.group_labels, &notification.common_labels];
    let labels = labels.into_iter().chain(notification.alerts.iter().map(|alert| &alert.labels));
    labels.filter_map(|labels| labels.get("node"))
}

/// Names, longest first, so that `hal-2` is not taken for `hal`.
fn longest_first(nodes: BTreeSet<&String>) -> Vec<String> {
    let mut nodes: Vec<String> = nodes.into_iter().filter(|node| !node.is_empty()).cloned().collect();
    nodes.sort_by_key(|node| std::cmp::Reverse(node.len()));
    nodes
}

struct Hide {
    nodes: Vec<String>,
}

impl Hide {
    fn alert(&self, alert: &mut Alert) {
        self.labels(&mut alert.labels);
        self.texts(&mut alert.annotations);
        alert.acknowledged_by = self.text(&alert.acknowledged_by);
        if let Some(evidence) = &mut alert.evidence {
            evidence.quantity = self.text(&evidence.quantity);
            evidence.unit = self.text(&evidence.unit);
        }
    }

    fn labels(&self, labels: &mut BTreeMap<String, String>) {
        for (name, value) in labels {
            *value = match OURS.contains(&name.as_str()) {
                true => addresses::replace(value, marked),
                false => self.label(value),
            };
        }
    }

    fn texts(&self, texts: &mut BTreeMap<String, String>) {
        texts.values_mut().for_each(|text| *text = self.text(text));
    }

    fn label(&self, value: &str) -> String {
        addresses::replace(&self.without_nodes(value), marked)
    }

    fn text(&self, text: &str) -> String {
        addresses::replace(&self.without_nodes(text), |_| ADDRESS.to_string())
    }

    /// Nodes before addresses: a node's name may be one.
    fn without_nodes(&self, text: &str) -> String {
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let mut hidden = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let is_begin = !is_word(text[..text.len() - rest.len()].chars().next_back());
            let node = self.nodes.iter().find(|node| {
                is_begin
                    && rest.strip_prefix(node.as_str()).is_some_and(|after| !is_word(after.chars().next()))
            });
            match node {
                Some(node) => {
                    hidden.push_str(&format!("node-{}", four_digits(node)));
                    rest = &rest[node.len()..];
                }
                None => {
                    hidden.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        hidden
    }
}

/// An address in a label.
fn marked(address: &str) -> String {
    format!("{ADDRESS}-{}", four_digits(address))
}

/// The first four hex digits of the SHA-256.
fn four_digits(text: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hash.as_ref()[..2].iter().map(|byte| format!("{byte:02x}")).collect()
}
