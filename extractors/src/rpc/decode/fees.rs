//! `estimatesmartfee`.

use serde_json::Value;
use tocsin_proto::pb::rpc_extractor::EstimateSmartFee;
use tocsin_proto::pb::rpc_extractor::estimate_smart_fee::Mode;
use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;

use super::{Answer, Odd};

/// `estimatesmartfee`, called with the target in blocks and the mode.
pub fn smart_fee(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let estimate = answer.top(&value).object()?;
    let mode = match answer.params.get(1).and_then(Value::as_str) {
        Some("economical") => Mode::Economical,
        Some("conservative") => Mode::Conservative,
        _ => Mode::Unset,
    };
    let asked = answer.params.get(0).and_then(Value::as_u64);
    Ok(RpcEvent::EstimateSmartFee(EstimateSmartFee {
        fee_rate: estimate.maybe("feerate").map(sat_per_vb),
        blocks: estimate.essential("blocks")?,
        requested_blocks: asked.and_then(|blocks| blocks.try_into().ok()).unwrap_or_default(),
        mode: mode as i32,
        errors: estimate.find("errors").map(|_| estimate.list("errors")).unwrap_or_default(),
        estimator: estimate.maybe("estimator"),
    }))
}

/// Bitcoin Core computes in whole satoshis per 1000 vbytes; its decimals are no exact doubles.
fn sat_per_vb(btc_per_kvb: f64) -> f64 {
    (btc_per_kvb * 1e8).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::sat_per_vb;

    #[test]
    fn fee_rates_are_exact_satoshis_per_kvb() {
        assert_eq!(sat_per_vb(0.00001), 1.0);
        assert_eq!(sat_per_vb(0.00012345), 12.345);
        assert_eq!(sat_per_vb(0.00000100), 0.1);
    }
}
