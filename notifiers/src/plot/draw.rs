//! Draws a view, as SVG or PNG, by the same strokes.

use plotters::coord::Shift;
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::prelude::{BitMapBackend, DrawingArea, DrawingBackend, IntoDrawingArea, SVGBackend};
use plotters::style::text_anchor::HPos;
use plotters::style::{Color, RGBColor, ShapeStyle};

use super::chart::{Happening, Weight};
use super::text;
use super::view::{self, Area, Label, MomentView, Place, SIGN, Sign, View};

// After Okabe and Ito, whose colours are told apart with any kind of sight; made lighter for the dark ground.
const GROUND: RGBColor = RGBColor(0x1b, 0x21, 0x2b);
const PANEL: RGBColor = RGBColor(0x22, 0x2a, 0x36);
const GRID: RGBColor = RGBColor(0x3c, 0x47, 0x57);
const TEXT: RGBColor = RGBColor(0xf2, 0xf5, 0xf9);
const QUIET_TEXT: RGBColor = RGBColor(0xc3, 0xcc, 0xd8);
const LINE: RGBColor = RGBColor(0x6c, 0xc4, 0xf5);
const LIMIT: RGBColor = RGBColor(0xf5, 0xe0, 0x50);
const FIRED: RGBColor = RGBColor(0xff, 0x8c, 0x5a);
const RESOLVED: RGBColor = RGBColor(0x3d, 0xd6, 0xa3);
const BAND: RGBColor = RGBColor(0x3d, 0xd6, 0xa3);
const NOTE: RGBColor = RGBColor(0xf5, 0xe0, 0x50);
const WARNING: RGBColor = RGBColor(0xff, 0xa0, 0x40);
const PAGE: RGBColor = RGBColor(0xff, 0x6b, 0x8a);

/// Dash and gap of the limit's line.
const DASH: (f64, f64) = (26.0, 16.0);

/// A line of more places than this is drawn thin: a thick one would fill the picture.
const DENSE_FROM: usize = 300;

type Canvas<'a, DB> = DrawingArea<DB, Shift>;

/// Width and height of a picture in units.
fn units(view: &View) -> (u32, u32) {
    (view.size.0.unsigned_abs(), view.size.1.unsigned_abs())
}

/// Width and height of the PNG, in pixels: each is the mean of two by two units, which smooths edges and letters.
pub fn pixels(view: &View) -> (u32, u32) {
    let (width, height) = units(view);
    (width / 2, height / 2)
}

/// The view as SVG.
pub fn svg(view: &View) -> Option<String> {
    let mut svg = String::new();
    let (units, pixels) = (units(view), pixels(view));
    draw(view, &SVGBackend::with_string(&mut svg, units).into_drawing_area())?;
    // Shown as large as the PNG; the units stay, so that it is sharp at any size.
    let given = format!("width=\"{}\" height=\"{}\"", units.0, units.1);
    Some(svg.replacen(&given, &format!("width=\"{}\" height=\"{}\"", pixels.0, pixels.1), 1))
}

/// The view as PNG.
pub fn png(view: &View) -> Option<Vec<u8>> {
    let (size, half) = (units(view), pixels(view));
    let mut pixels = vec![0; (size.0 * size.1 * 3) as usize];
    draw(view, &BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area())?;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, half.0, half.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&halved(&pixels, size.0 as usize)).ok()?;
    writer.finish().ok()?;
    Some(file)
}

/// Means of two by two pixels.
fn halved(pixels: &[u8], width: usize) -> Vec<u8> {
    let row = width * 3;
    let mut half = Vec::with_capacity(pixels.len() / 4);
    for rows in pixels.chunks_exact(2 * row) {
        let (upper, lower) = rows.split_at(row);
        for (up, low) in upper.chunks_exact(6).zip(lower.chunks_exact(6)) {
            for channel in 0..3 {
                let sum = [up[channel], up[channel + 3], low[channel], low[channel + 3]]
                    .map(u16::from)
                    .iter()
                    .sum::<u16>();
                half.push(((sum + 2) / 4) as u8);
            }
        }
    }
    half
}

fn draw<DB: DrawingBackend>(view: &View, canvas: &Canvas<'_, DB>) -> Option<()> {
    canvas.fill(&GROUND).ok()?;
    let Area { left, right, top, bottom } = view.area;
    canvas.draw(&Rectangle::new([(left, top), (right, bottom)], PANEL.filled())).ok()?;
    grid(view, canvas)?;
    for band in &view.bands {
        canvas.draw(&Polygon::new(band.clone(), BAND.mix(0.3).filled())).ok()?;
    }
    // The area under the line would hide the band.
    if view.bands.is_empty() {
        let (first, last) = (view.line.first()?.0, view.line.last()?.0);
        let under = view.line.iter().copied().chain([(last, bottom), (first, bottom)]);
        canvas.draw(&Polygon::new(under.collect::<Vec<_>>(), LINE.mix(0.22).filled())).ok()?;
    }
    let width = if view.line.len() > DENSE_FROM { 3 } else { 6 };
    for piece in gentle(&view.line) {
        stroke(canvas, piece, LINE, width)?;
    }
    for run in &view.limits {
        for dash in dashes(run) {
            stroke(canvas, dash, LIMIT, 5)?;
        }
    }
    for moment in &view.moments {
        moment_line(canvas, moment, view.area)?;
    }
    if let Some(dot) = view.dot {
        canvas.draw(&Circle::new(dot, 14, GROUND.filled())).ok()?;
        canvas.draw(&Circle::new(dot, 10, LINE.filled())).ok()?;
    }
    for (weight, place) in &view.marks {
        mark(canvas, *weight, *place)?;
    }
    if let Some(label) = &view.limit_label {
        backed(canvas, label, LIMIT)?;
    }
    texts(view, canvas)?;
    legend(view, canvas)?;
    canvas.present().ok()
}

fn grid<DB: DrawingBackend>(view: &View, canvas: &Canvas<'_, DB>) -> Option<()> {
    let Area { left, right, top, bottom } = view.area;
    for (y, label) in &view.values {
        stroke(canvas, vec![(left, *y), (right, *y)], GRID, 2)?;
        write(canvas, label, (left - 16, *y), view::LABEL, QUIET_TEXT, HPos::Right)?;
    }
    let mut free_from = 0;
    for (x, label) in &view.times {
        stroke(canvas, vec![(*x, top), (*x, bottom)], GRID, 2)?;
        let half = text::width(label, view::LABEL) / 2;
        let middle = (*x).clamp(half, view.size.0 - half);
        // A mark without its text is still a mark; two texts over each other are none.
        if middle - half >= free_from {
            write(
                canvas,
                label,
                (middle, view.size.1 - view::TIMES_UP),
                view::LABEL,
                QUIET_TEXT,
                HPos::Center,
            )?;
            free_from = middle + half + 12;
        }
    }
    Some(())
}

fn moment_line<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, moment: &MomentView, area: Area) -> Option<()> {
    let color = color_of(moment.happening);
    if let Some(x) = moment.x {
        stroke(canvas, vec![(x, area.top - 10), (x, area.bottom)], color, 5)?;
        // A flag of its own shape, so that nobody depends on the colour.
        let flag = match moment.happening {
            Happening::Fired => vec![(x - 14, area.bottom), (x, area.bottom - 26), (x + 14, area.bottom)],
            Happening::Resolved => {
                vec![
                    (x - 13, area.bottom - 26),
                    (x + 13, area.bottom - 26),
                    (x + 13, area.bottom),
                    (x - 13, area.bottom),
                ]
            }
        };
        canvas.draw(&Polygon::new(flag, color.filled())).ok()?;
    }
    Some(())
}

/// A mark; each weight has its own shape and size, so that nobody depends on the colour.
fn mark<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, weight: Weight, (x, y): Place) -> Option<()> {
    match weight {
        Weight::Note => {
            canvas.draw(&Circle::new((x, y), 13, GROUND.filled())).ok()?;
            canvas.draw(&Circle::new((x, y), 9, NOTE.filled())).ok()
        }
        Weight::Warning => {
            let triangle =
                |size: i32| vec![(x - size, y + size * 3 / 4), (x, y - size), (x + size, y + size * 3 / 4)];
            canvas.draw(&Polygon::new(triangle(21), GROUND.filled())).ok()?;
            canvas.draw(&Polygon::new(triangle(15), WARNING.filled())).ok()
        }
        Weight::Page => {
            let diamond = |size: i32| vec![(x - size, y), (x, y - size), (x + size, y), (x, y + size)];
            canvas.draw(&Polygon::new(diamond(24), GROUND.filled())).ok()?;
            canvas.draw(&Polygon::new(diamond(18), PAGE.filled())).ok()
        }
    }
}

fn legend<DB: DrawingBackend>(view: &View, canvas: &Canvas<'_, DB>) -> Option<()> {
    for (sign, label) in &view.legend {
        // Signs stand in the middle of small letters, which is above that of the line.
        let middle = (label.at.0 - SIGN / 2 - 4, label.at.1 - 6);
        match sign {
            Sign::Mark(weight) => mark(canvas, *weight, middle)?,
            Sign::Band => {
                let corners = [(middle.0 - 16, middle.1 - 14), (middle.0 + 16, middle.1 + 14)];
                canvas.draw(&Rectangle::new(corners, BAND.mix(0.5).filled())).ok()?;
            }
        }
        write(canvas, &label.text, label.at, view::LABEL, QUIET_TEXT, HPos::Left)?;
    }
    Some(())
}

fn texts<DB: DrawingBackend>(view: &View, canvas: &Canvas<'_, DB>) -> Option<()> {
    write(canvas, &view.title, (view::PAD, view::TITLE_Y), view::TITLE, TEXT, HPos::Left)?;
    write(canvas, &view.last, (view.size.0 - view::PAD, view::TITLE_Y), view::TITLE, LINE, HPos::Right)?;
    write(canvas, &view.subtitle, (view::PAD, view::SUBTITLE_Y), view::SUBTITLE, QUIET_TEXT, HPos::Left)?;
    write(canvas, &view.unit, (view::PAD, view::STRIP_Y), view::LABEL, QUIET_TEXT, HPos::Left)?;
    write(
        canvas,
        &view.caption,
        (view.size.0 - view::PAD, view.size.1 - view::CAPTION_UP),
        view::LABEL,
        QUIET_TEXT,
        HPos::Right,
    )?;
    for moment in &view.moments {
        if moment.label.at.1 == view::STRIP_Y {
            write(
                canvas,
                &moment.label.text,
                moment.label.at,
                view::LABEL,
                color_of(moment.happening),
                HPos::Left,
            )?;
        } else {
            backed(canvas, &moment.label, color_of(moment.happening))?;
        }
    }
    Some(())
}

fn color_of(happening: Happening) -> RGBColor {
    match happening {
        Happening::Fired => FIRED,
        Happening::Resolved => RESOLVED,
    }
}

/// A text on a ground of its own, for places where lines pass.
fn backed<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, label: &Label, color: RGBColor) -> Option<()> {
    let ((x, y), half) = (label.at, view::LABEL as i32 / 2);
    let ground = PANEL.mix(0.8).filled();
    canvas
        .draw(&Rectangle::new([(x - 8, y - half), (x + label.width * 7 / 8 + 8, y + half)], ground))
        .ok()?;
    write(canvas, &label.text, label.at, view::LABEL, color, HPos::Left)
}

fn write<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    text: &str,
    at: Place,
    size: u32,
    color: RGBColor,
    across: HPos,
) -> Option<()> {
    if text.is_empty() {
        return Some(());
    }
    canvas.draw(&Text::new(text, at, text::style(size, color, across))).ok()
}

fn stroke<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    path: Vec<Place>,
    color: RGBColor,
    width: u32,
) -> Option<()> {
    let style = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: width };
    canvas.draw(&PathElement::new(path, style)).ok()
}

/// The path cut where it turns back: joined there, strokes would end in long spikes.
fn gentle(path: &[Place]) -> Vec<Vec<Place>> {
    let mut pieces = Vec::new();
    let mut begin = 0;
    for (before, turn) in path.windows(3).enumerate() {
        let step = |from: Place, to: Place| (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
        let ((x1, y1), (x2, y2)) = (step(turn[0], turn[1]), step(turn[1], turn[2]));
        if x1 * x2 + y1 * y2 < 0.0 {
            pieces.push(path[begin..=before + 1].to_vec());
            begin = before + 1;
        }
    }
    pieces.push(path[begin..].to_vec());
    pieces
}

/// Straight pieces along a path, with gaps between them.
fn dashes(path: &[Place]) -> Vec<Vec<Place>> {
    let mut pieces = Vec::new();
    let Some(mut begin) = path.first().copied() else { return pieces };
    let (mut is_dash, mut left) = (true, DASH.0);
    for ends in path.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        let length = f64::from(to.0 - from.0).hypot(f64::from(to.1 - from.1));
        let mut done = 0.0;
        while length - done >= left {
            done += left;
            let along = |from: i32, to: i32| from + (f64::from(to - from) * done / length).round() as i32;
            let place = (along(from.0, to.0), along(from.1, to.1));
            if is_dash {
                pieces.push(vec![begin, place]);
            }
            begin = place;
            is_dash = !is_dash;
            left = if is_dash { DASH.0 } else { DASH.1 };
        }
        left -= length - done;
    }
    if is_dash {
        pieces.extend(path.last().map(|end| vec![begin, *end]));
    }
    pieces
}
