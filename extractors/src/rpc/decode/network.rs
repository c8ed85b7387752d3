//! The node's networking and its traffic.

use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;
use tocsin_proto::pb::rpc_extractor::{
    InvBucket, InvBuckets, NetTotals, NetworkInfo, NetworkInfoLocalAddress, NetworkInfoNetwork, UploadTarget,
};

use super::chain::warnings;
use super::json::Object;
use super::{Answer, Odd};

/// `getnettotals`.
pub fn net_totals(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let totals = answer.top(&value).object()?;
    let target = totals.essential_object("uploadtarget")?;
    Ok(RpcEvent::NetTotals(NetTotals {
        total_bytes_received: totals.essential("totalbytesrecv")?,
        total_bytes_sent: totals.essential("totalbytessent")?,
        time_millis: totals.field("timemillis"),
        upload_target: UploadTarget {
            timeframe: target.field("timeframe"),
            target: target.field("target"),
            target_reached: target.field("target_reached"),
            serve_historical_blocks: target.field("serve_historical_blocks"),
            bytes_left_in_cycle: target.field("bytes_left_in_cycle"),
            time_left_in_cycle: target.field("time_left_in_cycle"),
        },
    }))
}

/// `getnetworkinfo`.
pub fn network_info(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let network = answer.top(&value).object()?;
    let inv_buckets = network.object("inv_buckets");
    Ok(RpcEvent::NetworkInfo(NetworkInfo {
        version: network.essential("version")?,
        subversion: network.field("subversion"),
        protocol_version: network.field("protocolversion"),
        local_services: network.field("localservices"),
        local_services_names: network.list("localservicesnames"),
        local_relay: network.field("localrelay"),
        time_offset: network.field("timeoffset"),
        connections: network.essential("connections")?,
        connections_in: network.field("connections_in"),
        connections_out: network.field("connections_out"),
        network_active: network.field("networkactive"),
        networks: network.list_of("networks", |network| one_network(network.object()?)),
        relay_fee: network.field("relayfee"),
        incremental_fee: network.field("incrementalfee"),
        local_addresses: network.list_of("localaddresses", |address| {
            let address = address.object()?;
            Ok(NetworkInfoLocalAddress {
                address: address.essential("address")?,
                port: address.field("port"),
                score: address.field("score"),
            })
        }),
        warnings: warnings(&network),
        tx_send_rate: network.maybe("tx_send_rate"),
        inv_buckets: inv_buckets.map(|buckets| InvBuckets {
            inbound: buckets.object("inbound").map(inv_bucket),
            outbound: buckets.object("outbound").map(inv_bucket),
        }),
    }))
}

fn one_network(network: Object<'_>) -> Result<NetworkInfoNetwork, Odd> {
    Ok(NetworkInfoNetwork {
        name: network.essential("name")?,
        limited: network.field("limited"),
        reachable: network.field("reachable"),
        proxy: network.field("proxy"),
        proxy_randomize_credentials: network.field("proxy_randomize_credentials"),
    })
}

fn inv_bucket(bucket: Object<'_>) -> InvBucket {
    InvBucket {
        backlog: bucket.field("backlog"),
        count_tokens: bucket.field("count_tok"),
        size_tokens: bucket.field("size_tok"),
    }
}
