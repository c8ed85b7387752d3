//! JSON-RPC over the Cap'n Proto socket of bitcoin-node (`Rpc.executeRpc`): no cookie, no queue of HTTP requests.

use std::path::PathBuf;

use super::transport::{ANSWER_BYTES_MAX, CallError};

/// The way to a node over its socket.
#[derive(Debug)]
pub struct Ipc {
    socket: PathBuf,
}

impl Ipc {
    /// For the socket at this path.
    pub fn new(socket: PathBuf) -> Self {
        Ipc { socket }
    }

    /// The socket's path.
    pub fn place(&self) -> String {
        self.socket.display().to_string()
    }

    /// Sends a request and returns the answer's text.
    pub async fn exchange(&self, request: String) -> Result<Vec<u8>, CallError> {
        let answer = self.execute(request).await.map_err(CallError::Unreachable)?;
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(CallError::Malformed(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
        Ok(answer.into_bytes())
    }

    // TO WIRE: hold a `crate::ipc::rpc::IpcRpc` and call its `execute`.
    async fn execute(&self, _request: String) -> Result<String, String> {
        Err("this build has no IPC transport yet".to_string())
    }
}
