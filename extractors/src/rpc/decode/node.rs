//! The process: uptime, and the locked memory pool.

use tocsin_proto::pb::rpc_extractor::MemoryInfo;
use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;

use super::{Answer, Odd};

/// `uptime`: seconds.
pub fn uptime(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    Ok(RpcEvent::Uptime(answer.top(&value).read()?))
}

/// `getmemoryinfo` in its mode `stats`.
pub fn memory_info(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let top = answer.top(&value).object()?;
    let locked = top.essential_object("locked")?;
    Ok(RpcEvent::MemoryInfo(MemoryInfo {
        used: locked.field("used"),
        free: locked.field("free"),
        total: locked.essential("total")?,
        locked: locked.field("locked"),
        chunks_used: locked.field("chunks_used"),
        chunks_free: locked.field("chunks_free"),
    }))
}
