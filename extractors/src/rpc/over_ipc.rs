//! JSON-RPC over the Cap'n Proto socket of bitcoin-node (`Rpc.executeRpc`): no cookie, no queue of HTTP
//! requests.

use std::path::PathBuf;

use super::transport::{ANSWER_BYTES_MAX, CallError};
use crate::ipc::IpcRpc;

/// The way to a node over its socket.
#[derive(Debug)]
pub struct Ipc {
    place: String,
    rpc: IpcRpc,
}

impl Ipc {
    /// For the socket at this path.
    pub fn new(socket: PathBuf) -> Self {
        Ipc { place: socket.display().to_string(), rpc: IpcRpc::new(socket) }
    }

    /// The socket's path.
    pub fn place(&self) -> String {
        self.place.clone()
    }

    /// Sends a request and returns the answer's text. All that is not an answer counts as a node that is not
    /// there.
    pub async fn exchange(&self, request: String) -> Result<Vec<u8>, CallError> {
        let answer = self.rpc.execute(request).await.map_err(CallError::Unreachable)?;
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(CallError::Malformed(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
        Ok(answer.into_bytes())
    }
}
