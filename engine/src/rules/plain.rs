//! Values of scripts as plain data, so that `this` can be stored.
//!
//! A value is a list of pieces, each list or map followed by what it holds: nothing here nests, so reading it back takes
//! no deep stack whatever the bytes are.

use rhai::{Array, Dynamic, Map};
use serde::{Deserialize, Serialize};

/// Lists and maps inside each other, at most; more than a rule's literal can hold.
pub const DEPTH_MAX: usize = 64;

/// One piece of a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    /// `()`.
    Unit,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// One character.
    Char(char),
    /// A text.
    Text(String),
    /// A list; so many values follow.
    List(u32),
    /// A map with these names; a value for each follows.
    Map(Vec<String>),
}

/// The pieces of a value. The error says what in it is not plain data.
pub fn pieces_of(value: &Dynamic) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    visit(value, 0, &mut |piece| pieces.push(piece()))?;
    Ok(pieces)
}

/// Refuses what is not plain data: functions, ranges, and what is nested deeper than [`DEPTH_MAX`].
pub fn check_plain(value: &Dynamic) -> Result<(), String> {
    visit(value, 0, &mut |_| {})
}

fn visit(value: &Dynamic, depth: usize, take: &mut impl FnMut(&dyn Fn() -> Piece)) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("lists and maps nested deeper than {DEPTH_MAX}"));
    }
    if let Ok(list) = value.as_array_ref() {
        take(&|| Piece::List(list.len() as u32));
        return list.iter().try_for_each(|value| visit(value, depth + 1, take));
    }
    if let Ok(map) = value.as_map_ref() {
        take(&|| Piece::Map(map.keys().map(ToString::to_string).collect()));
        return map.values().try_for_each(|value| visit(value, depth + 1, take));
    }
    match (value.as_int(), value.as_float(), value.as_bool(), value.as_char()) {
        (Ok(value), ..) => take(&|| Piece::Int(value)),
        (_, Ok(value), ..) => take(&|| Piece::Float(value)),
        (_, _, Ok(value), _) => take(&|| Piece::Bool(value)),
        (.., Ok(value)) => take(&|| Piece::Char(value)),
        _ if value.is_unit() => take(&|| Piece::Unit),
        _ => match value.as_immutable_string_ref() {
            Ok(text) => take(&|| Piece::Text(text.to_string())),
            Err(_) => return Err(format!("a {}", value.type_name().rsplit("::").next().unwrap_or_default())),
        },
    }
    Ok(())
}

/// The value of these pieces; `None` if they are not one whole value.
pub fn value_of(pieces: Vec<Piece>) -> Option<Dynamic> {
    let mut pieces = pieces.into_iter();
    let value = next(&mut pieces, 0)?;
    pieces.next().is_none().then_some(value)
}

fn next(pieces: &mut impl Iterator<Item = Piece>, depth: usize) -> Option<Dynamic> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match pieces.next()? {
        Piece::Unit => Dynamic::UNIT,
        Piece::Bool(value) => value.into(),
        Piece::Int(value) => value.into(),
        Piece::Float(value) => value.into(),
        Piece::Char(value) => value.into(),
        Piece::Text(text) => text.into(),
        Piece::List(len) => {
            // Not collected at once: the length is only claimed.
            let mut list = Array::new();
            for _ in 0..len {
                list.push(next(pieces, depth + 1)?);
            }
            list.into()
        }
        Piece::Map(names) => {
            let mut map = Map::new();
            for name in names {
                map.insert(name.into(), next(pieces, depth + 1)?);
            }
            map.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Dynamic {
        rhai::Engine::new().eval(text).expect("a script")
    }

    #[test]
    fn plain_values_are_what_they_were() {
        let text = r#"#{ a: [1, 2.5, true, (), 'c', "text", []], b: #{ c: #{}, d: -9223372036854775807 } }"#;
        let pieces = pieces_of(&value(text)).expect("plain");
        let back = value_of(pieces.clone()).expect("whole");
        assert_eq!(format!("{back:?}"), format!("{:?}", value(text)));
        for cut in 0..pieces.len() {
            assert!(value_of(pieces[..cut].to_vec()).is_none(), "{cut}");
        }
    }

    #[test]
    fn what_is_not_plain_is_named() {
        assert_eq!(check_plain(&value("[1, |x| x]")), Err("a Fn".to_string()));
        assert_eq!(check_plain(&value("#{ a: 1..5 }")), Err("a Range<i64>".to_string()));
        let mut deep = Dynamic::UNIT;
        for _ in 0..70 {
            deep = vec![deep].into();
        }
        assert!(check_plain(&deep).expect_err("too deep").contains("deeper than 64"));
        let many = std::iter::repeat_n(Piece::List(1), 100_000).chain([Piece::Unit]);
        assert!(value_of(many.collect()).is_none());
    }
}
