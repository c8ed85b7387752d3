//! Signatures of Standard Webhooks.
//! Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::secret::Secret;

/// The three headers: HMAC-SHA256 over id, time (unix s) and body with stops between them.
pub fn headers(
    key: &Secret,
    id: &str,
    at_s: i64,
    body: &[u8],
) -> Result<[(&'static str, String); 3], String> {
    let bytes = match key.expose().strip_prefix("whsec_") {
        Some(text) => STANDARD.decode(text).map_err(|_| {
            "hmac_secret: no base64 after whsec_, expected whsec_ and base64, or any text".to_string()
        })?,
        None => key.expose().as_bytes().to_vec(),
    };
    let mut signed = format!("{id}.{at_s}.").into_bytes();
    signed.extend_from_slice(body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), &signed);
    Ok([
        ("webhook-id", id.to_string()),
        ("webhook-timestamp", at_s.to_string()),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(tag))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_published_example() {
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_string());
        let body = br#"{"test": 2432232314}"#;
        let headers = headers(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).expect("a good key");
        assert_eq!(headers[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_that_is_cut_is_told_without_showing_it() {
        let error = headers(&Secret::new("whsec_???".to_string()), "id", 0, b"").expect_err("no base64");
        assert!(error.contains("whsec_ and base64") && !error.contains("???"), "{error}");
    }
}
