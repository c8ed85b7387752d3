//! A real node and the configuration that watches it.

use tocsin_testing::{Node, free_port};

/// A regtest node with all its interfaces open.
pub struct Site {
    /// The node.
    pub node: Node,
    /// Where our P2P extractor listens; the node connects to it.
    pub p2p: u16,
}

/// True if tracepoints can be read; says why not otherwise.
pub fn can_trace() -> bool {
    let uid = std::process::Command::new("id").arg("-u").output().expect("id is there");
    let is_root = uid.stdout.starts_with(b"0\n");
    if !is_root {
        println!("skipped what needs tracepoints: they need root");
    }
    is_root
}

impl Site {
    /// Starts bitcoin-node, out of initial block download.
    pub fn start() -> Self {
        let p2p = free_port();
        let addnode = format!("-addnode=127.0.0.1:{p2p}");
        // Without -connect=0 the node would dial what attackers announce.
        let node = Node::start_ipc(&[&addnode, "-connect=0", "-debug=validation", "-logtimemicros"]);
        node.mine(3);
        Site { node, p2p }
    }

    /// Has the node connect to our P2P extractor now: with -connect=0 it tries by itself once a minute only.
    pub fn connect_p2p(&self) {
        let address = format!("127.0.0.1:{}", self.p2p);
        self.node.rpc("addnode", serde_json::json!([address, "onetry"]));
    }

    /// A [[node]] with these extractors.
    pub fn config(&self, name: &str, extractors: &[&str]) -> String {
        let datadir = self.node.datadir().display().to_string();
        let mut text = format!("[[node]]\nname = {name:?}\n");
        for extractor in extractors {
            let table = match *extractor {
                "rpc" => format!(
                    "url = \"http://127.0.0.1:{}\"\ncookie_file = \"{datadir}/.cookie\"\ntimeout = \"5s\"\n\
                     [node.rpc.intervals]\nuptime = \"1s\"\ngetpeerinfo = \"2s\"\ngetnetworkinfo = \"1s\"\n\
                     getorphantxs = \"1s\"\n",
                    self.node.rpc_port()
                ),
                "p2p" => format!("listen = \"127.0.0.1:{}\"\nnetwork = \"regtest\"\n", self.p2p),
                "log" => format!("path = \"{datadir}/debug.log\"\n"),
                "ebpf" => format!("pid_file = \"{datadir}/bitcoind.pid\"\n"),
                "ipc" => format!("socket = \"{datadir}/node.sock\"\n"),
                other => panic!("no extractor {other}"),
            };
            text.push_str(&format!("[node.{extractor}]\n{table}"));
        }
        text
    }
}
