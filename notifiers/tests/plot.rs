//! Plots of evidence, as a receiver gets them.

use jiff::tz::TimeZone;
use tocsin_notifiers::plot::{self, Band, Chart, Mark, Plot, Weight};
use tocsin_proto::pb::notification::{Alert, Evidence, Point, Status};

const START_MS: i64 = 1_795_255_200_000;

fn point(at_s: i64, value: f64, limit: Option<f64>) -> Point {
    Point { at: START_MS + at_s * 1000, value, limit }
}

fn alert(points: Vec<Point>) -> Alert {
    let labels = [("alertname", "addr_flood"), ("node", "hal"), ("severity", "warning"), ("peer_id", "45")];
    Alert {
        fingerprint: "00c0ffee00c0ffee".to_string(),
        status: Status::Firing as i32,
        labels: labels.map(|(name, value)| (name.to_string(), value.to_string())).into(),
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

fn plotted(alert: &Alert) -> Plot {
    plot::evidence(alert, &TimeZone::get("Europe/Berlin").expect("a zone")).expect("a plot")
}

/// The texts of an SVG; panics if its tags do not match.
fn texts(svg: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(!text.contains(['\0', '\u{1b}', '\u{fffe}']), "{text:?}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().expect("a name"));
        }
        if tag.starts_with("text ") {
            texts.push(text.trim().to_string());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    texts
}

/// Colours of the pixels of a plot's PNG, which has the size that is told.
fn pixels(plot: &Plot) -> Vec<[u8; 3]> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(&plot.png)).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let frame = reader.next_frame(&mut pixels).expect("a frame");
    assert_eq!((frame.width, frame.height), plot.size);
    pixels.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

#[test]
fn the_svg_tells_what_was_measured_where_when_and_in_what() {
    let texts = texts(&plotted(&alert(rising())).svg);
    for expected in [
        "addr_flood · hal · peer_id 45",
        "sum of message.addresses over 10m",
        "addresses",
        "120 addresses",
        "limit 60",
        "fired 11:01:00",
        "100",
        "11:00:30",
        "21 Nov 2026, Europe/Berlin (CET)",
    ] {
        assert!(texts.iter().any(|text| text == expected), "{expected:?} is not in {texts:?}");
    }
}

#[test]
fn the_png_shows_the_line_the_limit_and_the_moments_in_their_colours() {
    let mut resolved = alert(rising());
    resolved.ends_at = START_MS + 90_000;
    let plot = plotted(&resolved);
    assert_eq!(plot.size, (800, 450));
    let pixels = pixels(&plot);
    // Line, limit, fired, resolved; as in the SVG.
    for color in [[0x6c, 0xc4, 0xf5], [0xf5, 0xe0, 0x50], [0xff, 0x8c, 0x5a], [0x3d, 0xd6, 0xa3]] {
        let hex = format!("#{:02X}{:02X}{:02X}", color[0], color[1], color[2]);
        assert!(plot.svg.contains(&hex), "{hex}");
        assert!(pixels.iter().filter(|pixel| **pixel == color).count() > 100, "{hex}");
    }
}

/// A series of a hundred minutes with marks at these minutes, and a band that misses a piece.
fn series(marked: &[(i64, Weight)]) -> Chart {
    let at = |minute: i64| START_MS + minute * 60_000;
    let value = |minute: i64| 50.0 + (minute % 10) as f64;
    let low = |minute: i64| if (40..60).contains(&minute) { f64::NAN } else { 45.0 };
    Chart {
        title: "series.csv, value".to_string(),
        subtitle: "1 page, 2 notes".to_string(),
        points: (0..100).map(|minute| Point { at: at(minute), value: value(minute), limit: None }).collect(),
        band: (0..100).map(|minute| Band { at: at(minute), low: low(minute), high: 65.0 }).collect(),
        marked: marked
            .iter()
            .map(|(minute, weight)| Mark { at: at(*minute), value: value(*minute), weight: *weight })
            .collect(),
        ..Chart::default()
    }
}

#[test]
fn a_series_shows_its_band_and_each_mark_in_the_shape_of_its_weight() {
    let plot = |marked: &[(i64, Weight)]| series(marked).plot(&TimeZone::UTC).expect("a plot");
    let counts = |plot: &Plot| ["<circle", "<polygon"].map(|shape| plot.svg.matches(shape).count());
    let plain = plot(&[]);
    assert_eq!(plain.size, (1600, 550));
    // The two pieces of the band; nothing marks the last point.
    assert_eq!(counts(&plain), [0, 2]);
    let legend = texts(&plain.svg);
    assert!(legend.contains(&"expected".to_string()) && !legend.contains(&"note".to_string()), "{legend:?}");

    // A shape has a rim; another stands in the legend.
    let marked = plot(&[(20, Weight::Note), (70, Weight::Note), (80, Weight::Page)]);
    assert_eq!(counts(&marked), [2 * 3, 2 + 2 * 2]);
    let legend = texts(&marked.svg);
    assert!(legend.contains(&"note".to_string()) && legend.contains(&"page".to_string()), "{legend:?}");
    assert!(!legend.contains(&"warning".to_string()), "{legend:?}");
    assert_eq!(pixels(&marked).len(), 1600 * 550);
}

#[test]
fn a_band_far_wider_than_the_values_does_not_make_them_a_flat_line() {
    let mut chart = series(&[]);
    let usual = chart.plot(&TimeZone::UTC).expect("a plot");
    chart.band[0] = Band { at: START_MS, low: -1e6, high: 1e6 };
    let wide = chart.plot(&TimeZone::UTC).expect("a plot");
    assert_eq!(texts(&wide.svg), texts(&usual.svg), "the same marks of values");
}

#[test]
fn the_same_alert_gives_the_same_bytes() {
    assert_eq!(plotted(&alert(rising())), plotted(&alert(rising())));
}

#[test]
fn points_need_no_order() {
    let mut points = rising();
    points.reverse();
    assert_eq!(plotted(&alert(points)), plotted(&alert(rising())));
}

#[test]
fn less_than_two_points_in_time_are_no_plot() {
    let none: [Vec<Point>; 4] = [
        Vec::new(),
        vec![point(0, 1.0, None)],
        vec![point(0, 1.0, None), point(0, 2.0, None)],
        vec![point(0, 1.0, None), point(1, f64::NAN, None), point(2, f64::INFINITY, None)],
    ];
    for points in none {
        assert_eq!(plot::evidence(&alert(points), &TimeZone::UTC), None);
    }
    assert_eq!(plot::evidence(&Alert::default(), &TimeZone::UTC), None);
}

#[test]
fn odd_numbers_and_times_are_plotted() {
    let odd: [Vec<Point>; 8] = [
        vec![point(0, 0.0, None), point(1, 0.0, None)],
        vec![point(0, 5.0, Some(1e12)), point(1, 5.0, Some(-1e12))],
        vec![point(0, -1e299, Some(f64::NAN)), point(1, 1e299, None)],
        vec![point(0, 1e-300, None), point(1, 1e-290, None)],
        vec![point(0, -3.0, Some(-2.0)), point(1, -1.0, Some(-2.0))],
        vec![point(0, 1.0, None), point(1, f64::NAN, None), point(2, 3.0, None)],
        vec![point(0, 1.0, None), point(400_000_000, 2.0, None)],
        (0..20_000).map(|number| point(number, (number % 97) as f64, Some(50.0))).collect(),
    ];
    for points in odd {
        let plot = plotted(&alert(points));
        texts(&plot.svg);
        pixels(&plot);
        assert!(plot.svg.len() < 500_000, "{} bytes", plot.svg.len());
    }
}

#[test]
fn hostile_texts_are_escaped_and_cut() {
    let mut hostile = alert(rising());
    let name =
        format!("</text><script>alert(1)</script>\u{202e}\u{0}\u{1b}[31m\u{fffe}{}", "&\"'".repeat(9999));
    hostile.labels.insert("alertname".to_string(), name.clone());
    hostile.labels.insert("user_agent".to_string(), name.clone());
    if let Some(evidence) = &mut hostile.evidence {
        evidence.quantity = name.clone();
        evidence.unit = name;
    }
    let plot = plotted(&hostile);
    assert!(!plot.svg.contains("<script"));
    assert!(plot.svg.len() < 50_000);
    let texts = texts(&plot.svg);
    assert!(texts.iter().any(|text| text.starts_with("&lt;/text&gt;") && text.ends_with('…')), "{texts:?}");
}

#[test]
fn times_of_both_summer_and_winter_are_told() {
    // Night of 25 October 2026, when 3:00 became 2:00.
    let at = |number: i64| 1_792_879_200_000 + number * 600_000;
    let points = (0..48).map(|number| Point { at: at(number), value: number as f64, limit: None }).collect();
    let texts = texts(&plotted(&alert(points)).svg);
    assert!(texts.iter().any(|text| text.ends_with("Europe/Berlin (CEST, then CET)")), "{texts:?}");
}
