//! How a request reaches the node: over HTTP, or over the socket of bitcoin-node.

use super::client::Http;
use super::config::{Config, TransportKind};
use super::over_ipc::Ipc;

/// The most that an answer may have; `getrawaddrman` of a full address manager has 20 MB.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node answered with an error.
    #[error("{message} (error {code})")]
    Answer {
        /// Its number, such as -32601 for an unknown method.
        code: i64,
        /// Its text.
        message: String,
    },
    /// No answer within the configured time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or one that broke before an answer; says why.
    #[error("{0}")]
    Unreachable(String),
    /// User and password were refused, or are not known; says why.
    #[error("{0}")]
    Unauthorized(String),
    /// The user may not call this method (-rpcwhitelist).
    #[error("the node's -rpcwhitelist does not allow this method (HTTP status 403)")]
    Forbidden,
    /// The node's queue of requests is full.
    #[error("the node's queue of requests is full (HTTP status 503)")]
    Busy,
    /// The answer is cut off, too large, or not what this method answers; says how.
    #[error("{0}")]
    Malformed(String),
}

/// The way to the node.
#[derive(Debug)]
pub enum Transport {
    /// JSON-RPC over HTTP.
    Http(Http),
    /// JSON-RPC over the Cap'n Proto socket of bitcoin-node.
    Ipc(Ipc),
}

impl Transport {
    /// The one that is configured. Connects to nothing yet.
    pub fn new(config: &Config) -> Self {
        match config.transport {
            TransportKind::Http => Transport::Http(Http::new(config)),
            TransportKind::Ipc => {
                Transport::Ipc(Ipc::new(config.socket_path().expect("the configuration was checked")))
            }
        }
    }

    /// Sends the text of a JSON-RPC request and returns the text of the answer, of at most
    /// [`ANSWER_BYTES_MAX`].
    ///
    /// The answer may still be a JSON-RPC error. Takes as long as it takes: the caller sets the limit.
    pub async fn exchange(&self, request: String) -> Result<Vec<u8>, CallError> {
        match self {
            Transport::Http(http) => http.exchange(request).await,
            Transport::Ipc(ipc) => ipc.exchange(request).await,
        }
    }

    /// Where the node is, for a message.
    pub fn place(&self) -> String {
        match self {
            Transport::Http(http) => http.place(),
            Transport::Ipc(ipc) => ipc.place(),
        }
    }
}
