//! One call: its time limit, how long it took, and whether the answer is a result or an error.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tocsin_proto::pb::rpc_extractor::RpcCall;
use tocsin_proto::pb::rpc_extractor::rpc_call::Outcome;

use super::transport::{CallError, Transport};

/// The node's text of an error, such as the help of a method, is cut to this.
const ERROR_CHARS_MAX: usize = 300;
/// Error of a node that is starting. Source: Bitcoin Core, `rpc/protocol.h`, RPC_IN_WARMUP.
pub const STARTING: i64 = -28;
/// Error of a method that the node does not have. Source: as above, RPC_METHOD_NOT_FOUND.
pub const UNKNOWN_METHOD: i64 = -32601;

/// A call that came to its end.
#[derive(Debug)]
pub struct Called {
    /// The result, unread, or why there is none.
    pub outcome: Result<Box<RawValue>, CallError>,
    duration: Duration,
    bytes: u64,
}

/// Calls `method` and waits for its answer, but no longer than `timeout`.
pub async fn call(transport: &Transport, timeout: Duration, method: &str, params: &Value) -> Called {
    let request = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let started = Instant::now();
    let answer = tokio::time::timeout(timeout, transport.exchange(request.to_string())).await;
    let duration = started.elapsed();
    let answer = answer.unwrap_or(Err(CallError::Timeout));
    let bytes = answer.as_ref().map_or(0, |body| body.len() as u64);
    Called { outcome: answer.and_then(|body| result(&body)), duration, bytes }
}

impl Called {
    /// The call as an event.
    pub fn event(&self, method: &str) -> RpcCall {
        let error = self.outcome.as_ref().err();
        let error_code = match error {
            Some(CallError::Answer { code, .. }) => Some(*code),
            _ => None,
        };
        RpcCall {
            method: method.to_string(),
            duration: self.duration.as_secs_f64(),
            outcome: error.map_or(Outcome::Ok, outcome) as i32,
            error: error.map(CallError::to_string),
            error_code,
            response_bytes: self.bytes,
        }
    }
}

fn outcome(error: &CallError) -> Outcome {
    match error {
        CallError::Answer { .. } => Outcome::Error,
        CallError::Timeout => Outcome::Timeout,
        CallError::Unreachable(_) => Outcome::Unreachable,
        CallError::Unauthorized(_) | CallError::Forbidden => Outcome::Unauthorized,
        CallError::Busy => Outcome::Busy,
        CallError::Malformed(_) => Outcome::Malformed,
    }
}

/// An answer of JSON-RPC 2.0 (since Bitcoin Core 28), or of 1.0, which has both fields.
#[derive(Deserialize)]
struct Envelope {
    result: Option<Box<RawValue>>,
    error: Option<Value>,
}

fn result(body: &[u8]) -> Result<Box<RawValue>, CallError> {
    let envelope: Envelope = serde_json::from_slice(body)
        .map_err(|error| CallError::Malformed(format!("the answer is no JSON-RPC: {error}")))?;
    if let Some(error) = envelope.error {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("no message");
        return Err(CallError::Answer {
            code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
            message: message.lines().next().unwrap_or_default().chars().take(ERROR_CHARS_MAX).collect(),
        });
    }
    envelope.result.ok_or_else(|| CallError::Malformed("the answer has neither result nor error".to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Result<&str, CallError>) {
        let found = result(body.as_bytes());
        assert_eq!(found.as_ref().map(|raw| raw.get()), expected.as_ref().map(|text| *text), "{body}");
    }

    #[test]
    fn answers_of_both_versions_are_read() {
        check(r#"{"jsonrpc":"2.0","result":[1, 2],"id":1}"#, Ok("[1, 2]"));
        check(r#"{"result":81,"error":null,"id":1}"#, Ok("81"));
        let starting = CallError::Answer { code: STARTING, message: "Loading block index…".into() };
        let body = r#"{"result":null,"error":{"code":-28,"message":"Loading block index…"},"id":1}"#;
        check(body, Err(starting.clone()));
        check(&body.replace(r#""result":null,"#, ""), Err(starting));
        check(r#"{"error":"odd"}"#, Err(CallError::Answer { code: 0, message: "no message".into() }));
    }

    #[test]
    fn other_answers_are_malformed() {
        for body in ["", "{", "null", "7", "[]", r#"{"result":null}"#, "<html>", r#"{"result":[1,2"#] {
            assert!(matches!(result(body.as_bytes()), Err(CallError::Malformed(_))), "{body}");
        }
        assert!(matches!(result(b"{\"result\":\"\xff\"}"), Err(CallError::Malformed(_))));
    }

    #[test]
    fn of_a_help_text_the_first_line_is_kept() {
        let message = format!("{}\\nmore", "x".repeat(1000));
        let body = format!(r#"{{"error":{{"code":-1,"message":"{message}"}}}}"#);
        let Err(CallError::Answer { message, .. }) = result(body.as_bytes()) else { panic!("an error") };
        assert_eq!(message, "x".repeat(ERROR_CHARS_MAX));
    }
}
