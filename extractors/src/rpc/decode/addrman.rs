//! The address manager: its sizes and its content.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;
use tocsin_proto::pb::rpc_extractor::{
    AddrManInfo, AddrManInfoNetwork, Addrman, AddrmanBucket, AddrmanEntry,
};

use super::json::Cursor;
use super::{Answer, Odd, parse};

/// Buckets of the table of new addresses. Source: Bitcoin Core, `addrman_impl.h`.
const NEW_BUCKETS: u32 = 1024;
/// Buckets of the table of tried addresses. Source: as above.
const TRIED_BUCKETS: u32 = 256;
/// Positions in a bucket. Source: as above.
const BUCKET_SIZE: u32 = 64;

/// `getaddrmaninfo`.
pub fn addrman_info(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let mut networks = BTreeMap::new();
    let top = answer.top(&value);
    top.object()?.each(|name, network| {
        let network = network.object()?;
        let sizes = AddrManInfoNetwork {
            new: network.field("new"),
            tried: network.field("tried"),
            total: network.essential("total")?,
        };
        networks.insert(name.to_string(), sizes);
        Ok(())
    });
    match networks.is_empty() {
        true => Err(top.odd("an object of networks")),
        false => Ok(RpcEvent::AddrmanInfo(AddrManInfo { networks })),
    }
}

/// The two tables, unread.
#[derive(Deserialize)]
struct Tables<'a> {
    #[serde(borrow)]
    new: &'a RawValue,
    #[serde(borrow)]
    tried: &'a RawValue,
}

/// `getrawaddrman`. Up to 82,000 entries, some 20 MB of text: read entry by entry, as all of them as JSON
/// values would take ten times as much.
pub fn addrman(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let tables: Tables<'_> =
        serde_json::from_str(answer.result.get()).map_err(|error| Odd::unreadable(answer.method, &error))?;
    Ok(RpcEvent::Addrman(Addrman {
        new: table(answer, tables.new, NEW_BUCKETS)?,
        tried: table(answer, tables.tried, TRIED_BUCKETS)?,
    }))
}

fn table(answer: &Answer<'_>, table: &RawValue, buckets: u32) -> Result<BTreeMap<u32, AddrmanBucket>, Odd> {
    let entries: BTreeMap<String, &RawValue> =
        serde_json::from_str(table.get()).map_err(|error| Odd::unreadable(answer.method, &error))?;
    let mut table: BTreeMap<u32, AddrmanBucket> = BTreeMap::new();
    for (key, text) in entries {
        let value = parse(answer.method, text.get())?;
        let cursor = answer.top(&value);
        let read = position(&key, buckets)
            .ok_or_else(|| cursor.odd("a bucket and a position within it as the key"))
            .and_then(|place| Ok((place, entry(cursor)?)));
        match read {
            Ok(((bucket, position), entry)) => {
                table.entry(bucket).or_default().entries.insert(position, entry);
            }
            Err(odd) => cursor.note(odd),
        }
    }
    Ok(table)
}

/// The bucket and the position in `bucket/position`.
fn position(key: &str, buckets: u32) -> Option<(u32, u32)> {
    let (bucket, position) = key.split_once('/')?;
    let (bucket, position) = (bucket.parse().ok()?, position.parse().ok()?);
    (bucket < buckets && position < BUCKET_SIZE).then_some((bucket, position))
}

fn entry(cursor: Cursor<'_>) -> Result<AddrmanEntry, Odd> {
    let entry = cursor.object()?;
    Ok(AddrmanEntry {
        address: entry.essential("address")?,
        port: entry.field("port"),
        network: entry.field("network"),
        services: entry.field("services"),
        time: entry.field("time"),
        source: entry.field("source"),
        source_network: entry.field("source_network"),
        mapped_as: entry.maybe("mapped_as"),
        source_mapped_as: entry.maybe("source_mapped_as"),
    })
}
