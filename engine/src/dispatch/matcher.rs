//! Conditions on labels, as Alertmanager writes them: `severity="critical"`, `node!~"test.*"`.
//!
//! The syntax is what Alertmanager's two parsers take in common, and what either takes if it can mean one thing only.
//! Lengths, the number of matchers in a list and the size of a compiled expression are bounded; matching takes time
//! linear in the value.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::alert::Labels;

/// Matchers in a list or a silence.
pub const MATCHERS_MAX: usize = 32;
/// Length of a label's name in a matcher, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Length of a value in a matcher, in bytes.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Memory of a compiled expression, and of what it remembers while it runs, in bytes each.
const EXPRESSION_BYTES_MAX: usize = 256 * 1024;
/// Characters of somebody's text that an error repeats.
const EXCERPT_CHARS: usize = 80;
/// Alertmanager's reserved characters; white space is reserved too.
const RESERVED: &str = "{}!=~,\\\"'`";

/// A condition on one label. A label that is not there has the empty value.
///
/// Made by [`Matcher::new`] or [`Matcher::parse`], which compile the expression: change no field afterwards.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// What its value is compared with.
    pub value: String,
    /// How.
    pub operator: Operator,
    /// `value` compiled, if the operator compares with an expression.
    expression: Option<Regex>,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, a regular expression for the whole value.
    Matches,
    /// `!~`
    MatchesNot,
}

/// An operator as Alertmanager's API writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// `isRegex`: the value is an expression.
    pub is_regex: bool,
    /// `isEqual`: the label is to have the value; true where the API leaves it out.
    pub is_equal: bool,
}

impl Operator {
    /// As it is written in a matcher.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Matches => "=~",
            Operator::MatchesNot => "!~",
        }
    }

    /// As the API writes it.
    pub const fn flags(self) -> Flags {
        Flags {
            is_regex: matches!(self, Operator::Matches | Operator::MatchesNot),
            is_equal: matches!(self, Operator::Equal | Operator::Matches),
        }
    }
}

impl From<Flags> for Operator {
    fn from(flags: Flags) -> Self {
        match (flags.is_regex, flags.is_equal) {
            (false, true) => Operator::Equal,
            (false, false) => Operator::NotEqual,
            (true, true) => Operator::Matches,
            (true, false) => Operator::MatchesNot,
        }
    }
}

impl Matcher {
    /// Reads one matcher as Alertmanager writes it. The error says what was found and what would be right.
    pub fn parse(text: &str) -> Result<Matcher, String> {
        let mut matchers = parse_list(text)?;
        match (matchers.pop(), matchers.len()) {
            (Some(matcher), 0) => Ok(matcher),
            (None, _) => Err(format!("{:?} names no label, {EXPECTED}", excerpt(text))),
            (Some(_), before) => Err(format!("{:?} is {} matchers, expected one", excerpt(text), before + 1)),
        }
    }

    /// A matcher from its parts, as the API gives them. The error says what was found and what would be right.
    pub fn new(name: &str, operator: Operator, value: &str) -> Result<Matcher, String> {
        if name.is_empty() {
            return Err(format!("a matcher names no label, {EXPECTED}"));
        }
        if name.len() > NAME_BYTES_MAX {
            let (found, name) = (name.len(), excerpt(name));
            return Err(format!("label {name:?} has {found} bytes, expected at most {NAME_BYTES_MAX}"));
        }
        if value.len() > VALUE_BYTES_MAX {
            let (found, name) = (value.len(), excerpt(name));
            return Err(format!(
                "the value for {name:?} has {found} bytes, expected at most {VALUE_BYTES_MAX}"
            ));
        }
        let expression = match operator.flags().is_regex {
            true => Some(whole(value).map_err(|why| {
                let (value, name) = (excerpt(value), excerpt(name));
                format!("{value:?} is no regular expression for the label {name:?}: {why}")
            })?),
            false => None,
        };
        Ok(Matcher { name: name.to_string(), value: value.to_string(), operator, expression })
    }

    /// Whether labels meet the condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.holds_for(labels.get(&self.name).map_or("", String::as_str))
    }

    /// Whether it asks for nothing: `x=""`, or `x=~` with an expression that takes the empty value. A negative matcher
    /// asks for something even if labels that lack the name meet it, as `x!="a"`.
    /// Source: Alertmanager's `matchesEmpty`, by which it refuses silences of all alerts.
    pub fn equals_empty(&self) -> bool {
        self.operator.flags().is_equal && self.holds_for("")
    }

    fn holds_for(&self, value: &str) -> bool {
        let is_same = match &self.expression {
            Some(expression) => expression.is_match(value),
            None => self.value == value,
        };
        is_same == self.operator.flags().is_equal
    }
}

/// Whether labels meet all conditions.
pub fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

/// Reads matchers with commas between them, with or without braces around them: `{a="b", c=~"d.*"}`. There may be none.
pub fn parse_list(text: &str) -> Result<Vec<Matcher>, String> {
    let mut rest = text.trim();
    if let Some(opened) = rest.strip_prefix('{') {
        let closed = opened.strip_suffix('}');
        rest = closed.ok_or_else(|| format!("{:?} lacks a closing brace at its end", excerpt(text)))?.trim();
    }
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        if matchers.len() == MATCHERS_MAX {
            return Err(format!("{:?} is more than {MATCHERS_MAX} matchers", excerpt(text)));
        }
        let (written, after) = Written::take(rest).map_err(|why| format!("{:?}: {why}", excerpt(text)))?;
        matchers.push(Matcher::new(&written.name, written.operator, &written.value)?);
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => {
                let found = excerpt(after);
                return Err(format!("{:?}: found {found:?} after a value, expected a comma", excerpt(text)));
            }
        };
    }
    Ok(matchers)
}

const EXPECTED: &str = r#"expected one as severity="critical" or node=~"a|b""#;

/// The parts of a matcher, unescaped.
struct Written {
    name: String,
    operator: Operator,
    value: String,
}

impl Written {
    /// Takes one matcher off the front; what is left begins with no white space.
    fn take(text: &str) -> Result<(Written, &str), String> {
        let (name, rest) = match text.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted)?,
            None => {
                let end = text.find(is_reserved).unwrap_or(text.len());
                (text[..end].to_string(), &text[end..])
            }
        };
        if name.is_empty() {
            return Err(format!("found {:?} in place of a label, {EXPECTED}", excerpt(text)));
        }
        let rest = rest.trim_start();
        // The long ones first: `=` begins `=~` too.
        let operators = [Operator::Matches, Operator::MatchesNot, Operator::NotEqual, Operator::Equal];
        let operator = operators.into_iter().find(|operator| rest.starts_with(operator.as_str()));
        let operator = operator.ok_or_else(|| {
            let (name, found) = (excerpt(&name), excerpt(rest));
            format!("found {found:?} after the label {name:?}, expected =, !=, =~ or !~ and a value")
        })?;
        let rest = rest[operator.as_str().len()..].trim_start();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted)?,
            None => take_unquoted(rest)?,
        };
        Ok((Written { name, operator, value }, rest.trim_start()))
    }
}

/// Takes a text up to its closing quote. `\"`, `\\` and `\n` are escapes; any other backslash is one, as expressions
/// need many.
fn take_quoted(text: &str) -> Result<(String, &str), String> {
    let mut is_escape = false;
    let end = text.find(|character| match (is_escape, character) {
        (false, '"') => true,
        (_, character) => {
            is_escape = !is_escape && character == '\\';
            false
        }
    });
    let end = end.ok_or_else(|| format!("the quote before {:?} is not closed", excerpt(text)))?;
    Ok((unescaped(&text[..end]), &text[end + 1..]))
}

/// Takes a value up to a comma. Characters that begin or end other parts must stand in quotes: `a==b` and `a='b'` are
/// slips, and Alertmanager's parsers disagree on the rest.
fn take_unquoted(text: &str) -> Result<(String, &str), String> {
    let end = text.find(',').unwrap_or(text.len());
    let raw = text[..end].trim_end();
    if raw.starts_with(['=', '~', '!', '\'', '`']) || raw.contains(['{', '}', '"']) {
        return Err(format!(
            "found the value {:?} without quotes, expected double quotes around it",
            excerpt(raw)
        ));
    }
    Ok((unescaped(raw), &text[end..]))
}

fn unescaped(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        let escaped = if character == '\\' { characters.next() } else { None };
        match (character, escaped) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some(kept @ ('"' | '\\'))) => text.push(kept),
            (backslash, Some(other)) => text.extend([backslash, other]),
            (other, None) => text.push(other),
        }
    }
    text
}

fn is_reserved(character: char) -> bool {
    character.is_whitespace() || RESERVED.contains(character)
}

/// An expression that must take all of a value; the error is one line.
fn whole(pattern: &str) -> Result<Regex, String> {
    let compiled = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        let built = builder.size_limit(EXPRESSION_BYTES_MAX).dfa_size_limit(EXPRESSION_BYTES_MAX).build();
        built.map_err(|error| match error {
            regex::Error::CompiledTooBig(bytes) => format!("it needs more than {bytes} bytes compiled"),
            other => {
                other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_string()
            }
        })
    };
    // By itself first: `a)|(?:b` is none, but would be one, and not of the whole value, between the brackets below.
    compiled(pattern)?;
    compiled(&format!("^(?:{pattern})$"))
}

/// The beginning of a text that somebody else wrote.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let escaped = text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    write!(f, "\"{escaped}\"")
}

impl fmt::Display for Matcher {
    /// The canonical form, which [`Matcher::parse`] reads back: the value in quotes, the name only if it must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(is_reserved) {
            true => write_quoted(f, &self.name)?,
            false => f.write_str(&self.name)?,
        }
        f.write_str(self.operator.as_str())?;
        write_quoted(f, &self.value)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.operator, &self.value) == (&other.name, other.operator, &other.value)
    }
}

impl Eq for Matcher {}

impl std::str::FromStr for Matcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Matcher::parse(text)
    }
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Matcher::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    /// The canonical form of what was read, or the error.
    fn read(text: &str) -> String {
        parse_list(text).map_or_else(
            |error| error,
            |matchers| matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(" "),
        )
    }

    #[test]
    fn what_alertmanager_reads_is_read() {
        for (text, canonical) in [
            (r#"severity="critical""#, r#"severity="critical""#),
            ("severity=critical", r#"severity="critical""#),
            ("  severity  !=  critical  ", r#"severity!="critical""#),
            (r#"node=~"a|b""#, r#"node=~"a|b""#),
            ("node!~test.*", r#"node!~"test.*""#),
            ("node=~(a|b)", r#"node=~"(a|b)""#),
            ("foo=", r#"foo="""#),
            (r#"foo="""#, r#"foo="""#),
            (r#"foo="a,b}""#, r#"foo="a,b}""#),
            ("alertname=disk full", r#"alertname="disk full""#),
            (r#"foo="a\"b\\c\nd""#, r#"foo="a\"b\\c\nd""#),
            (r#"foo=~"\d+\.x""#, r#"foo=~"\\d+\\.x""#),
            (r"foo=~10\.0", r#"foo=~"10\\.0""#),
            ("foo=a=b!~c", r#"foo="a=b!~c""#),
            (r#""my label"="x""#, r#""my label"="x""#),
            (r#""q\"uote"="x""#, r#""q\"uote"="x""#),
            ("größe.m=1", r#"größe.m="1""#),
            ("Σ🙂=~🙂+", r#"Σ🙂=~"🙂+""#),
            ("{}", ""),
            ("", ""),
            (r#"{a="b"}"#, r#"a="b""#),
            (r#"{ a="b", c=~"d", }"#, r#"a="b" c=~"d""#),
            (r#"a="b",c!=d"#, r#"a="b" c!="d""#),
            ("a=b\n,\tc=d", r#"a="b" c="d""#),
        ] {
            assert_eq!(read(text), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, error) in [
            (
                "severity",
                r#""severity": found "" after the label "severity", expected =, !=, =~ or !~ and a value"#,
            ),
            ("a~b", r#""a~b": found "~b" after the label "a", expected =, !=, =~ or !~ and a value"#),
            ("a!b", r#""a!b": found "!b" after the label "a", expected =, !=, =~ or !~ and a value"#),
            ("a b=c", r#""a b=c": found "b=c" after the label "a", expected =, !=, =~ or !~ and a value"#),
            ("a==b", r#""a==b": found the value "=b" without quotes, expected double quotes around it"#),
            ("a='b'", r#""a='b'": found the value "'b'" without quotes, expected double quotes around it"#),
            (
                "a=~b{2}",
                r#""a=~b{2}": found the value "b{2}" without quotes, expected double quotes around it"#,
            ),
            ("a=b}", r#""a=b}": found the value "b}" without quotes, expected double quotes around it"#),
            (
                r#"a=b"c"#,
                r#""a=b\"c": found the value "b\"c" without quotes, expected double quotes around it"#,
            ),
            (r#"a="b"#, r#""a=\"b": the quote before "b" is not closed"#),
            (r#"a="b\""#, r#""a=\"b\\\"": the quote before "b\\\"" is not closed"#),
            (r#""a=b"#, r#""\"a=b": the quote before "a=b" is not closed"#),
            (r#"a="b" c="d""#, r#""a=\"b\" c=\"d\"": found "c=\"d\"" after a value, expected a comma"#),
            (r#"a="b"}"#, r#""a=\"b\"}": found "}" after a value, expected a comma"#),
            (r#"{a="b""#, r#""{a=\"b\"" lacks a closing brace at its end"#),
        ] {
            assert_eq!(read(text), error, "{text}");
        }
        let none = r#"in place of a label, expected one as severity="critical" or node=~"a|b""#;
        for text in [r#"="b""#, ",a=b", "a=b,,c=d", r#"""="b""#, "{{a=b}}", "!"] {
            assert!(read(text).ends_with(none), "{text}: {}", read(text));
        }
    }

    #[test]
    fn one_matcher_is_one() {
        assert_eq!(Matcher::parse(r#"{a="b"}"#), Matcher::new("a", Operator::Equal, "b"));
        assert_eq!(Matcher::parse("a=b,c=d"), Err(r#""a=b,c=d" is 2 matchers, expected one"#.to_string()));
        let none = r#""{}" names no label, expected one as severity="critical" or node=~"a|b""#;
        assert_eq!(Matcher::parse("{}"), Err(none.to_string()));
    }

    #[test]
    fn expressions_that_are_none_say_why_in_one_line() {
        for (text, error) in [
            (r#"a=~"[b""#, r#""[b" is no regular expression for the label "a": unclosed character class"#),
            (r#"a!~"(""#, r#""(" is no regular expression for the label "a": unclosed group"#),
            (r#"a=~"x)|(?:y""#, r#""x)|(?:y" is no regular expression for the label "a": unopened group"#),
            (
                r#"a=~"\\pL{500}""#,
                r#""\\pL{500}" is no regular expression for the label "a": it needs more than 262144 bytes compiled"#,
            ),
        ] {
            assert_eq!(read(text), error, "{text}");
        }
        assert_eq!(read(r#"a="[b""#), r#"a="[b""#);
    }

    #[test]
    fn operators_compare_the_whole_value() {
        let alert = labels(&[("node", "alpha"), ("text", "a\nb")]);
        for (text, expected) in [
            (r#"node="alpha""#, true),
            (r#"node="alph""#, false),
            (r#"node!="alpha""#, false),
            (r#"node!="beta""#, true),
            (r#"node=~"alpha|beta""#, true),
            (r#"node=~"al""#, false),
            (r#"node=~"al.*""#, true),
            (r#"node=~"lpha""#, false),
            // Anchored as a whole, not "beta at the end or alp at the beginning".
            (r#"node=~"alp|beta""#, false),
            (r#"node!~"al""#, true),
            (r#"node!~"al.*""#, false),
            (r#"node=~"ALPHA""#, false),
            (r#"node=~"(?i)ALPHA""#, true),
            (r#"text=~"a.b""#, false),
            (r#"text=~"(?s)a.b""#, true),
            (r#"text=~"(?m)a""#, false),
            (r#"text="a\nb""#, true),
        ] {
            assert_eq!(Matcher::parse(text).map(|matcher| matcher.matches(&alert)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_label_that_is_not_there_has_the_empty_value() {
        for (text, expected) in [
            (r#"x="""#, true),
            (r#"x!="""#, false),
            (r#"x!="a""#, true),
            (r#"x=~".*""#, true),
            (r#"x=~".+""#, false),
            (r#"x!~".+""#, true),
            (r#"x="a""#, false),
        ] {
            assert_eq!(
                Matcher::parse(text).map(|matcher| matcher.matches(&Labels::new())),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn matchers_that_ask_for_nothing_are_known() {
        for (text, expected) in [
            (r#"x="""#, true),
            (r#"x=~".*""#, true),
            (r#"x=~"a|""#, true),
            (r#"x=~".+""#, false),
            (r#"x="a""#, false),
            (r#"x!="a""#, false),
            (r#"x!~"a""#, false),
            (r#"x!="""#, false),
        ] {
            assert_eq!(Matcher::parse(text).map(|matcher| matcher.equals_empty()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn all_matchers_must_hold() {
        let alert = labels(&[("a", "1"), ("b", "2")]);
        assert!(all_match(&parse_list("a=1,b=2").expect("right"), &alert));
        assert!(!all_match(&parse_list("a=1,b=3").expect("right"), &alert));
        assert!(all_match(&[], &alert));
    }

    #[test]
    fn hostile_lengths_are_refused_with_short_texts() {
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        assert!(Matcher::new("a", Operator::Equal, &long[1..]).is_ok());
        let many = vec!["a=b"; MATCHERS_MAX].join(",");
        assert_eq!(parse_list(&many).map(|matchers| matchers.len()), Ok(MATCHERS_MAX));
        for text in [
            format!("a={long}"),
            format!("{long}=a"),
            format!("{many},a=b"),
            format!("a=\"{long}"),
            format!("a=~\"{}\"", "(".repeat(4000)),
            format!("a=~\"{}\"", "(?:a{1000}){1000}"),
            long,
        ] {
            let error = parse_list(&text).expect_err("refused");
            assert!(error.len() < 500, "{} bytes: {error}", error.len());
        }
    }

    #[test]
    fn flags_of_the_api_are_operators() {
        for operator in [Operator::Equal, Operator::NotEqual, Operator::Matches, Operator::MatchesNot] {
            assert_eq!(Operator::from(operator.flags()), operator);
        }
        assert_eq!(Operator::Equal.flags(), Flags { is_regex: false, is_equal: true });
        assert_eq!(Operator::MatchesNot.flags(), Flags { is_regex: true, is_equal: false });
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_canonical_form_is_read_back(name in ".{1,20}", value in "(?s).{0,40}", is_equal: bool) {
            let flags = Flags { is_regex: false, is_equal };
            let matcher = Matcher::new(&name, Operator::from(flags), &value).expect("short");
            prop_assert_eq!(Matcher::parse(&matcher.to_string()), Ok(matcher.clone()));
            let json = serde_json::to_string(&matcher).expect("a text");
            prop_assert_eq!(serde_json::from_str::<Matcher>(&json).expect("written here"), matcher);
        }

        #[test]
        fn no_text_panics(text in r#"[{}a=~!", \\\PC]{0,40}"#) {
            for matcher in parse_list(&text).unwrap_or_default() {
                prop_assert_eq!(Matcher::parse(&matcher.to_string()), Ok(matcher));
            }
        }
    }
}
