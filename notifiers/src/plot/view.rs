//! Where everything of a plot stands: the chart in units of the picture, before anything is drawn.
//!
//! The picture is [`View::size`] units; the PNG has half as many pixels.

use std::ops::RangeInclusive;

use jiff::tz::TimeZone;
use tocsin_proto::pb::notification::Point;

use super::axis::Axis;
use super::chart::{Band, Chart, Happening, Mark, Moment, Weight};
use super::{clock, text};

/// Width and height of a plot in a message, which is often read on a phone.
const CARD: (i32, i32) = (1600, 900);
/// Width and height of a plot of a whole series: days are to be told apart in months.
const WIDE: (i32, i32) = (3200, 1100);
/// Free space at the edges.
pub const PAD: i32 = 40;
/// Sizes of texts.
pub const TITLE: u32 = 62;
pub const SUBTITLE: u32 = 46;
pub const LABEL: u32 = 46;
/// Heights of the middles of lines of text.
pub const TITLE_Y: i32 = 60;
pub const SUBTITLE_Y: i32 = 124;
pub const STRIP_Y: i32 = 192;
/// The same from below.
pub const TIMES_UP: i32 = 98;
pub const CAPTION_UP: i32 = 44;
/// More marks of time than this would touch each other on a phone.
const MARKS_MAX: i64 = 5;
/// Space between things.
const GAP: i32 = 20;
/// Values beyond are not numbers that anybody measured.
const LARGEST: f64 = 1e300;
const SMALLEST: f64 = 1e-280;
/// A moment this part of the span outside of the points still gets its line.
const OUTSIDE_PART: i64 = 2;

/// Width of a column, of which no more than its first, highest, lowest and last point is drawn.
const COLUMN: i32 = 4;
/// Width of a sign in a legend, with its distance to the text.
pub const SIGN: i32 = 44;
/// The axis makes room for a band that reaches so many spans of the values beyond them.
const BAND_REACH_SPANS: f64 = 0.5;
/// Longer units stand at the axis only.
const SHORT_UNIT: usize = 4;

/// A place in the picture: across and down.
pub type Place = (i32, i32);

/// The rectangle of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub left: i32,
    pub right: i32,
    pub top: i32,
    pub bottom: i32,
}

/// A text at the left end of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub text: String,
    pub at: Place,
    pub width: i32,
}

/// A moment's line, if it is inside, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MomentView {
    pub happening: Happening,
    pub x: Option<i32>,
    pub label: Label,
}

/// What a legend explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Band,
    Mark(Weight),
}

/// Everything that is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Width and height of the picture.
    pub size: (i32, i32),
    pub title: String,
    /// The last value; stands at the right of the title.
    pub last: String,
    pub subtitle: String,
    pub unit: String,
    pub area: Area,
    pub values: Vec<(i32, String)>,
    pub times: Vec<(i32, String)>,
    pub caption: String,
    pub line: Vec<Place>,
    /// Where points without a limit stand between, there are several.
    pub limits: Vec<Vec<Place>>,
    pub limit_label: Option<Label>,
    /// Outlines of the band; where nothing was expected between, there are several.
    pub bands: Vec<Vec<Place>>,
    /// The last point, if the chart is about what happened up to it.
    pub dot: Option<Place>,
    /// The least serious first.
    pub marks: Vec<(Weight, Place)>,
    /// What the marks and the band mean, side by side.
    pub legend: Vec<(Sign, Label)>,
    pub moments: Vec<MomentView>,
}

/// From times and values to places.
struct Mapping {
    size: (i32, i32),
    from: i64,
    to: i64,
    axis: Axis,
    area: Area,
}

impl Mapping {
    fn x(&self, at: i64) -> i32 {
        let part = (at - self.from) as f64 / (self.to - self.from) as f64;
        self.area.left + (part * f64::from(self.area.right - self.area.left)).round() as i32
    }

    fn y(&self, value: f64) -> i32 {
        self.area.bottom
            - (self.axis.part(value) * f64::from(self.area.bottom - self.area.top)).round() as i32
    }

    fn place(&self, (at, value): (i64, f64)) -> Place {
        (self.x(at), self.y(value))
    }
}

impl View {
    /// None if fewer than two points differ in time and have a value that is a number.
    pub fn new(chart: &Chart, zone: &TimeZone) -> Option<Self> {
        let is_shown =
            |point: &Point| number(point.value).is_some() && clock::zoned(point.at, zone).is_some();
        let mut points: Vec<Point> = chart.points.iter().filter(|point| is_shown(point)).cloned().collect();
        points.sort_by_key(|point| point.at);
        let (from, to) = times(&points, &chart.moments)?;
        // Only an alert is about its latest value; of a series it is one among many.
        let is_alert = !chart.moments.is_empty();
        let size = if is_alert { CARD } else { WIDE };
        let mapping = mapping(chart, &points, (from, to), size);
        let samples = points.iter().filter_map(|point| Some((point.at, number(point.value)?)));
        let line = thinned(samples.map(|sample| mapping.place(sample)));
        let limits = limits(&points, &mapping);
        let last = if is_alert { mapping.axis.text(points.last()?.value) } else { String::new() };
        let last = text::fitted(&last, TITLE, size.0 / 3);
        let title_room = size.0 - 2 * PAD - 2 * GAP - text::width(&last, TITLE);
        let moments = moments(&chart.moments, &mapping, zone);
        let marks = marks(chart, &mapping);
        let bands = bands(chart, &mapping);
        let times = clock::marks(from, to, zone, if is_alert { MARKS_MAX } else { 2 * MARKS_MAX });
        Some(View {
            size,
            title: text::fitted(&text::clean(&chart.title), TITLE, title_room),
            last,
            subtitle: text::fitted(&text::clean(&chart.subtitle), SUBTITLE, size.0 - 2 * PAD),
            unit: mapping.axis.unit.clone(),
            area: mapping.area,
            values: mapping
                .axis
                .marks
                .iter()
                .map(|(value, text)| (mapping.y(*value), text.clone()))
                .collect(),
            times: times.into_iter().map(|(at, text)| (mapping.x(at), text)).collect(),
            caption: text::fitted(&clock::caption(from, to, zone), LABEL, size.0 - 2 * PAD),
            dot: line.last().copied().filter(|_| is_alert),
            limit_label: limit_label(&points, &mapping, &limits, &line, &moments),
            legend: if is_alert { Vec::new() } else { legend(&marks, &bands, mapping.area) },
            bands,
            marks,
            line,
            limits,
            moments,
        })
    }
}

/// The value if it can be shown. What is smaller than anything measured counts as zero.
fn number(value: f64) -> Option<f64> {
    match value.abs() {
        size if size < SMALLEST => Some(0.0),
        size if size <= LARGEST => Some(value),
        _ => None,
    }
}

/// First and last time of the axis: of the points, and of moments close to them.
fn times(points: &[Point], moments: &[Moment]) -> Option<(i64, i64)> {
    let (first, last) = (points.first()?.at, points.last()?.at);
    let span = last.checked_sub(first).filter(|span| *span > 0)?;
    let (early, late) = (first - span / OUTSIDE_PART, last + span / OUTSIDE_PART);
    let near = || moments.iter().map(|moment| moment.at).filter(|at| (early..=late).contains(at));
    Some((near().fold(first, i64::min), near().fold(last, i64::max)))
}

fn mapping(chart: &Chart, points: &[Point], (from, to): (i64, i64), size: (i32, i32)) -> Mapping {
    let values: Vec<f64> = points.iter().map(|point| point.value).filter_map(number).collect();
    let limits: Vec<f64> = points.iter().filter_map(|point| number(point.limit?)).collect();
    let limits: Vec<f64> = limits.into_iter().chain(near_band(chart, from, to, &values)).collect();
    let unit = text::fitted(&text::clean(&chart.unit), LABEL, size.0 / 3);
    let axis = Axis::new(&values, &limits, &unit);
    let widest = axis.marks.iter().map(|(_, label)| text::width(label, LABEL)).max().unwrap_or(0);
    let left = (PAD + widest + GAP).min(size.0 / 2);
    let area = Area { left, right: size.0 - PAD, top: STRIP_Y + 36, bottom: size.1 - TIMES_UP - 40 };
    Mapping { size, from, to, axis, area }
}

/// Ends of the band that the axis makes room for. What a detector expects while it knows little can be so wide that the
/// values would be a flat line in it.
fn near_band(chart: &Chart, from: i64, to: i64, values: &[f64]) -> Vec<f64> {
    let ends = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (value.min(low), value.max(high)));
    let reach = BAND_REACH_SPANS * (ends.1 - ends.0);
    let near = ends.0 - reach..=ends.1 + reach;
    let band = chart.band.iter().filter(|band| (from..=to).contains(&band.at));
    band.flat_map(|band| [band.low, band.high]).filter_map(number).filter(|end| near.contains(end)).collect()
}

/// At most four places for each column: first, highest, lowest and last, in their order.
fn thinned(places: impl Iterator<Item = Place>) -> Vec<Place> {
    let places: Vec<Place> = places.collect();
    let mut thin: Vec<Place> = Vec::new();
    for column in places.chunk_by(|(before, _), (after, _)| before / COLUMN == after / COLUMN) {
        let numbers = || 0..column.len();
        let upper = numbers().min_by_key(|number| column[*number].1).unwrap_or(0);
        let lower = numbers().max_by_key(|number| column[*number].1).unwrap_or(0);
        let mut kept = [0, upper, lower, column.len() - 1];
        kept.sort_unstable();
        thin.extend(kept.map(|number| column[number]));
    }
    thin.dedup();
    thin
}

fn limits(points: &[Point], mapping: &Mapping) -> Vec<Vec<Place>> {
    let limit = |point: &Point| number(point.limit?);
    let runs = points.chunk_by(|before, after| limit(before).is_some() == limit(after).is_some());
    let place = |point: &Point| Some(mapping.place((point.at, limit(point)?)));
    runs.map(|run| thinned(run.iter().filter_map(place))).filter(|run| run.len() > 1).collect()
}

fn bands(chart: &Chart, mapping: &Mapping) -> Vec<Vec<Place>> {
    let is_inside = |at: &i64| (mapping.from..=mapping.to).contains(at);
    let ends = |band: &Band| Some((number(band.low)?, number(band.high)?));
    let mut band: Vec<&Band> = chart.band.iter().filter(|band| is_inside(&band.at)).collect();
    band.sort_by_key(|band| band.at);
    let runs = band.chunk_by(|before, after| ends(before).is_some() == ends(after).is_some());
    let outline = |run: &[&Band]| {
        let known: Vec<(Place, Place)> = run
            .iter()
            .filter_map(|band| {
                let (low, high) = ends(band)?;
                Some((mapping.place((band.at, low)), mapping.place((band.at, high))))
            })
            .collect();
        // Of a column all that was usual at some time in it: an edge to and fro would look like a hatching.
        let columns = known.chunk_by(|(before, _), (after, _)| before.0 / COLUMN == after.0 / COLUMN);
        let (lower, upper): (Vec<Place>, Vec<Place>) = columns
            .filter_map(|column| {
                let x = column.first()?.0.0;
                let lowest = column.iter().map(|(low, _)| low.1).max()?;
                Some(((x, lowest), (x, column.iter().map(|(_, high)| high.1).min()?)))
            })
            .unzip();
        upper.into_iter().chain(lower.into_iter().rev()).collect()
    };
    runs.map(outline).filter(|outline: &Vec<Place>| outline.len() > 2).collect()
}

/// Marks, the least serious first; those that would hide each other once.
fn marks(chart: &Chart, mapping: &Mapping) -> Vec<(Weight, Place)> {
    let shown = chart.marked.iter().filter(|mark| (mapping.from..=mapping.to).contains(&mark.at));
    let place = |mark: &Mark| Some((mark.weight, mapping.place((mark.at, number(mark.value)?))));
    let mut marks: Vec<(Weight, Place)> = shown.filter_map(place).collect();
    marks.sort_unstable();
    marks.dedup_by_key(|(weight, (x, y))| (*weight, *x / COLUMN, *y / COLUMN));
    marks
}

/// From the right end of the line between head and values.
fn legend(marks: &[(Weight, Place)], bands: &[Vec<Place>], area: Area) -> Vec<(Sign, Label)> {
    let weights = [Weight::Page, Weight::Warning, Weight::Note];
    let weights = weights.into_iter().filter(|weight| marks.iter().any(|(other, _)| other == weight));
    let signs = weights.map(|weight| (Sign::Mark(weight), weight.name()));
    let signs = signs.chain((!bands.is_empty()).then_some((Sign::Band, "expected")));
    let mut free_to = area.right;
    let mut legend = Vec::new();
    for (sign, text) in signs {
        let width = text::width(text, LABEL);
        legend.push((sign, Label { text: text.to_string(), at: (free_to - width, STRIP_Y), width }));
        free_to -= width + SIGN + 2 * GAP;
    }
    legend
}

fn moments(moments: &[Moment], mapping: &Mapping, zone: &TimeZone) -> Vec<MomentView> {
    let area = mapping.area;
    let unit_end = PAD + text::width(&mapping.axis.unit, LABEL) + GAP;
    let (first, end) = (area.left.max(if mapping.axis.unit.is_empty() { 0 } else { unit_end }), area.right);
    let mut shown: Vec<MomentView> = Vec::new();
    let mut sorted: Vec<&Moment> = moments.iter().collect();
    sorted.sort_by_key(|moment| moment.at);
    for moment in sorted {
        let time = clock::time_of(moment.at, mapping.from, mapping.to, zone);
        let x = (mapping.from..=mapping.to).contains(&moment.at).then(|| mapping.x(moment.at));
        let text = match x {
            Some(_) => format!("{} {time}", moment.happening.name()),
            None if moment.at < mapping.from => format!("{} earlier, {time}", moment.happening.name()),
            None => format!("{} later, {time}", moment.happening.name()),
        };
        let width = text::width(&text, LABEL);
        let middle = x.unwrap_or(if moment.at < mapping.from { first } else { end });
        let left = (middle - width / 2).min(end - width).max(first);
        let label = Label { text, at: (left, STRIP_Y), width };
        shown.push(MomentView { happening: moment.happening, x, label });
    }
    apart(&mut shown, first..=end);
    shown
}

/// Moves texts that would overlap: to the left and right of each other, and one line down if that does not help.
fn apart(moments: &mut [MomentView], room: RangeInclusive<i32>) {
    for number in 1..moments.len() {
        let (before, after) = moments.split_at_mut(number);
        let (Some(left), Some(right)) = (before.last_mut(), after.first_mut()) else { continue };
        let overlap = left.label.at.0 + left.label.width + GAP - right.label.at.0;
        if overlap <= 0 || left.label.at.1 != right.label.at.1 {
            continue;
        }
        // Only the first two can both move; with more there would be no end to it.
        let to_left = if number == 1 { overlap.min(left.label.at.0 - room.start()) } else { 0 };
        let to_right = (overlap - to_left).min(room.end() - right.label.at.0 - right.label.width);
        if to_left + to_right == overlap {
            // Each gives way a little, so that both stay by their lines.
            let (half, rest) = (overlap / 2, overlap - overlap / 2);
            let free_left = if number == 1 { left.label.at.0 - room.start() } else { 0 };
            let free_right = room.end() - right.label.at.0 - right.label.width;
            let to_left = half.max(overlap - free_right).min(free_left);
            left.label.at.0 -= to_left;
            right.label.at.0 += (half + rest) - to_left;
        } else {
            right.label.at.1 += LABEL as i32 + GAP;
        }
    }
}

/// The limit's text, at the end where it is farther from the line.
fn limit_label(
    points: &[Point],
    mapping: &Mapping,
    limits: &[Vec<Place>],
    line: &[Place],
    moments: &[MomentView],
) -> Option<Label> {
    let limit = |point: &Point| number(point.limit?);
    let area = mapping.area;
    let ends = [points.iter().find_map(limit)?, points.iter().rev().find_map(limit)?];
    let label = |(number, value): (usize, f64)| {
        let beyond = match value {
            value if value > mapping.axis.high => ", far above",
            value if value < mapping.axis.low => ", far below",
            _ => "",
        };
        let text = text::fitted(
            &format!("limit {}{beyond}", limit_text(&mapping.axis, value)),
            LABEL,
            mapping.size.0 / 2,
        );
        let width = text::width(&text, LABEL);
        let left = if number == 0 { area.left + GAP } else { area.right - GAP - width };
        // A limit that changes must not run through its own text.
        let is_near = |place: &&Place| (left - GAP..=left + width + GAP).contains(&place.0);
        let near = limits.iter().flatten().filter(is_near).map(|(_, y)| *y).chain([mapping.y(value)]);
        let (upper, lower) = near.fold((i32::MAX, 0), |(upper, lower), y| (upper.min(y), lower.max(y)));
        let distance = LABEL as i32 / 2 + GAP / 2;
        let has_room = upper - distance - LABEL as i32 / 2 >= area.top;
        let down =
            if has_room { upper - distance } else { lower + distance }.min(area.bottom - LABEL as i32 / 2);
        Label { text, at: (left, down), width }
    };
    let labels = ends.into_iter().enumerate().map(label);
    labels.max_by_key(|label| freedom(label, line, moments))
}

fn limit_text(axis: &Axis, value: f64) -> String {
    let text = axis.text(value);
    match axis.unit.chars().count() > SHORT_UNIT {
        true => text.split(' ').take(1).collect(),
        false => text,
    }
}

/// How far a text is from the line; less than nothing if a moment's line goes through it.
fn freedom(label: &Label, line: &[Place], moments: &[MomentView]) -> i32 {
    let across = label.at.0 - GAP..=label.at.0 + label.width + GAP;
    if moments.iter().any(|moment| moment.x.is_some_and(|x| across.contains(&x))) {
        return -1;
    }
    let distances = (0..=16).filter_map(|part| {
        let x = label.at.0 + label.width * part / 16;
        let after = line.iter().position(|(other, _)| *other >= x)?;
        let ((x1, y1), (x0, y0)) = (line[after], line[after.saturating_sub(1)]);
        let y = if x1 == x0 { y1 } else { y0 + (y1 - y0) * (x - x0) / (x1 - x0) };
        Some((y - label.at.1).abs())
    });
    distances.min().unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_stands_inside_of_the_picture(
            points in prop::collection::vec((any::<i64>(), any::<f64>(), any::<Option<f64>>()), 2..40),
            near in prop::collection::vec((0..100_000_i64, -1e9..1e9, any::<Option<f64>>()), 2..40),
            moments in prop::collection::vec(0..200_000_i64, 0..4),
            title in any::<String>(),
        ) {
            for points in [points, near] {
                let points = points.into_iter().map(|(at, value, limit)| Point { at, value, limit });
                let fired = moments.iter().map(|at| Moment { at: *at, happening: Happening::Fired });
                let chart = Chart {
                    title: title.clone(),
                    subtitle: title.clone(),
                    unit: title.clone(),
                    points: points.collect(),
                    moments: fired.collect(),
                    ..Chart::default()
                };
                let Some(view) = View::new(&chart, &TimeZone::UTC) else { continue };
                let labels = view.moments.iter().map(|moment| moment.label.at).chain(view.limit_label.iter().map(|label| label.at));
                let places = view.line.iter().chain(view.limits.iter().flatten()).copied().chain(labels);
                for (x, y) in places {
                    prop_assert!((0..=view.size.0).contains(&x) && (0..=view.size.1).contains(&y), "{x}, {y}");
                }
            }
        }
    }

    #[test]
    fn a_column_keeps_its_ends_and_its_extremes_in_order() {
        let places = [(400, 10), (401, 50), (401, 20), (402, 5), (403, 30), (404, 8)];
        assert_eq!(thinned(places.into_iter()), [(400, 10), (401, 50), (402, 5), (403, 30), (404, 8)]);
    }
}
