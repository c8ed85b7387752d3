//! The netgroup of an address: what one operator tends to have many addresses of.

use std::net::{IpAddr, SocketAddr};

use super::key::hash_of_bytes;

/// Hash of the netgroup of an address written with or without a port: of IPv4 the /16, of IPv6 the /32, else the whole
/// host. Source: Bitcoin Core groups so without an asmap (`NetGroupManager::GetGroup`).
pub fn hash_of_netgroup(text: &[u8]) -> u64 {
    let text = str::from_utf8(text).unwrap_or_default().trim();
    let parsed = text.parse::<SocketAddr>().map(|address| address.ip()).ok();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match parsed.or_else(|| bare.parse().ok()).map(|ip: IpAddr| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => hash_of_bytes(&[&[4], &ip.octets()[..2]]),
        Some(IpAddr::V6(ip)) => hash_of_bytes(&[&[6], &ip.octets()[..4]]),
        None => {
            let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
            hash_of_bytes(&[&[0], host.as_bytes()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: &str, right: &str, is_same: bool) {
        assert_eq!(hash_of_netgroup(left.as_bytes()) == hash_of_netgroup(right.as_bytes()), is_same);
    }

    #[test]
    fn addresses_of_one_network_are_one_group() {
        check("203.0.113.7:8333", "203.0.4.9:1024", true);
        check("203.0.113.7:8333", "203.0.113.7", true);
        check("203.0.113.7:8333", "203.1.113.7:8333", false);
        check("[2001:db8:1::1]:8333", "[2001:db8:ffff::2]:9", true);
        check("[2001:db8::1]:8333", "2001:db8::1", true);
        check("[2001:db8::1]:8333", "[2001:db9::1]:8333", false);
        check("[::ffff:203.0.113.7]:8333", "203.0.1.1:8333", true);
    }

    #[test]
    fn other_hosts_are_groups_of_their_own() {
        check("abcdef.onion:8333", "abcdef.onion:8334", true);
        check("abcdef.onion:8333", "abcdeg.onion:8333", false);
        check("", "abcdef.onion:8333", false);
    }
}
