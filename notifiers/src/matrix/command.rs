//! What people ask for in the room: commands that begin with `!`, and reactions.

use tocsin_proto::Span;

/// What somebody asks tocsin to do. Fingerprints are 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Somebody takes care of these alerts. Some of them may have resolved.
    Acknowledge {
        /// Fingerprints; at least one.
        alerts: Vec<String>,
        /// Why; may be empty.
        comment: String,
    },
    /// Takes acknowledgements back.
    Unacknowledge {
        /// Fingerprints; at least one.
        alerts: Vec<String>,
    },
    /// A silence from now on.
    Silence {
        /// For how long.
        span: Span,
        /// Matchers as Alertmanager writes them, not checked yet; at least one.
        matchers: Vec<String>,
        /// Why; may be empty.
        comment: String,
    },
    /// A silence from now on for the group of these alerts, by the labels it is grouped by. Alerts rather than labels:
    /// what a room was told may have been redacted.
    SilenceGroup {
        /// For how long.
        span: Span,
        /// Fingerprints; at least one.
        alerts: Vec<String>,
        /// Why; may be empty.
        comment: String,
    },
    /// Ends a silence.
    ExpireSilence {
        /// Its id.
        id: String,
    },
    /// Which alerts there are.
    Alerts,
    /// Why an alert fired and who was told.
    Explain {
        /// Fingerprint.
        alert: String,
    },
}

/// A command, before it is known what its message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    /// Says all that is needed.
    Complete(Ask),
    /// About the alerts of the thread it stands in.
    Here(Here),
}

/// What is to be done with the alerts of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Here {
    Acknowledge { comment: String },
    Unacknowledge,
    Silence { span: Span, comment: String },
    Explain,
}

impl Here {
    /// The same, of these alerts.
    pub fn of(self, alerts: Vec<String>) -> Ask {
        match self {
            Here::Acknowledge { comment } => Ask::Acknowledge { alerts, comment },
            Here::Unacknowledge => Ask::Unacknowledge { alerts },
            Here::Silence { span, comment } => Ask::SilenceGroup { span, alerts, comment },
            Here::Explain => Ask::Explain { alert: alerts.into_iter().next().unwrap_or_default() },
        }
    }
}

/// What `!help` answers.
pub(super) const HELP: &str = "\
React with ✅, 👀 or 👍 to a message of mine: you take care of its alerts, so they are not repeated and not escalated.
!ack [ID..] [comment]: the same, for these alerts or for those of the thread
!unack [ID..]: takes it back
!silence 2h [matcher..] [comment]: silence as in Alertmanager, such as !silence 2h node=\"a\" severity=~\"info|warning\"; in a \
thread without matchers: the thread's group
!unsilence ID: ends a silence
!alerts: what fires
!explain ID: why an alert fired, and who was told";

/// Longer comments are cut, in characters.
const COMMENT_MAX: usize = 500;
/// More words are not read.
const WORDS_MAX: usize = 200;
/// Longer silences are refused: one that is forgotten must end.
const SILENCE_MAX: Span = Span::from_secs(365 * 86_400);

/// Reads a message; none if it is no command of ours. The error says what was found and what would be right.
pub(super) fn parse(text: &str) -> Option<Result<Command, String>> {
    let mut words = words(text);
    let name = words.first()?.to_lowercase();
    words.remove(0);
    Some(match name.as_str() {
        "!help" => Ok(Command::Help),
        "!alerts" => Ok(Command::Complete(Ask::Alerts)),
        "!ack" => {
            let (alerts, comment) = ids(words);
            Ok(match alerts.is_empty() {
                true => Command::Here(Here::Acknowledge { comment }),
                false => Command::Complete(Ask::Acknowledge { alerts, comment }),
            })
        }
        "!unack" => match ids(words) {
            (_, rest) if !rest.is_empty() => {
                Err(format!("{rest:?} is no id of an alert, expected 16 hex digits"))
            }
            (alerts, _) if alerts.is_empty() => Ok(Command::Here(Here::Unacknowledge)),
            (alerts, _) => Ok(Command::Complete(Ask::Unacknowledge { alerts })),
        },
        "!silence" => silence(words),
        "!unsilence" => match <[String; 1]>::try_from(words) {
            Ok([id]) => Ok(Command::Complete(Ask::ExpireSilence { id })),
            Err(_) => Err("expected the id of a silence: !unsilence ID".to_string()),
        },
        "!explain" => match ids(words) {
            (alerts, rest) if !rest.is_empty() || alerts.len() > 1 => {
                Err("expected the id of one alert, 16 hex digits: !explain ID".to_string())
            }
            (alerts, _) => Ok(match alerts.into_iter().next() {
                Some(alert) => Command::Complete(Ask::Explain { alert }),
                None => Command::Here(Here::Explain),
            }),
        },
        _ => return None,
    })
}

/// `2h matcher.. comment`.
fn silence(mut words: Vec<String>) -> Result<Command, String> {
    const USAGE: &str = "expected !silence 2h [matcher..] [comment]";
    if words.is_empty() {
        return Err(USAGE.to_string());
    }
    let span: Span = words.remove(0).parse().map_err(|error| format!("{error}; {USAGE}"))?;
    if span.millis() == 0 || span > SILENCE_MAX {
        return Err("a silence lasts from 1 ms to 365d".to_string());
    }
    let count = words.iter().take_while(|word| is_matcher(word)).count();
    let comment = comment(words.split_off(count));
    if words.is_empty() {
        return Ok(Command::Here(Here::Silence { span, comment }));
    }
    let matchers = words.iter().map(|word| word.trim_end_matches(',').to_string()).collect();
    Ok(Command::Complete(Ask::Silence { span, matchers, comment }))
}

/// Leading ids of alerts, and the rest as a comment.
fn ids(mut words: Vec<String>) -> (Vec<String>, String) {
    let is_id = |word: &&String| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let count = words.iter().take_while(is_id).count();
    let rest = words.split_off(count);
    (words.iter().map(|word| word.to_lowercase()).collect(), comment(rest))
}

fn comment(words: Vec<String>) -> String {
    words.join(" ").chars().take(COMMENT_MAX).collect()
}

/// Whether a word looks like `name=..`, `name!=..`, `name=~..` or `name!~..`.
fn is_matcher(word: &str) -> bool {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let rest = word.trim_start_matches(is_name);
    rest.len() < word.len() && ["=", "!=", "!~"].iter().any(|operator| rest.starts_with(operator))
}

/// Words, with white space inside double quotes part of them. Back-ticks around a word are how people quote an id.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![];
    let (mut word, mut is_quoted, mut is_escaped) = (String::new(), false, false);
    for letter in text.trim().chars() {
        // Telephones write these when one types a double quote.
        let letter = if matches!(letter, '“' | '”' | '„' | '‟') { '"' } else { letter };
        if letter.is_whitespace() && !is_quoted {
            words.push(std::mem::take(&mut word));
            continue;
        }
        if letter == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = letter == '\\' && !is_escaped;
        word.push(letter);
    }
    words.push(word);
    let words = words.into_iter().map(|word| word.trim_matches('`').to_string());
    words.filter(|word| !word.is_empty()).take(WORDS_MAX).collect()
}

/// Whether a reaction means that somebody takes care: a check mark, eyes or a thumb up, in any colour.
pub(super) fn acknowledges(reaction: &str) -> bool {
    // Variation selectors and tones of skin.
    let plain: String = reaction
        .chars()
        .filter(|c| !matches!(c, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}'))
        .collect();
    ["✅", "✔", "☑", "👀", "👍"].contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000000000ff";

    #[track_caller]
    fn check(text: &str, expected: Command) {
        assert_eq!(parse(text), Some(Ok(expected)), "{text}");
    }

    #[track_caller]
    fn check_error(text: &str, part: &str) {
        let error = parse(text).expect("a command").expect_err(text);
        assert!(error.contains(part), "{error}");
    }

    fn silence_of(matchers: &[&str], comment: &str) -> Command {
        let matchers = matchers.iter().map(|matcher| matcher.to_string()).collect();
        Command::Complete(Ask::Silence {
            span: Span::from_secs(7200),
            matchers,
            comment: comment.to_string(),
        })
    }

    #[test]
    fn acknowledging_takes_ids_and_a_comment_or_means_the_thread() {
        let alerts = vec![ID.to_string()];
        check("!ack", Command::Here(Here::Acknowledge { comment: String::new() }));
        check("!ack on it", Command::Here(Here::Acknowledge { comment: "on it".to_string() }));
        let comment = "on it".to_string();
        check(
            "  !ACK `00000000000000FF`\n on it",
            Command::Complete(Ask::Acknowledge { alerts: alerts.clone(), comment }),
        );
        check(&format!("!unack {ID}"), Command::Complete(Ask::Unacknowledge { alerts }));
        check("!unack", Command::Here(Here::Unacknowledge));
        check_error("!unack 12", "16 hex digits");
    }

    #[test]
    fn a_silence_has_a_span_then_matchers_then_a_comment() {
        check("!silence 2h node=a", silence_of(&["node=a"], ""));
        check(
            "!silence 2h node=\"a b\", severity=~\"x|y\" they know, x=y",
            silence_of(&["node=\"a b\"", "severity=~\"x|y\""], "they know, x=y"),
        );
        check("!silence 2h node!~“a b”", silence_of(&["node!~\"a b\""], ""));
        check(r#"!silence 2h node="a \" b" c"#, silence_of(&[r#"node="a \" b""#], "c"));
        let span = Span::from_secs(7200);
        check("!silence 2h", Command::Here(Here::Silence { span, comment: String::new() }));
        check("!silence 2h =x", Command::Here(Here::Silence { span, comment: "=x".to_string() }));
        check_error("!silence", "expected !silence 2h");
        check_error("!silence 0s", "365d");
        check_error("!silence 366d", "365d");
        check_error("!silence forever", "no span of time");
    }

    #[test]
    fn other_commands_and_chatter() {
        check("!alerts", Command::Complete(Ask::Alerts));
        check("!help me", Command::Help);
        check("!unsilence a-b", Command::Complete(Ask::ExpireSilence { id: "a-b".to_string() }));
        check(&format!("!explain {ID}"), Command::Complete(Ask::Explain { alert: ID.to_string() }));
        check("!explain", Command::Here(Here::Explain));
        check_error("!unsilence", "!unsilence ID");
        check_error("!explain x", "!explain ID");
        for chatter in ["", "   ", "ack", "!", "!play 2h", "say !ack", "\"", "`"] {
            assert_eq!(parse(chatter), None, "{chatter}");
        }
    }

    #[test]
    fn marks_of_assent_acknowledge_in_any_colour() {
        for reaction in ["✅", "✔️", "👍🏽", "👀", "☑️"] {
            assert!(acknowledges(reaction), "{reaction}");
        }
        for reaction in ["", "👎", "❌", "✅✅", "yes"] {
            assert!(!acknowledges(reaction), "{reaction}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in ".*") {
            if let Some(Ok(Command::Complete(Ask::Silence { matchers, .. }))) = parse(&format!("!silence 1h {text}")) {
                assert!(!matchers.is_empty());
            }
            let _ = parse(&text);
        }
    }
}
