//! Silences: alerts that match are not sent until they end.
//!
//! What a silence was when it hid an alert can be seen later: a change that would alter the past expires the silence and
//! makes another. Sizes are bounded, and an expired silence is forgotten after [`FORGOTTEN_AFTER_MS`].

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

use super::hash::hash;
use super::matcher::{MATCHERS_MAX, Matcher};

/// Length of a comment, in bytes.
pub const COMMENT_BYTES_MAX: usize = 4096;
/// Length of a name of somebody, in bytes.
pub const CREATED_BY_BYTES_MAX: usize = 256;
/// How long an expired silence is shown: 5 days, as Alertmanager's `--data.retention`.
pub const FORGOTTEN_AFTER_MS: i64 = 5 * 86_400_000;

/// What a silence is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceDraft {
    /// All must match; at least one must not match the empty value.
    pub matchers: Vec<Matcher>,
    /// First instant.
    pub starts_at: Timestamp,
    /// First instant after it.
    pub ends_at: Timestamp,
    /// Who.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// A UUID.
    pub id: String,
    /// What it is.
    #[serde(flatten)]
    pub draft: SilenceDraft,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Where a silence is in its life; Alertmanager's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum SilenceState {
    Pending,
    Active,
    Expired,
}

impl SilenceState {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            SilenceState::Pending => "pending",
            SilenceState::Active => "active",
            SilenceState::Expired => "expired",
        }
    }
}

/// How a change of a silence is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// The silence keeps its id: [`Silence::change`].
    InPlace,
    /// The change would alter what the silence was: it expires ([`Silence::expire`]) and a new one with
    /// [`Silence::replacement_id`] takes over ([`Silence::new`]).
    Replace,
}

impl SilenceDraft {
    /// Checks what somebody asks for by Alertmanager's rules. The error says what was found and what would be right.
    pub fn check(&self, now: Timestamp) -> Result<(), String> {
        let SilenceDraft { matchers, starts_at, ends_at, created_by, comment } = self;
        if matchers.is_empty() {
            return Err("the silence has no matchers, expected at least one".to_string());
        }
        at_most("matchers", matchers.len(), MATCHERS_MAX)?;
        if matchers.iter().all(Matcher::equals_empty) {
            return Err(
                "all matchers of the silence match the empty value, expected one at least that does not \
                        or it would hide every alert"
                    .to_string(),
            );
        }
        at_most("bytes in who created it", created_by.len(), CREATED_BY_BYTES_MAX)?;
        at_most("bytes in its comment", comment.len(), COMMENT_BYTES_MAX)?;
        for (name, instant) in [("start", starts_at), ("end", ends_at)] {
            if jiff::Timestamp::from_millisecond(instant.unix_ms()).is_err() {
                return Err(format!(
                    "the silence's {name} is {instant}, expected a date up to the year 9999"
                ));
            }
        }
        if ends_at <= starts_at {
            return Err(format!(
                "the silence ends at {ends_at}, expected later than its start at {starts_at}"
            ));
        }
        if *ends_at <= now {
            return Err(format!("the silence ends at {ends_at}, expected later than now, {now}"));
        }
        Ok(())
    }
}

fn at_most(what: &str, found: usize, max: usize) -> Result<(), String> {
    match found <= max {
        true => Ok(()),
        false => Err(format!("the silence has {found} {what}, expected at most {max}")),
    }
}

impl Silence {
    /// A new silence of a draft that was checked. It starts no earlier than now: the past cannot be silenced.
    pub fn new(id: String, draft: SilenceDraft, now: Timestamp) -> Silence {
        let starts_at = draft.starts_at.max(now);
        Silence { id, draft: SilenceDraft { starts_at, ..draft }, updated_at: now }
    }

    /// Its state at an instant.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if self.draft.ends_at <= now {
            return SilenceState::Expired;
        }
        if now < self.draft.starts_at { SilenceState::Pending } else { SilenceState::Active }
    }

    /// How a change to a draft that was checked is made.
    /// Source: `canUpdate` in Alertmanager; its API is exact to the second about when a silence started.
    pub fn update(&self, draft: &SilenceDraft, now: Timestamp) -> Update {
        let second = |instant: Timestamp| instant.unix_ms().div_euclid(1000);
        let starts_as_told = match self.state(now) {
            SilenceState::Pending => draft.starts_at >= now,
            SilenceState::Active => second(draft.starts_at) == second(self.draft.starts_at),
            SilenceState::Expired => false,
        };
        match starts_as_told && sorted(&self.draft.matchers) == sorted(&draft.matchers) {
            true => Update::InPlace,
            false => Update::Replace,
        }
    }

    /// Changes it in place; only where [`Silence::update`] says so.
    pub fn change(&mut self, draft: SilenceDraft, now: Timestamp) {
        let starts_at = match self.state(now) {
            SilenceState::Pending => draft.starts_at,
            SilenceState::Active | SilenceState::Expired => self.draft.starts_at,
        };
        self.draft = SilenceDraft { starts_at, ..draft };
        self.updated_at = now;
    }

    /// Ends it now. One that has ended stays as it is.
    pub fn expire(&mut self, now: Timestamp) {
        if self.state(now) == SilenceState::Expired {
            return;
        }
        self.draft.starts_at = self.draft.starts_at.min(now);
        self.draft.ends_at = now;
        self.updated_at = now;
    }

    /// The id of the silence that replaces it: a UUID (version 8) of the old id, the instant and a number, as dispatch draws
    /// no random number.
    pub fn replacement_id(&self, now: Timestamp, number: usize) -> String {
        let mut hex = hash([self.id.as_str(), &now.unix_ms().to_string(), &number.to_string()]);
        // The version, and the variant of RFC 9562.
        hex.replace_range(12..13, "8");
        let variant = ["8", "9", "a", "b"][usize::from(hex.as_bytes()[16]) & 3];
        hex.replace_range(16..17, variant);
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    /// From when it is no longer kept.
    pub fn forgotten_at(&self) -> Timestamp {
        self.draft.ends_at.plus_ms(FORGOTTEN_AFTER_MS)
    }
}

/// Matchers in an order that does not depend on who wrote them.
fn sorted(matchers: &[Matcher]) -> Vec<String> {
    let mut texts: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
    texts.sort();
    texts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dispatch::matcher::{Operator, VALUE_BYTES_MAX, parse_list};

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_s(s)
    }

    fn draft(matchers: &str, starts_at_s: i64, ends_at_s: i64) -> SilenceDraft {
        SilenceDraft {
            matchers: parse_list(matchers).expect("right"),
            starts_at: at(starts_at_s),
            ends_at: at(ends_at_s),
            created_by: "eve".to_string(),
            comment: "maintenance".to_string(),
        }
    }

    fn silence(matchers: &str, starts_at_s: i64, ends_at_s: i64) -> Silence {
        Silence::new("7a2f".to_string(), draft(matchers, starts_at_s, ends_at_s), at(starts_at_s))
    }

    #[track_caller]
    fn check(draft: &SilenceDraft, error: &str) {
        assert_eq!(draft.check(at(100)), Err(error.to_string()));
    }

    #[test]
    fn a_silence_of_all_alerts_is_refused() {
        check(&draft("", 100, 200), "the silence has no matchers, expected at least one");
        let all = "all matchers of the silence match the empty value, expected one at least that does not \
                   or it would hide every alert";
        check(&draft(r#"node=~".*",x="""#, 100, 200), all);
        assert_eq!(draft(r#"node=~".*",x=y"#, 100, 200).check(at(100)), Ok(()));
        // As in Alertmanager: all but one node is a silence that somebody may want.
        assert_eq!(draft("node!=alpha", 100, 200).check(at(100)), Ok(()));
    }

    #[test]
    fn a_silence_ends_after_its_start_and_after_now() {
        let end = "the silence ends at 1970-01-01T00:02:00.000Z, expected later than";
        check(&draft("a=b", 120, 120), &format!("{end} its start at 1970-01-01T00:02:00.000Z"));
        check(&draft("a=b", 130, 120), &format!("{end} its start at 1970-01-01T00:02:10.000Z"));
        assert_eq!(draft("a=b", 10, 120).check(at(120)), Err(format!("{end} now, 1970-01-01T00:02:00.000Z")));
        assert_eq!(draft("a=b", 10, 120).check(at(119)), Ok(()));
        assert_eq!(draft("a=b", 1000, 1001).check(at(100)), Ok(()));
    }

    #[test]
    fn instants_that_are_no_dates_are_refused() {
        let mut endless = draft("a=b", 100, 200);
        endless.ends_at = Timestamp::MAX;
        let found = "2305843009213693951 ms, expected a date up to the year 9999";
        check(&endless, &format!("the silence's end is {found}"));
        let mut beginless = draft("a=b", 100, 200);
        beginless.starts_at = Timestamp::MIN;
        assert!(beginless.check(at(100)).is_err());
    }

    #[test]
    fn texts_and_matchers_are_bounded() {
        let mut long = draft("a=b", 100, 200);
        long.comment = "x".repeat(COMMENT_BYTES_MAX + 1);
        check(&long, "the silence has 4097 bytes in its comment, expected at most 4096");
        long.comment.pop();
        assert_eq!(long.check(at(100)), Ok(()));
        long.created_by = "x".repeat(CREATED_BY_BYTES_MAX + 1);
        check(&long, "the silence has 257 bytes in who created it, expected at most 256");
        long.created_by.pop();
        long.matchers = vec![long.matchers[0].clone(); MATCHERS_MAX + 1];
        check(&long, "the silence has 33 matchers, expected at most 32");
    }

    #[test]
    fn a_silence_is_active_from_its_start_until_before_its_end() {
        let silence = silence("node=alpha,severity!=critical", 100, 200);
        let states = [99, 100, 199, 200].map(|now_s| silence.state(at(now_s)));
        use SilenceState::{Active, Expired, Pending};
        assert_eq!(states, [Pending, Active, Active, Expired]);
    }

    #[test]
    fn a_new_silence_does_not_reach_into_the_past() {
        let silence = Silence::new("7a2f".to_string(), draft("a=b", 10, 200), at(100));
        assert_eq!((silence.draft.starts_at, silence.updated_at), (at(100), at(100)));
    }

    #[test]
    fn a_change_of_the_past_makes_a_new_silence() {
        let old = silence("a=b,c=d", 100, 200);
        for (now_s, matchers, starts_at_s, ends_at_s, expected) in [
            // Active: the end may change, the start and the matchers may not.
            (150, "a=b,c=d", 100, 300, Update::InPlace),
            (150, "a=b,c=d", 100, 160, Update::InPlace),
            (150, "c=d,a=b", 100, 300, Update::InPlace),
            (150, "a=b,c=d", 101, 300, Update::Replace),
            (150, "a=b", 100, 300, Update::Replace),
            (150, "a=b,c!=d", 100, 300, Update::Replace),
            // Pending: the start may change too, but not to the past.
            (50, "a=b,c=d", 60, 70, Update::InPlace),
            (50, "a=b,c=d", 50, 70, Update::InPlace),
            (50, "a=b,c=d", 49, 70, Update::Replace),
            (50, "a=x", 60, 70, Update::Replace),
            // Expired: nothing.
            (200, "a=b,c=d", 100, 300, Update::Replace),
        ] {
            let change = draft(matchers, starts_at_s, ends_at_s);
            assert_eq!(old.update(&change, at(now_s)), expected, "at {now_s} to {change:?}");
        }
    }

    #[test]
    fn an_active_silence_keeps_the_start_it_had() {
        let mut silence = silence("a=b", 100, 200);
        let mut change = draft("a=b", 100, 300);
        change.starts_at = change.starts_at.plus_ms(400);
        change.comment = "longer".to_string();
        assert_eq!(silence.update(&change, at(150)), Update::InPlace);
        silence.change(change.clone(), at(150));
        assert_eq!(silence.draft, SilenceDraft { starts_at: at(100), ..change });
        assert_eq!(silence.updated_at, at(150));
    }

    #[test]
    fn a_silence_is_expired_at_once_and_once() {
        for expired_at_s in [50, 150] {
            let mut silence = silence("a=b", 100, 200);
            silence.expire(at(expired_at_s));
            assert_eq!(silence.state(at(expired_at_s)), SilenceState::Expired);
            assert!(silence.draft.starts_at <= silence.draft.ends_at);
            let expired = silence.clone();
            silence.expire(at(180));
            assert_eq!(silence, expired);
        }
    }

    #[test]
    fn a_silence_is_forgotten_five_days_after_it_ended() {
        let silence = silence("a=b", 100, 200);
        assert_eq!(silence.forgotten_at(), at(200 + 5 * 86_400));
    }

    #[test]
    fn a_replacement_has_an_id_of_its_own_that_is_a_uuid() {
        let silence = silence("a=b", 100, 200);
        let id = silence.replacement_id(at(150), 0);
        assert_eq!(id, silence.replacement_id(at(150), 0));
        assert_ne!(id, silence.replacement_id(at(151), 0));
        assert_ne!(id, silence.replacement_id(at(150), 1));
        let is_uuid =
            regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$");
        assert!(is_uuid.expect("right").is_match(&id), "{id}");
    }

    #[test]
    fn the_stored_form_is_json_that_people_can_read() {
        let json = serde_json::to_string(&silence(r#"a="b",c=~"d|e""#, 1, 2)).expect("json");
        let expected = r#"{"id":"7a2f","matchers":["a=\"b\"","c=~\"d|e\""],"starts_at":1000,"ends_at":2000,"created_by":"eve","comment":"maintenance","updated_at":1000}"#;
        assert_eq!(json, expected);
        let broken = expected.replace("d|e", "d|(");
        let error = serde_json::from_str::<Silence>(&broken).expect_err("no expression").to_string();
        assert!(error.contains("unclosed group"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_stored_form_is_read_back(
            parts in prop::collection::vec((".{1,20}", 0..4_usize, "(?s).{0,40}"), 0..4),
            instants in any::<[i64; 3]>(),
            texts in any::<[String; 3]>(),
        ) {
            let operators = [Operator::Equal, Operator::NotEqual, Operator::Matches, Operator::MatchesNot];
            let matchers = parts.iter().map(|(name, operator, value)| {
                assert!(value.len() < VALUE_BYTES_MAX);
                let operator = operators[*operator];
                // Any text is an expression when it is escaped.
                let value = if operator.flags().is_regex { regex::escape(value) } else { value.clone() };
                Matcher::new(name, operator, &value).expect("short")
            });
            let [starts_at, ends_at, updated_at] = instants.map(Timestamp::from_unix_ms);
            let [id, created_by, comment] = texts;
            let draft = SilenceDraft { matchers: matchers.collect(), starts_at, ends_at, created_by, comment };
            let silence = Silence { id, draft, updated_at };
            let json = serde_json::to_string(&silence).expect("json");
            prop_assert_eq!(serde_json::from_str::<Silence>(&json).expect("written here"), silence);
        }
    }
}
