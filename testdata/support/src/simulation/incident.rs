//! Things that are not normal, to be put into the simulation: does anybody notice?

/// What is done to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 30 % of the inbound peers leave within ten minutes and stay away (in 2022-11, 115 fell to 85 in ten minutes:
    /// incident B of `peer-observer.md` section 5).
    InboundDrop,
    /// All inbound peers are lost within a minute; the `> 0` of the field's rules makes that invisible (3.7).
    InboundGone,
    /// 40 new inbound connections a minute rather than three (incident B, before it ended).
    InboundFlood,
    /// Six of eight full-relay outbound peers are lost and not replaced ("all of our outbound at the same time").
    OutboundDrop,
    /// Five times as many addresses (incident F: from 50..65 thousand a day to 250 thousand).
    AddrFlood,
    /// The message handler answers fifty times later.
    PingBacklog,
    /// Queues of announcements grow to tens of thousands and inbound peers time out over two days (incident A).
    InvToSend,
    /// Ten times as many announcements.
    InvFlood,
    /// More than 2000 transactions a minute (incidents H and I: six times the usual rate, the handler saturated).
    TransactionFlood,
    /// The orphanage fills up to its 3000 announcements (incident O, limits of Bitcoin Core 30).
    OrphanFlood,
    /// Five rejected transactions a second more (the sweep of section 3.8 asks for one).
    RejectFlood,
    /// Blocks take a minute to connect (incident K: 64 to 92 s).
    SlowBlocks,
    /// Ten thousand warnings an hour (CVE-2025-54605 writes one for each invalid block).
    LogFlood,
}

impl Kind {
    /// All of them, with the names tables show.
    pub const NAMES: [(&str, Kind); 13] = [
        ("inbound_drop", Kind::InboundDrop),
        ("inbound_gone", Kind::InboundGone),
        ("inbound_flood", Kind::InboundFlood),
        ("outbound_drop", Kind::OutboundDrop),
        ("addr_flood", Kind::AddrFlood),
        ("ping_backlog", Kind::PingBacklog),
        ("inv_to_send", Kind::InvToSend),
        ("inv_flood", Kind::InvFlood),
        ("transaction_flood", Kind::TransactionFlood),
        ("orphan_flood", Kind::OrphanFlood),
        ("reject_flood", Kind::RejectFlood),
        ("slow_blocks", Kind::SlowBlocks),
        ("log_flood", Kind::LogFlood),
    ];

    /// How long it lasts, in seconds. Attacks last hours; a change of level stays for a day.
    pub fn lasts_s(self) -> f64 {
        const HOUR_S: f64 = 3600.0;
        match self {
            Kind::PingBacklog => HOUR_S,
            Kind::InboundDrop | Kind::InboundGone | Kind::OutboundDrop | Kind::AddrFlood => 12.0 * HOUR_S,
            Kind::InvToSend => 48.0 * HOUR_S,
            _ => 3.0 * HOUR_S,
        }
    }
}

/// An incident at its time, in seconds since the begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incident {
    /// What is done.
    pub kind: Kind,
    /// When it begins.
    pub from_s: f64,
}

impl Incident {
    /// How far it is: 0 at its begin and 1 at its end; `None` before and after.
    pub fn progress(&self, since_s: f64) -> Option<f64> {
        let part = (since_s - self.from_s) / self.kind.lasts_s();
        (0.0..1.0).contains(&part).then_some(part)
    }
}

/// What incidents do to the parts of the simulation at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effects {
    /// Share of the usual inbound peers there can be.
    pub inbound_share: f64,
    /// Within this time, in seconds, the others leave.
    pub leave_within_s: f64,
    /// Connections a minute that are opened and closed besides the usual.
    pub probes_per_minute: f64,
    /// Full-relay outbound peers there can be.
    pub outbound_max: f64,
    /// Factor of the addresses that peers send.
    pub addr: f64,
    /// Factor of the time until pings are answered.
    pub ping: f64,
    /// Announcements that wait in the longest queue, besides the usual.
    pub queue: f64,
    /// Factor of what peers announce.
    pub inv: f64,
    /// Factor of new transactions.
    pub transactions: f64,
    /// Orphans besides the usual.
    pub orphans: f64,
    /// Rejected transactions a second, besides the usual.
    pub rejects_per_s: f64,
    /// Seconds that connecting a block takes, besides the usual.
    pub connect_s: f64,
    /// Warnings a second in the log.
    pub warnings_per_s: f64,
    /// The message handler has nothing left.
    pub is_saturated: bool,
}

impl Effects {
    /// Of nothing.
    pub const NONE: Effects = Effects {
        inbound_share: 1.0,
        leave_within_s: 600.0,
        probes_per_minute: 0.0,
        outbound_max: 8.0,
        addr: 1.0,
        ping: 1.0,
        queue: 0.0,
        inv: 1.0,
        transactions: 1.0,
        orphans: 0.0,
        rejects_per_s: 0.0,
        connect_s: 0.0,
        warnings_per_s: 0.0,
        is_saturated: false,
    };

    /// Of this incident, so many seconds after the begin of the simulation.
    pub fn of(incident: Option<&Incident>, since_s: f64) -> Effects {
        let none = Effects::NONE;
        let Some((kind, progress)) = incident.and_then(|it| Some((it.kind, it.progress(since_s)?))) else {
            return none;
        };
        match kind {
            Kind::InboundDrop => Effects { inbound_share: 0.7, ..none },
            Kind::InboundGone => Effects { inbound_share: 0.0, leave_within_s: 60.0, ..none },
            Kind::InboundFlood => Effects { probes_per_minute: 37.0, ..none },
            Kind::OutboundDrop => Effects { outbound_max: 2.0, ..none },
            Kind::AddrFlood => Effects { addr: 5.0, ..none },
            Kind::PingBacklog => Effects { ping: 50.0, ..none },
            Kind::InvToSend => {
                // 190 fell to 35 in two days; the longest queue was 60,000.
                let share = 1.0 - 0.8 * progress;
                Effects {
                    inbound_share: share,
                    queue: 60_000.0 * progress,
                    ping: 1.0 + 50.0 * progress,
                    is_saturated: true,
                    ..none
                }
            }
            Kind::InvFlood => Effects { inv: 10.0, ..none },
            Kind::TransactionFlood => Effects {
                transactions: 6.5,
                is_saturated: true,
                ping: 20.0,
                queue: 20_000.0 * progress,
                ..none
            },
            Kind::OrphanFlood => Effects { orphans: (3000.0 * 20.0 * progress).min(3000.0), ..none },
            Kind::RejectFlood => Effects { rejects_per_s: 5.0, ..none },
            Kind::SlowBlocks => Effects { connect_s: 75.0, ..none },
            Kind::LogFlood => Effects { warnings_per_s: 10_000.0 / 3600.0, ..none },
        }
    }
}
