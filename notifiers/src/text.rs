//! Texts that strangers had a part in, made fit for one line of a bounded length; and instants as machines read them.

/// The text in one line of at most so many characters: line ends, tabs and other control characters become a space,
/// several spaces one, and characters that turn the direction of writing or cannot be seen are left out.
/// Reads no more of the text than it needs.
pub fn line(text: &str, characters_max: usize) -> String {
    let mut line = String::new();
    let mut characters = 0;
    for c in text.chars() {
        if characters > characters_max {
            break;
        }
        if is_hidden(c) {
            continue;
        }
        if !c.is_whitespace() && !c.is_control() {
            line.push(c);
            characters += 1;
        } else if !line.ends_with(' ') && !line.is_empty() {
            line.push(' ');
            characters += 1;
        }
    }
    line.truncate(line.trim_end().len());
    cut(&line, characters_max)
}

/// Marks of direction, joiners, invisible and noncharacters: nothing a label needs, much that deceives.
fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// The text with at most so many characters; `…` stands for what was left out.
pub fn cut(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        None => text.to_string(),
        Some(_) => {
            let kept: String = text.chars().take(characters_max.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

/// The text with at most so many bytes, cut between characters; `mark` stands for what was left out.
pub fn cut_bytes(text: &str, bytes_max: usize, mark: &str) -> String {
    if text.len() <= bytes_max {
        return text.to_string();
    }
    let mut end = bytes_max.saturating_sub(mark.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}", &text[..end])
}

/// An instant (unix ms) as RFC 3339; none if there is no such instant.
pub fn rfc3339(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_ends_and_nothing_hidden() {
        assert_eq!(line(" a\r\n\tb\u{202e}c\u{0}d \u{200b} ", 100), "a bc d");
    }

    #[test]
    fn a_line_is_cut_where_its_bound_is() {
        assert_eq!(line("a b c", 5), "a b c");
        assert_eq!(line("a b cd", 5), "a b…");
        assert_eq!(line("a b c    ", 5), "a b c");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(cut_bytes("äöü", 6, "."), "äöü");
        assert_eq!(cut_bytes("äöü", 5, "."), "äö.");
    }
}
