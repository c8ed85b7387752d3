//! `getpeerinfo`.

use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;
use tocsin_proto::pb::rpc_extractor::{PeerInfo, PeerInfos};

use super::json::Object;
use super::{Answer, Odd};

/// `getpeerinfo`. A peer without an id is left out: it would pass for peer 0.
pub fn peer_infos(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let infos = answer.top(&value).list(|peer| peer_info(peer.object()?))?;
    Ok(RpcEvent::PeerInfos(PeerInfos { infos }))
}

fn peer_info(peer: Object<'_>) -> Result<PeerInfo, Odd> {
    Ok(PeerInfo {
        id: peer.essential("id")?,
        address: peer.field("addr"),
        address_bind: peer.maybe("addrbind").unwrap_or_default(),
        address_local: peer.maybe("addrlocal").unwrap_or_default(),
        network: peer.field("network"),
        mapped_as: peer.maybe("mapped_as").unwrap_or_default(),
        services: peer.field("services"),
        relay_transactions: peer.field("relaytxes"),
        last_send: peer.field("lastsend"),
        last_received: peer.field("lastrecv"),
        last_transaction: peer.field("last_transaction"),
        last_block: peer.field("last_block"),
        bytes_sent: peer.field("bytessent"),
        bytes_received: peer.field("bytesrecv"),
        connection_time: peer.field("conntime"),
        time_offset: peer.field("timeoffset"),
        ping_time: peer.maybe("pingtime").unwrap_or_default(),
        minimum_ping: peer.maybe("minping").unwrap_or_default(),
        ping_wait: peer.maybe("pingwait").unwrap_or_default(),
        version: peer.field("version"),
        subversion: peer.field("subver"),
        inbound: peer.field("inbound"),
        bip152_hb_to: peer.field("bip152_hb_to"),
        bip152_hb_from: peer.field("bip152_hb_from"),
        starting_height: peer.maybe("startingheight").unwrap_or_default(),
        // Before Bitcoin Core 26 a peer that is just leaving lacks these two; -1 is the node's own word for
        // unknown.
        synced_headers: peer.maybe("synced_headers").unwrap_or(-1),
        synced_blocks: peer.maybe("synced_blocks").unwrap_or(-1),
        inflight: peer.list("inflight"),
        addr_relay_enabled: peer.field("addr_relay_enabled"),
        addr_processed: peer.field("addr_processed"),
        addr_rate_limited: peer.field("addr_rate_limited"),
        permissions: peer.list("permissions"),
        minfeefilter: peer.field("minfeefilter"),
        bytes_sent_per_message: peer.numbers("bytessent_per_msg"),
        bytes_received_per_message: peer.numbers("bytesrecv_per_msg"),
        connection_type: peer.field("connection_type"),
        transport_protocol_type: peer.maybe("transport_protocol_type").unwrap_or_default(),
        inv_to_send: peer.maybe("inv_to_send").unwrap_or_default(),
        cpu_load: peer.maybe("cpu_load").unwrap_or_default(),
        last_inv_sequence: peer.maybe("last_inv_sequence"),
        presynced_headers: peer.maybe("presynced_headers"),
        session_id: peer.maybe("session_id"),
    })
}
