//! A node that speaks garbage on every interface stops nothing, and a sound node beside it is watched on.

use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::spawn;
use std::time::Duration;

use tocsin_testing::{eventually, free_port};

use crate::harness::{PATIENCE, Tocsin};
use crate::site::Site;

/// Bytes without sense, the same in each run (xorshift64).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        };
        (0..count).map(|_| next() as u8).collect()
    }

    fn below(&mut self, limit: usize) -> usize {
        self.bytes(4).iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) % limit
    }
}

/// Answers to RPC calls: cut off, of the wrong type, endless, none, or no HTTP at all.
fn answer(number: usize, noise: &mut Noise) -> Vec<u8> {
    let with_length = |body: &[u8], length: usize| {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.extend(body);
        answer
    };
    match number % 8 {
        0 => noise.bytes(300),
        1 => with_length(br#"{"result": [{"id": 1, "addr"#, 4000),
        2 => with_length(br#"{"result": {"uptime": []}, "error": null}"#, 41),
        3 => with_length(br#"{"result": [1, "two", null, {"id": "x"}], "error": null}"#, 56),
        4 => with_length(b"", 1 << 40),
        5 => b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec(),
        6 => with_length(&[b'['; 100_000], 100_000),
        _ => Vec::new(),
    }
}

fn garbage_rpc(stop: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    spawn(move || {
        let mut noise = Noise(7);
        for (number, stream) in listener.incoming().flatten().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let mut stream: TcpStream = stream;
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer(number, &mut noise));
        }
    });
    port
}

fn garbage_ipc(path: &std::path::Path, stop: Arc<AtomicBool>) {
    let listener = UnixListener::bind(path).expect("a socket");
    spawn(move || {
        let mut noise = Noise(11);
        for mut stream in listener.incoming().flatten() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let count = noise.below(2000);
            let _ = stream.write_all(&noise.bytes(count));
        }
    });
}

fn garbage_peers(port: u16, stop: Arc<AtomicBool>) {
    spawn(move || {
        let mut noise = Noise(13);
        let magic = [0xfa, 0xbf, 0xb5, 0xda];
        while !stop.load(Ordering::Relaxed) {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                let count = noise.below(5000);
                let body = noise.bytes(count);
                // Half of them begin as a real peer would.
                if count.is_multiple_of(2) {
                    let _ = stream.write_all(&magic);
                    let _ = stream.write_all(b"version\0\0\0\0\0");
                }
                let _ = stream.write_all(&body);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

fn garbage_log(path: std::path::PathBuf, stop: Arc<AtomicBool>) {
    spawn(move || {
        let mut noise = Noise(17);
        let mut file = std::fs::File::options().create(true).append(true).open(path).expect("writable");
        while !stop.load(Ordering::Relaxed) {
            let count = noise.below(3000);
            let _ = file.write_all(&noise.bytes(count));
            let _ = file.write_all(
                b"2026-11-21T14:30:00Z UpdateTip: new best=zz height=9999999999999999999 tx=\n[*] ",
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn a_node_that_speaks_garbage_everywhere_stops_nothing() {
    let site = Site::start();
    let folder = tempfile::tempdir().expect("a folder");
    let stop = Arc::new(AtomicBool::new(false));
    let (rpc, p2p) = (garbage_rpc(stop.clone()), free_port());
    let socket = folder.path().join("node.sock");
    garbage_ipc(&socket, stop.clone());
    garbage_log(folder.path().join("debug.log"), stop.clone());
    let methods =
        ["getpeerinfo", "uptime", "getmempoolinfo", "getnetworkinfo", "getblockchaininfo", "getorphantxs"];
    let intervals: String = methods.iter().map(|method| format!("{method} = \"100ms\"\n")).collect();
    let mallory = format!(
        "[[node]]\nname = \"mallory\"\n[node.rpc]\nurl = \"http://127.0.0.1:{rpc}\"\nuser = \"u\"\npassword = \"p\"\n\
         timeout = \"1s\"\n[node.rpc.intervals]\n{intervals}\
         [node.p2p]\nlisten = \"127.0.0.1:{p2p}\"\nnetwork = \"regtest\"\n\
         [node.log]\npath = {:?}\n[node.ipc]\nsocket = {:?}\n",
        folder.path().join("debug.log").display().to_string(),
        socket.display().to_string(),
    );
    let mut tocsin = Tocsin::run(&(site.config("alice", &["rpc", "p2p", "log", "ipc"]) + &mallory));
    garbage_peers(p2p, stop.clone());
    std::thread::sleep(Duration::from_secs(15));

    let errors = |extractor: &str| {
        let series = format!("tocsin_extractor_errors_total{{extractor=\"{extractor}\",node=\"mallory\"}}");
        eventually(PATIENCE, &format!("errors of {extractor}"), || {
            tocsin.metric(&series).filter(|errors| *errors > 0.0)
        })
    };
    for extractor in ["rpc", "p2p", "ipc"] {
        errors(extractor);
    }
    assert!(!tocsin.log().contains("panicked"), "{}", tocsin.log());
    assert!(!tocsin.log().contains("started again"), "{}", tocsin.log());
    // Alice is watched all the while.
    let before = tocsin.metric("tocsin_events_total{kind=\"ping_duration\",node=\"alice\"}").unwrap_or(0.0);
    eventually(PATIENCE, "alice to be watched on", || {
        let now = tocsin.metric("tocsin_events_total{kind=\"ping_duration\",node=\"alice\"}")?;
        (now >= before + 3.0).then_some(())
    });
    stop.store(true, Ordering::Relaxed);
    tocsin.stop();
}
