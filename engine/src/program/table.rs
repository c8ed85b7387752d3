//! Tables and texts on a terminal. What is shown may come from attackers: nothing of it reaches the terminal but
//! printable ASCII.

use serde_json::Value;

/// Characters of a cell.
const CELL_MAX: usize = 100;

/// A text as it can be printed: one line of at most `max` characters, each of printable ASCII.
pub fn printable(text: &str, max: usize) -> String {
    let mut shown: String = text.chars().take(max).map(|c| if is_plain(c) { c } else { '?' }).collect();
    if text.chars().nth(max).is_some() {
        shown.truncate(max.saturating_sub(3));
        shown.push_str("...");
    }
    shown
}

fn is_plain(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

/// A text of an answer; empty if it is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An instant of an answer, to the second; `-` if it is none.
pub fn second(value: &Value) -> String {
    text(value).get(..19).map_or_else(|| "-".to_string(), |text| text.replace('T', " "))
}

/// What is in a list of an answer; nothing if it is none.
pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Rows under headings, aligned. The last column is as long as it is.
pub fn columns<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| printable(cell, CELL_MAX))).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(headings);
    text.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_ascii_reaches_the_terminal() {
        assert_eq!(printable("a\x1b[31m\n\u{202e}b\u{7f}é", 100), "a?[31m??b??");
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdefg", 6), "abc...");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a".to_string(), "b".to_string()], ["long".to_string(), "c\n".to_string()]];
        assert_eq!(columns(["X", "Y"], &rows), "X     Y\na     b\nlong  c?\n");
    }
}
