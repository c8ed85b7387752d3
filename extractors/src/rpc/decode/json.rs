//! Reading JSON whose fields may be missing, renamed or of another type: one odd field costs no more than
//! itself.
//!
//! What is odd is noted under its path. Paths hold names of our own only, never text of the answer, so that
//! the same oddity of a hundred peers is one line of the log.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

/// Different oddities of one answer that are kept by name; all are counted.
const NAMED_MAX: usize = 8;

/// What could not be read: `path: found ..., expected ...`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Odd(String);

impl Odd {
    /// JSON that does not parse, such as a number too large for any type.
    pub(super) fn unreadable(method: &str, error: &serde_json::Error) -> Self {
        Odd(format!("{method}: {error}"))
    }
}

/// The oddities of one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oddities {
    count: u64,
    named: BTreeSet<String>,
}

impl Oddities {
    /// How many fields were odd.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first different ones, as `path: found ..., expected ...`.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(String::as_str)
    }

    fn add(&mut self, odd: Odd) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.insert(odd.0);
        }
    }
}

/// A place in an answer, from the method's name down.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    above: Option<&'a Place<'a>>,
    name: &'static str,
}

impl Place<'_> {
    fn odd(&self, found: Option<&Value>, expected: &str) -> Odd {
        Odd(format!("{self}: found {}, expected {expected}", found.map_or("nothing", described)))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.above {
            Some(above) if self.name.starts_with('[') => write!(f, "{above}{}", self.name),
            Some(above) => write!(f, "{above}.{}", self.name),
            None => f.write_str(self.name),
        }
    }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(number) if number.is_i64() && !number.is_u64() => "a negative number",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What a JSON value can be read as.
pub trait FromJson: Default {
    /// What is expected, for a message.
    const EXPECTED: &'static str;

    /// The value; `None` if it is of another type or out of range.
    fn from_json(value: &Value) -> Option<Self>;
}

macro_rules! from_json {
    ($($type:ty, $expected:literal, $read:expr;)*) => {
        $(impl FromJson for $type {
            const EXPECTED: &'static str = $expected;

            fn from_json(value: &Value) -> Option<Self> {
                let read: fn(&Value) -> Option<$type> = $read;
                read(value)
            }
        })*
    };
}

from_json! {
    bool, "a boolean", Value::as_bool;
    f64, "a number", Value::as_f64;
    i32, "a whole number of 32 bits", |value| value.as_i64()?.try_into().ok();
    i64, "a whole number", Value::as_i64;
    u32, "a whole number from 0 to 4294967295", |value| value.as_u64()?.try_into().ok();
    u64, "a whole number from 0", Value::as_u64;
    String, "a string", |value| value.as_str().map(str::to_string);
}

/// A JSON value and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    value: &'a Value,
    place: Place<'a>,
    oddities: &'a RefCell<Oddities>,
}

impl<'a> Cursor<'a> {
    /// At the top of a method's answer.
    pub fn top(method: &'static str, value: &'a Value, oddities: &'a RefCell<Oddities>) -> Self {
        Cursor { value, place: Place { above: None, name: method }, oddities }
    }

    /// Notes an odd field that costs only itself.
    pub fn note(&self, odd: Odd) {
        self.oddities.borrow_mut().add(odd);
    }

    /// This value, which must be of this type.
    pub fn read<T: FromJson>(&self) -> Result<T, Odd> {
        T::from_json(self.value).ok_or_else(|| self.place.odd(Some(self.value), T::EXPECTED))
    }

    /// This value is not what was expected.
    pub fn odd(&self, expected: &str) -> Odd {
        self.place.odd(Some(self.value), expected)
    }

    /// This value as an object.
    pub fn object(self) -> Result<Object<'a>, Odd> {
        match self.value {
            Value::Object(fields) => Ok(Object { fields, place: self.place, oddities: self.oddities }),
            other => Err(self.place.odd(Some(other), "an object")),
        }
    }

    /// The elements of this list. Those that `read` refuses are noted and left out.
    pub fn list<T>(&self, mut read: impl FnMut(Cursor<'_>) -> Result<T, Odd>) -> Result<Vec<T>, Odd> {
        let Value::Array(elements) = self.value else {
            return Err(self.odd("a list"));
        };
        let elements = elements.iter().filter_map(|value| {
            let element = self.below("[]", value);
            read(element).map_err(|odd| self.note(odd)).ok()
        });
        Ok(elements.collect())
    }

    fn below<'b>(&'b self, name: &'static str, value: &'b Value) -> Cursor<'b> {
        Cursor { value, place: Place { above: Some(&self.place), name }, oddities: self.oddities }
    }
}

/// A JSON object and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    fields: &'a Map<String, Value>,
    place: Place<'a>,
    oddities: &'a RefCell<Oddities>,
}

impl Object<'_> {
    /// A field without which the object says nothing.
    pub fn essential<T: FromJson>(&self, name: &'static str) -> Result<T, Odd> {
        self.find(name).ok_or_else(|| self.missing(name, T::EXPECTED))?.read()
    }

    /// A field that every version has; its default if it is missing or odd, which is noted.
    pub fn field<T: FromJson>(&self, name: &'static str) -> T {
        self.essential(name).unwrap_or_else(|odd| {
            self.note(odd);
            T::default()
        })
    }

    /// A field that may be missing; `None` too if it is odd, which is noted.
    pub fn maybe<T: FromJson>(&self, name: &'static str) -> Option<T> {
        self.find(name)?.read().map_err(|odd| self.note(odd)).ok()
    }

    /// A list that every version has; empty if it is missing or odd, which is noted.
    pub fn list<T: FromJson>(&self, name: &'static str) -> Vec<T> {
        self.list_of(name, |element| element.read())
    }

    /// A list that every version has, of what `read` makes of its elements.
    pub fn list_of<T>(&self, name: &'static str, read: impl FnMut(Cursor<'_>) -> Result<T, Odd>) -> Vec<T> {
        let found = self.find(name).ok_or_else(|| self.missing(name, "a list"));
        found.and_then(|list| list.list(read)).unwrap_or_else(|odd| {
            self.note(odd);
            Vec::new()
        })
    }

    /// Numbers by name, which every version has.
    pub fn numbers(&self, name: &'static str) -> BTreeMap<String, u64> {
        let mut numbers = BTreeMap::new();
        match self.find(name).ok_or_else(|| self.missing(name, "an object")).and_then(Cursor::object) {
            Ok(object) => object.each(|key, number| {
                numbers.insert(key.to_string(), number.read()?);
                Ok(())
            }),
            Err(odd) => self.note(odd),
        }
        numbers
    }

    /// Visits all fields whatever their names. Those that `visit` refuses are noted.
    pub fn each(&self, mut visit: impl FnMut(&str, Cursor<'_>) -> Result<(), Odd>) {
        for (key, value) in self.fields {
            // The name is not ours, so it stands in no message.
            let cursor = Cursor {
                value,
                place: Place { above: Some(&self.place), name: "*" },
                oddities: self.oddities,
            };
            if let Err(odd) = visit(key, cursor) {
                self.note(odd);
            }
        }
    }

    /// An object that may be missing; `None` too if it is odd, which is noted.
    pub fn object(&self, name: &'static str) -> Option<Object<'_>> {
        self.find(name)?.object().map_err(|odd| self.note(odd)).ok()
    }

    /// An object without which this one says nothing.
    pub fn essential_object(&self, name: &'static str) -> Result<Object<'_>, Odd> {
        self.find(name).ok_or_else(|| self.missing(name, "an object"))?.object()
    }

    /// A field of any type; null counts as missing.
    pub fn find(&self, name: &'static str) -> Option<Cursor<'_>> {
        let value = self.fields.get(name).filter(|value| !value.is_null())?;
        Some(Cursor { value, place: Place { above: Some(&self.place), name }, oddities: self.oddities })
    }

    /// Notes an odd field that costs only itself.
    pub fn note(&self, odd: Odd) {
        self.oddities.borrow_mut().add(odd);
    }

    fn missing(&self, name: &'static str, expected: &str) -> Odd {
        Place { above: Some(&self.place), name }.odd(None, expected)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> (Vec<(u32, Vec<u64>)>, Oddities) {
        let oddities = RefCell::default();
        let peers = Cursor::top("getpeers", value, &oddities).list(|peer| {
            let peer = peer.object()?;
            Ok((peer.essential("id")?, peer.list("heights")))
        });
        (peers.expect("a list"), oddities.into_inner())
    }

    #[test]
    fn an_odd_field_costs_itself_and_is_named_with_its_path() {
        let (peers, oddities) = read(&json!([
            {"id": 1, "heights": [5, "six", 7]},
            {"id": 2, "heights": null},
            {"id": -3, "heights": []},
            {"id": 4, "heights": []},
            "five",
        ]));
        assert_eq!(peers, [(1, vec![5, 7]), (2, vec![]), (4, vec![])]);
        assert_eq!(oddities.count(), 4);
        let named: Vec<&str> = oddities.named().collect();
        assert_eq!(
            named,
            [
                "getpeers[].heights: found nothing, expected a list",
                "getpeers[].heights[]: found a string, expected a whole number from 0",
                "getpeers[].id: found a negative number, expected a whole number from 0 to 4294967295",
                "getpeers[]: found a string, expected an object",
            ]
        );
    }

    #[test]
    fn a_thousand_odd_fields_are_counted_and_a_few_are_named() {
        let (peers, oddities) = read(&Value::Array(vec![json!({"id": 1, "heights": "none"}); 1000]));
        assert_eq!((peers.len(), oddities.count(), oddities.named().count()), (1000, 1000, 1));
    }
}
