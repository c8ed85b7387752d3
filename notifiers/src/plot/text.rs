//! Texts of a plot: cleaned, measured and cut to their place.

use std::sync::LazyLock;

use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, TextStyle, register_font};

use crate::text::line;

/// What SVG asks for; the PNG has our font under this name.
const FAMILY: &str = "sans-serif";
/// Readers' fonts are wider than ours by up to this factor.
const WIDER: f64 = 1.15;
/// Longer texts are cut before they are measured.
const CHARACTERS_MAX: usize = 300;

static FONT: LazyLock<()> = LazyLock::new(|| {
    let registered = register_font(FAMILY, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    assert!(registered.is_ok(), "the font that is compiled in is a font");
});

/// A style of text.
pub fn style(size: u32, color: RGBColor, across: HPos) -> TextStyle<'static> {
    LazyLock::force(&FONT);
    let style = TextStyle::from((FAMILY, size).into_font()).pos(Pos::new(across, VPos::Center));
    TextStyle { color: color.to_backend_color(), ..style }
}

/// One line without characters that control anything, and few enough to be measured.
pub fn clean(text: &str) -> String {
    // XML has no place for the last two; the rest of what is hidden `line` knows.
    line(text, CHARACTERS_MAX).replace(['\u{fffe}', '\u{ffff}'], "")
}

/// Width of a text, with room for a reader's wider font.
pub fn width(text: &str, size: u32) -> i32 {
    LazyLock::force(&FONT);
    let measured = (FAMILY, size).into_font().layout_box(text).map(|(_, (right, _))| right);
    (f64::from(measured.unwrap_or(0)) * WIDER) as i32
}

/// The text, or its beginning and an ellipsis if it is wider than `room`.
pub fn fitted(text: &str, size: u32, room: i32) -> String {
    if width(text, size) <= room {
        return text.to_string();
    }
    let characters: Vec<char> = text.chars().collect();
    let cut = |count: usize| format!("{}…", characters[..count].iter().collect::<String>().trim_end());
    // The longest beginning that fits: widths grow with the count.
    let (mut fits, mut too_long) = (0, characters.len());
    while fits + 1 < too_long {
        let middle = usize::midpoint(fits, too_long);
        if width(&cut(middle), size) <= room {
            fits = middle;
        } else {
            too_long = middle;
        }
    }
    if fits == 0 { String::new() } else { cut(fits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_changes_of_direction_are_removed() {
        assert_eq!(clean("a\r\nb\u{1b}[31m \u{202e}\0c\u{200b}\u{fffe}"), "a b [31m c");
    }

    #[test]
    fn long_texts_end_with_an_ellipsis_and_fit() {
        let text = "peer ".repeat(50);
        let cut = fitted(&text, 40, 500);
        assert!(cut.ends_with('…') && cut.len() > 10);
        assert!(width(&cut, 40) <= 500);
    }

    #[test]
    fn texts_without_room_are_left_out() {
        assert_eq!(fitted("peer", 40, 5), "");
    }
}
