//! Shapes of messages: literal text with typed holes, as `Saw new header hash={hash} height={uint} peer={peer}`.
//!
//! | hole | takes |
//! |---|---|
//! | `{uint}`, `{int}` | a decimal number |
//! | `{float}` | a decimal number with or without fraction |
//! | `{hex}` | a hexadecimal number |
//! | `{hash}` | 64 hexadecimal digits |
//! | `{date}` | a time as the node writes it, as Unix seconds |
//! | `{peer}` | a peer's number, and its address if `-logips` put it there |
//! | `{word}` | what is there up to the next space |
//! | `{text}` | what is there up to the text that follows the hole |
//! | `{rest}` | all that is left |
//!
//! What follows the last piece of a template is not looked at: newer versions of the node append. Nothing is tried
//! twice, so a message costs at most its length for each template that begins as it does.

use super::layout;

/// Holes of a template.
const HOLES_MAX: usize = 12;
/// Bytes of a text that are kept.
const TEXT_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Hole {
    Uint,
    Int,
    Float,
    Hex,
    Hash,
    Date,
    Peer,
    Word,
    Text,
    Rest,
}

#[derive(Debug)]
enum Part {
    Literal(&'static str),
    Hole(Hole),
}

/// The shape of a message.
#[derive(Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    None,
    Number(u64),
    Float(f64),
    Text(&'a str),
    Peer(u64, Option<&'a str>),
}

/// What was found in the holes of a template; they are counted from 0.
#[derive(Debug)]
pub struct Found<'a> {
    values: [Value<'a>; HOLES_MAX],
    count: usize,
}

impl Template {
    /// Reads a template. Panics if it is none: templates are ours, and a test reads them all.
    pub fn new(text: &'static str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, hole)) = rest.split_once('{') {
            let (name, next) = hole.split_once('}').expect("a hole ends");
            if !literal.is_empty() {
                parts.push(Part::Literal(literal));
            }
            parts.push(Part::Hole(Hole::named(name)));
            rest = next;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest));
        }
        let holes = parts.iter().filter(|part| matches!(part, Part::Hole(_))).count();
        assert!(holes <= HOLES_MAX, "{text}");
        Template { parts }
    }

    /// The byte that every message of this shape begins with; `None` if it begins with a hole.
    pub fn first_byte(&self) -> Option<u8> {
        match self.parts.first() {
            Some(Part::Literal(literal)) => literal.bytes().next(),
            _ => None,
        }
    }

    /// What is in the holes, if the message has this shape.
    pub fn find<'a>(&self, message: &'a str) -> Option<Found<'a>> {
        let mut found = Found { values: [Value::None; HOLES_MAX], count: 0 };
        let mut rest = message;
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(literal)?,
                Part::Hole(hole) => {
                    let next = match self.parts.get(index + 1) {
                        Some(Part::Literal(literal)) => literal,
                        _ => "",
                    };
                    let (value, length) = hole.take(rest, next)?;
                    found.values[found.count] = value;
                    found.count += 1;
                    rest = &rest[length..];
                }
            }
        }
        Some(found)
    }
}

impl Hole {
    fn named(name: &str) -> Self {
        match name {
            "uint" => Hole::Uint,
            "int" => Hole::Int,
            "float" => Hole::Float,
            "hex" => Hole::Hex,
            "hash" => Hole::Hash,
            "date" => Hole::Date,
            "peer" => Hole::Peer,
            "word" => Hole::Word,
            "text" => Hole::Text,
            "rest" => Hole::Rest,
            _ => panic!("no hole is called {name}"),
        }
    }

    /// The value at the beginning of `text`, and its length.
    fn take<'a>(self, text: &'a str, next: &str) -> Option<(Value<'a>, usize)> {
        let span = |is_part: fn(u8) -> bool| text.bytes().take_while(|byte| is_part(*byte)).count();
        match self {
            Hole::Uint => {
                let length = span(|byte| byte.is_ascii_digit());
                Some((Value::Number(text[..length].parse().ok()?), length))
            }
            Hole::Int => {
                let length = span(|byte| byte.is_ascii_digit() || byte == b'-');
                Some((Value::Number(text[..length].parse::<i64>().ok()? as u64), length))
            }
            Hole::Float => {
                let length = span(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.');
                Some((Value::Float(text[..length].parse().ok()?), length))
            }
            Hole::Hex => {
                let length = span(|byte| byte.is_ascii_hexdigit());
                Some((Value::Number(u64::from_str_radix(&text[..length], 16).ok()?), length))
            }
            Hole::Hash => {
                let hash = text.get(..64)?;
                is_hash(hash).then_some((Value::Text(hash), 64))
            }
            Hole::Date => Some((Value::Number(layout::date(text)?), text.find('Z')? + 1)),
            Hole::Peer => take_peer(text),
            Hole::Word => {
                let length = span(|byte| byte != b' ');
                (length > 0).then_some((Value::Text(&text[..length]), length))
            }
            Hole::Text => {
                let length = if next.is_empty() { text.len() } else { text.find(next)? };
                Some((Value::Text(&text[..length]), length))
            }
            Hole::Rest => Some((Value::Text(text), text.len())),
        }
    }
}

/// `12`, `12, peeraddr=[::1]:8333` or `12 peeraddr=[::1]:8333`; versions differ in the comma.
fn take_peer(text: &str) -> Option<(Value<'_>, usize)> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'-').count();
    // The node has -1 for no peer; it stays recognisable as the largest number.
    let peer = text[..digits].parse::<i64>().ok()? as u64;
    let rest = &text[digits..];
    let Some(address) = rest.strip_prefix(", peeraddr=").or(rest.strip_prefix(" peeraddr=")) else {
        return Some((Value::Peer(peer, None), digits));
    };
    let end = address.find([' ', ',', ';']).unwrap_or(address.len());
    let address_text = address[..end].trim_end_matches([':', '.']);
    let length = text.len() - address.len() + address_text.len();
    Some((Value::Peer(peer, Some(address_text)), length))
}

/// True for 64 hexadecimal digits.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A text of bounded length.
pub fn bounded(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}

impl Found<'_> {
    /// A number, or a date; 0 if it is none.
    pub fn u64(&self, hole: usize) -> u64 {
        match self.values[hole] {
            Value::Number(number) => number,
            _ => 0,
        }
    }

    /// The same, at most 2^32-1.
    pub fn u32(&self, hole: usize) -> u32 {
        self.u64(hole).try_into().unwrap_or(u32::MAX)
    }

    /// The same with its sign, within 32 bits.
    pub fn i32(&self, hole: usize) -> i32 {
        (self.u64(hole) as i64).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
    }

    /// A number with a fraction; 0 if it is none.
    pub fn f64(&self, hole: usize) -> f64 {
        match self.values[hole] {
            Value::Float(number) => number,
            _ => 0.0,
        }
    }

    /// A text; empty if it is none.
    pub fn str(&self, hole: usize) -> &str {
        match self.values[hole] {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// A text of bounded length.
    pub fn text(&self, hole: usize) -> String {
        bounded(self.str(hole))
    }

    /// A peer's number; the largest number if there is no peer.
    pub fn peer(&self, hole: usize) -> u64 {
        match self.values[hole] {
            Value::Peer(peer, _) => peer,
            _ => u64::MAX,
        }
    }

    /// A peer's address, with `-logips`.
    pub fn address(&self, hole: usize) -> Option<String> {
        match self.values[hole] {
            Value::Peer(_, address) => address.map(bounded),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_take_what_has_their_type() {
        let template = Template::new("a={uint} b={int} c={float}ms d={text} ({word}) e={rest}");
        let found = template.find("a=1 b=-2 c=3.5ms d=four five (six seven)").map(|_| ());
        assert_eq!(found, None, "a word holds no space");
        let found = template.find("a=1 b=-2 c=3.5ms d=four five (six) e=").map(|_| ());
        assert_eq!(found, None, "a word takes the bracket that ends it");
        let template = Template::new("a={uint} b={int} c={float}ms d={text} ({text}) e={rest}");
        let found = template.find("a=1 b=-2 c=3.5ms d=four five (six) e=7 8").expect("this shape");
        assert_eq!((found.u64(0), found.i32(1), found.f64(2)), (1, -2, 3.5));
        assert_eq!((found.str(3), found.str(4), found.str(5)), ("four five", "six", "7 8"));
        for wrong in ["a=x b=-2 c=3.5ms d=4 (6) e=", "a=99999999999999999999 b=-2", "a=1", ""] {
            assert!(template.find(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_peer_may_have_an_address() {
        let template = Template::new("x, disconnecting peer={peer}{rest}");
        for (text, address, rest) in [
            ("x, disconnecting peer=7", None, ""),
            ("x, disconnecting peer=7: reset", None, ": reset"),
            ("x, disconnecting peer=7, peeraddr=[::1]:8333: reset", Some("[::1]:8333"), ": reset"),
            ("x, disconnecting peer=7 peeraddr=a.onion:8333, y", Some("a.onion:8333"), ", y"),
        ] {
            let found = template.find(text).expect("this shape");
            assert_eq!((found.peer(0), found.address(0).as_deref()), (7, address), "{text}");
            assert_eq!(found.str(1), rest);
        }
        assert_eq!(template.find("x, disconnecting peer=-1").expect("this shape").peer(0), u64::MAX);
    }

    #[test]
    fn what_follows_the_last_piece_is_not_looked_at() {
        let template = Template::new("Shutdown done");
        assert!(template.find("Shutdown done, at last").is_some());
        assert!(template.find("The Shutdown done").is_none());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "é".repeat(2000);
        let found = Template::new("x{rest}");
        let message = format!("x{long}");
        let text = found.find(&message).expect("this shape").text(0);
        assert_eq!(text.len(), TEXT_MAX);
    }
}
