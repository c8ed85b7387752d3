//! Plots of evidence, as a receiver gets them.

use jiff::tz::TimeZone;
use tocsin_notifiers::plot::{self, Band, Chart, Happening, Moment, Plot};
use tocsin_proto::pb::notification::{Alert, Evidence, Point, Status};

const START_MS: i64 = 1_795_255_200_000;

fn point(at_s: i64, value: f64, limit: Option<f64>) -> Point {
    Point { at: START_MS + at_s * 1000, value, limit }
}

fn alert(points: Vec<Point>) -> Alert {
    let labels =
        [("alertname", "addr_flood"), ("node", "my-node"), ("severity", "warning"), ("peer_id", "45")];
    Alert {
        fingerprint: "00c0ffee00c0ffee".to_string(),
        status: Status::Firing as i32,
        labels: labels.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        starts_at: START_MS + 60_000,
        evidence: Some(Evidence {
            quantity: "sum of message.addresses over 10m".to_string(),
            unit: "addresses".to_string(),
            points,
        }),
        ..Alert::default()
    }
}

fn rising() -> Vec<Point> {
    (0..=12).map(|number| point(number * 10, number as f64 * 10.0, Some(60.0))).collect()
}

fn look(name: &str, plot: &Plot) {
    if let Ok(folder) = std::env::var("PLOT_FOLDER") {
        std::fs::write(format!("{folder}/{name}.png"), &plot.png).expect("writable");
        std::fs::write(format!("{folder}/{name}.svg"), &plot.svg).expect("writable");
    }
}

#[test]
fn samples() {
    let zone = TimeZone::get("Europe/Berlin").expect("a zone");
    look("flood", &plot::evidence(&alert(rising()), &zone).expect("a plot"));
    let mut resolved = alert(
        (0..=720)
            .map(|n| {
                point(n * 10, if n < 400 { 60.0 + (n % 7) as f64 } else { 5.0 + (n % 3) as f64 }, Some(10.0))
            })
            .collect(),
    );
    resolved.starts_at = START_MS + 4_000_000;
    resolved.ends_at = START_MS + 4_300_000;
    look("inbound", &plot::evidence(&resolved, &zone).expect("a plot"));
    let mut ping = alert(
        (0..2000)
            .map(|n| {
                point(
                    n * 20,
                    35.0 + ((n * 7919) % 100) as f64 * (1.0 + n as f64 / 100.0),
                    Some(900.0 + (n as f64 / 90.0).sin() * 300.0),
                )
            })
            .collect(),
    );
    ping.starts_at = START_MS + 30_000_000;
    if let Some(evidence) = &mut ping.evidence {
        evidence.unit = "ms".to_string();
    }
    look("ping", &plot::evidence(&ping, &TimeZone::UTC).expect("a plot"));
    let mut far = alert((0..100).map(|n| point(n, (n % 5) as f64, Some(1e6))).collect());
    far.ends_at = far.starts_at + 2_000;
    far.labels.insert("user_agent".to_string(), "/Satoshi:<script>\u{202e}alert(1)</script>".repeat(20));
    look("far", &plot::evidence(&far, &TimeZone::UTC).expect("a plot"));
    let chart = Chart {
        title: "Inbound peers".to_string(),
        subtitle: "expected by the hour of the week".to_string(),
        points: (0..200).map(|n| point(n * 3600, 50.0 + (n as f64 / 4.0).sin() * 20.0, None)).collect(),
        band: (0..200)
            .map(|n| Band {
                at: START_MS + n * 3_600_000,
                low: 40.0 + (n as f64 / 4.0).sin() * 20.0,
                high: 60.0 + (n as f64 / 4.0).sin() * 20.0,
            })
            .collect(),
        marked: vec![point(360_000, 80.0, None)],
        moments: vec![Moment { at: START_MS - 1_000_000_000, happening: Happening::Fired }],
        ..Chart::default()
    };
    look("band", &chart.plot(&zone).expect("a plot"));
}
