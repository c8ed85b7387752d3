//! The text of lists of series in TOML: `series.toml` beside rules, and `[[series]]` of a configuration or a rule's test.
//!
//! Every value keeps its place, so that whatever is wrong with it is reported with line and column.

use rhai::Position;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::RuleError;
use super::literal::{Complaint, Entry, Literal, LiteralValue};
use super::series::Written;

/// Name of a list beside rules.
pub const FILE: &str = "series.toml";
/// The key of a list.
const KEY: &str = "series";

/// Series, and what is wrong with others.
#[derive(Debug, Clone, Default)]
pub struct WrittenSeries {
    /// The series.
    pub series: Vec<Written>,
    /// What is wrong.
    pub errors: Vec<RuleError>,
}

/// Reads a file that is nothing but a list.
pub fn read_list(path: &str, text: &str) -> WrittenSeries {
    read(path, text, |key| key != KEY)
}

/// Reads `[[series]]` of a file that has other tables too.
pub fn read_among_others(path: &str, text: &str) -> WrittenSeries {
    read(path, text, |_| false)
}

fn read(path: &str, text: &str, is_unknown: impl Fn(&str) -> bool) -> WrittenSeries {
    let mut read = WrittenSeries::default();
    let file = Source { text };
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let position = error.span().map_or(Position::NONE, |span| file.position(span.start));
            read.errors.push(RuleError::new(path, &Complaint::new(position, error.message())));
            return read;
        }
    };
    for (key, value) in &table {
        let name = key.get_ref().as_ref();
        if is_unknown(name) {
            let message = format!("{name:?} is no part of a list of series, expected [[{KEY}]]");
            let complaint = Complaint::new(file.position(key.span().start), message);
            read.errors.push(RuleError::new(path, &complaint));
        }
        if name != KEY {
            continue;
        }
        let literals = file.literal(value).and_then(|literal| match literal.value {
            LiteralValue::List(items) => Ok(items),
            _ => Err(Complaint::new(literal.position, format!("{KEY} is no list, expected [[{KEY}]]"))),
        });
        match literals {
            Ok(literals) => {
                for literal in &literals {
                    match Written::read(path, literal) {
                        Ok(written) => read.series.push(written),
                        Err(error) => read.errors.push(error),
                    }
                }
            }
            Err(complaint) => read.errors.push(RuleError::new(path, &complaint)),
        }
    }
    read
}

/// The text that places are counted in.
struct Source<'t> {
    text: &'t str,
}

impl Source<'_> {
    /// Line and column of a byte.
    fn position(&self, byte: usize) -> Position {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        let number = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        Position::new(number(line), number(column))
    }

    fn literal(&self, value: &Spanned<DeValue>) -> Result<Literal, Complaint> {
        let position = self.position(value.span().start);
        let wrong = |found: &str| {
            let message =
                format!("{found} stands here, expected a number, a text, true, false, [..] or a table");
            Complaint::new(position, message)
        };
        let value = match value.get_ref() {
            DeValue::String(text) => LiteralValue::Text(text.to_string()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                LiteralValue::Int(parsed.map_err(|_| wrong("a number that is too large"))?)
            }
            DeValue::Float(number) => {
                LiteralValue::Float(number.as_str().parse().map_err(|_| wrong("no number"))?)
            }
            DeValue::Boolean(value) => LiteralValue::Bool(*value),
            DeValue::Datetime(_) => return Err(wrong("a date")),
            DeValue::Array(items) => {
                LiteralValue::List(items.iter().map(|item| self.literal(item)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => {
                let entry = |(key, value): (&Spanned<_>, _)| self.entry(key, value);
                LiteralValue::Map(table.iter().map(entry).collect::<Result<_, _>>()?)
            }
        };
        Ok(Literal { value, position })
    }

    fn entry<K: AsRef<str>>(&self, key: &Spanned<K>, value: &Spanned<DeValue>) -> Result<Entry, Complaint> {
        let position = self.position(key.span().start);
        Ok(Entry { name: key.get_ref().as_ref().to_string(), position, literal: self.literal(value)? })
    }
}
