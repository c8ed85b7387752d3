//! The `const RULE = #{ .. }` of a rule file, read from the syntax tree without running anything.
//!
//! Every value keeps its position, so that whatever is wrong with it is reported with line and column.

use rhai::{AST, Expr, Position, Stmt};

/// A literal with its place in the file.
#[derive(Debug, Clone)]
pub struct Literal {
    /// The value.
    pub value: LiteralValue,
    /// Where it begins.
    pub position: Position,
}

/// The value of a literal.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum LiteralValue {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Literal>),
    Map(Vec<Entry>),
}

/// One `name: value` of a map.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Where the name stands.
    pub position: Position,
    /// The value.
    pub literal: Literal,
}

/// Something is wrong at a place in a rule file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Complaint {
    /// Where; may be nowhere in particular.
    pub position: Position,
    /// What was found and what would be right.
    pub message: String,
}

impl Complaint {
    /// A complaint at a place.
    pub fn new(position: Position, message: impl Into<String>) -> Self {
        Complaint { position, message: message.into() }
    }
}

/// Finds `const RULE = #{ .. }` and reads it. Anything else at the top level of the file is refused: it would never
/// run.
pub fn rule_literal(ast: &AST) -> Result<Literal, Complaint> {
    let mut found = None;
    for statement in ast.statements() {
        match statement {
            Stmt::Noop(_) => {}
            Stmt::Var(declared, _, _) if declared.0.name == "RULE" && found.is_none() => {
                found = Some(read(&declared.1)?);
            }
            other => {
                let message = "only `const RULE = #{ .. };` and functions may stand at the top level";
                return Err(Complaint::new(other.position(), message));
            }
        }
    }
    found.ok_or_else(|| Complaint::new(Position::NONE, "there is no `const RULE = #{ .. };`"))
}

fn read(expr: &Expr) -> Result<Literal, Complaint> {
    let position = expr.position();
    let value = match expr {
        Expr::IntegerConstant(value, _) => LiteralValue::Int(*value),
        Expr::FloatConstant(value, _) => LiteralValue::Float(**value),
        Expr::BoolConstant(value, _) => LiteralValue::Bool(*value),
        Expr::StringConstant(value, _) => LiteralValue::Text(value.to_string()),
        Expr::Array(items, _) => LiteralValue::List(items.iter().map(read).collect::<Result<_, _>>()?),
        Expr::Map(map, _) => {
            let entry = |(name, value): &(rhai::Ident, Expr)| {
                Ok(Entry { name: name.name.to_string(), position: name.pos, literal: read(value)? })
            };
            LiteralValue::Map(map.0.iter().map(entry).collect::<Result<_, _>>()?)
        }
        _ => {
            let message =
                "RULE is read without being run: expected a number, a text, true or false, [..] or #{..}";
            return Err(Complaint::new(position, message));
        }
    };
    Ok(Literal { value, position })
}

impl Literal {
    /// What kind of value it is, for errors.
    pub fn kind(&self) -> &'static str {
        match self.value {
            LiteralValue::Int(_) => "a whole number",
            LiteralValue::Float(_) => "a number",
            LiteralValue::Bool(_) => "true or false",
            LiteralValue::Text(_) => "a text",
            LiteralValue::List(_) => "a list",
            LiteralValue::Map(_) => "a map",
        }
    }

    fn mismatch(&self, what: &str, expected: &str) -> Complaint {
        Complaint::new(self.position, format!("{what} is {}, expected {expected}", self.kind()))
    }

    /// A text.
    pub fn text(&self, what: &str) -> Result<&str, Complaint> {
        match &self.value {
            LiteralValue::Text(text) => Ok(text),
            _ => Err(self.mismatch(what, "a text")),
        }
    }

    /// A whole number within a range.
    pub fn int(&self, what: &str, range: std::ops::RangeInclusive<i64>) -> Result<i64, Complaint> {
        match self.value {
            LiteralValue::Int(value) if range.contains(&value) => Ok(value),
            LiteralValue::Int(value) => {
                let expected = format!("{} to {}", range.start(), range.end());
                Err(Complaint::new(self.position, format!("{what} is {value}, expected {expected}")))
            }
            _ => Err(self.mismatch(what, "a whole number")),
        }
    }

    /// A number.
    pub fn number(&self, what: &str) -> Result<f64, Complaint> {
        match self.value {
            LiteralValue::Int(value) => Ok(value as f64),
            LiteralValue::Float(value) => Ok(value),
            _ => Err(self.mismatch(what, "a number")),
        }
    }

    /// A list.
    pub fn list(&self, what: &str) -> Result<&[Literal], Complaint> {
        match &self.value {
            LiteralValue::List(items) => Ok(items),
            _ => Err(self.mismatch(what, "a list")),
        }
    }

    /// A map.
    pub fn map(&self, what: &str) -> Result<&[Entry], Complaint> {
        match &self.value {
            LiteralValue::Map(entries) => Ok(entries),
            _ => Err(self.mismatch(what, "a map #{ .. }")),
        }
    }

    /// One text, or a list of texts.
    pub fn texts(&self, what: &str) -> Result<Vec<(&str, Position)>, Complaint> {
        match &self.value {
            LiteralValue::Text(text) => Ok(vec![(text, self.position)]),
            LiteralValue::List(items) => {
                items.iter().map(|item| Ok((item.text(what)?, item.position))).collect()
            }
            _ => Err(self.mismatch(what, "a text or a list of texts")),
        }
    }
}
