//! Reads the rings and hands out what they hold in the order of time.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use libbpf_rs::{RingBuffer, RingBufferBuilder};
use tocsin_proto::pb::event::event::PeerObserverEvent;

use super::clock;
use super::message::RawTransactions;
use super::order::Order;
use super::probes::Programs;
use super::{decode, record};

/// Records taken of a ring in one pass, so that a flood in one does not starve the others.
const RECORDS_PER_PASS: usize = 4096;
/// A probe takes its time before its record is in the ring: copying 4 MB takes about a millisecond.
const MARGIN_NS: u64 = 2_000_000;

/// The rings.
#[derive(Debug)]
pub struct Rings {
    rings: Vec<RingBuffer<'static>>,
    intake: Rc<RefCell<Intake>>,
}

/// What a pass gave.
#[derive(Debug, Default)]
pub struct Pass {
    /// Events with their time in nanoseconds of CLOCK_MONOTONIC, oldest first.
    pub events: Vec<(u64, PeerObserverEvent)>,
    /// What could not be read.
    pub errors: Vec<String>,
    /// There is more to read.
    pub is_behind: bool,
}

#[derive(Debug)]
struct Intake {
    raw: RawTransactions,
    order: Order<PeerObserverEvent>,
    errors: Vec<String>,
    /// Time of the last record.
    last_at: u64,
}

impl Rings {
    /// Maps the rings of loaded programs.
    pub fn new(programs: &Programs, raw: RawTransactions) -> Result<Self, libbpf_rs::Error> {
        let intake = Intake { raw, order: Order::new(), errors: Vec::new(), last_at: 0 };
        let intake = Rc::new(RefCell::new(intake));
        let open = |map: libbpf_rs::Map<'_>| {
            let intake = intake.clone();
            let mut builder = RingBufferBuilder::new();
            builder.add(&map, move |bytes| {
                intake.borrow_mut().take(bytes);
                0
            })?;
            builder.build()
        };
        let rings = programs.rings().map(open).collect::<Result<_, _>>()?;
        Ok(Rings { rings, intake })
    }

    /// Takes what the rings hold. Events of the last two milliseconds stay until the next pass: older ones of another
    /// ring may be on their way.
    pub fn read(&self) -> Pass {
        let mut until = clock::monotonic_ns().saturating_sub(MARGIN_NS);
        let mut is_behind = false;
        for ring in &self.rings {
            let taken = ring.consume_raw_n(RECORDS_PER_PASS);
            let mut intake = self.intake.borrow_mut();
            if taken < 0 {
                intake.errors.push(format!("a ring: {}", std::io::Error::from_raw_os_error(-taken)));
            } else if taken as usize >= RECORDS_PER_PASS {
                // Nothing may overtake what this ring still holds.
                until = until.min(intake.last_at);
                is_behind = true;
            }
        }
        self.hand_out(until, is_behind)
    }

    /// Takes everything, once nothing more comes in.
    pub fn drain(&self) -> Pass {
        for ring in &self.rings {
            ring.consume_raw();
        }
        self.hand_out(u64::MAX, false)
    }

    fn hand_out(&self, until: u64, is_behind: bool) -> Pass {
        let mut intake = self.intake.borrow_mut();
        Pass { events: intake.order.release(until), errors: std::mem::take(&mut intake.errors), is_behind }
    }
}

impl Intake {
    fn take(&mut self, bytes: &[u8]) {
        // The caller is C, through which no panic may pass; a panic would be a defect in a decoder.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(bytes, self.raw)));
        match decoded {
            Ok(Some(decoded)) => {
                self.last_at = decoded.at;
                self.order.push(decoded.at, decoded.event);
                let unread = (0..record::UNREAD.len()).filter(|bit| decoded.unread >> bit & 1 == 1);
                self.errors.extend(
                    unread.map(|bit| format!("the node's memory could not be read: {}", record::UNREAD[bit])),
                );
            }
            Ok(None) => self.errors.push("a record that is none".to_string()),
            Err(_) => self.errors.push("a record whose decoder panicked".to_string()),
        }
    }
}
