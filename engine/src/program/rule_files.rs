//! Finds rule files and lists of series, and loads them; a file that does not load keeps no other from loading.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use anyhow::{Context, bail};
use rhai::Position;
use tocsin_engine::engine::Library;
use tocsin_engine::plan::Plan;
use tocsin_engine::rules::file::RuleFile;
use tocsin_engine::rules::literal::LiteralValue;
use tocsin_engine::rules::script::Sandbox;
use tocsin_engine::rules::series::SeriesList;
use tocsin_engine::rules::series_file::{self, WrittenSeries};
use tocsin_engine::rules::{Override, Rule, RuleError, apply_overrides, rule_name};
use tocsin_proto::schema::Schema;

/// Rules from files, and what was wrong with those that did not load.
pub struct LoadedRules {
    pub rules: Vec<Rule>,
    pub errors: Vec<RuleError>,
    /// Names of all rules, also of those that did not load.
    pub known: Vec<String>,
    /// Rules of each generic file that loaded, by the file's name.
    pub generic: BTreeMap<String, usize>,
    /// Names of files of which nothing is known, as they did not load.
    broken: Vec<String>,
    /// Names of the rules there would be for series that are switched off.
    off: Vec<String>,
    pub sandbox: Sandbox,
}

/// Loads all rules below these paths; `changes` are the series of the configuration.
pub fn load(paths: &[PathBuf], changes: &WrittenSeries) -> anyhow::Result<LoadedRules> {
    let mut files = Vec::new();
    for path in paths {
        find_rules(path, &mut files).with_context(|| {
            format!("{}: cannot read rules, expected a folder or a .rhai file", path.display())
        })?;
    }
    files.sort();
    files.dedup();
    Ok(load_files(&files, changes))
}

/// Loads these rule files and lists of series.
pub fn load_files(files: &[PathBuf], changes: &WrittenSeries) -> LoadedRules {
    let mut texts = Vec::new();
    let mut unread = Vec::new();
    for file in files {
        let path = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => texts.push((path, text)),
            Err(error) => {
                let what = if is_list(file) { "list of series" } else { "rule" };
                let message = format!("cannot read the {what}: {error}");
                unread.push(RuleError { path, place: None, message });
            }
        }
    }
    let mut loaded = load_texts(texts.iter().map(|(path, text)| (path.as_str(), text.as_str())), changes);
    loaded.broken.extend(unread.iter().map(|error| rule_name(&error.path)));
    loaded.known.extend(unread.iter().map(|error| rule_name(&error.path)));
    loaded.errors.extend(unread);
    loaded
}

/// Loads rules and lists of series from the paths and texts of their files.
pub fn load_texts<'t>(
    files: impl Iterator<Item = (&'t str, &'t str)>,
    changes: &WrittenSeries,
) -> LoadedRules {
    let (lists, files): (Vec<_>, Vec<_>) = files.partition(|(path, _)| is_list(Path::new(path)));
    let mut loaded = LoadedRules {
        rules: Vec::new(),
        errors: Vec::new(),
        known: Vec::new(),
        generic: BTreeMap::new(),
        broken: Vec::new(),
        off: Vec::new(),
        sandbox: Sandbox::new(),
    };
    let mut written = Vec::new();
    for (path, text) in lists {
        let list = series_file::read_list(path, text);
        written.extend(list.series);
        loaded.errors.extend(list.errors);
    }
    loaded.errors.extend(changes.errors.iter().cloned());
    let mut list = SeriesList::new(Schema::embedded(), written, &changes.series);
    list.is_empty &= loaded.errors.is_empty();
    loaded.errors.extend(list.errors.iter().cloned());
    for (path, text) in files {
        loaded.add(path, text, &list);
    }
    loaded
}

impl LoadedRules {
    /// Loads a file: its rule, or those of a generic one.
    fn add(&mut self, path: &str, text: &str, list: &SeriesList) {
        let name = rule_name(path);
        let file = match RuleFile::read(&self.sandbox, path, text) {
            Ok(file) => file,
            Err(errors) => {
                self.broken.push(name.clone());
                self.know(name, path);
                self.errors.extend(errors);
                return;
            }
        };
        if !file.is_for_each_series() {
            match file.rule(Schema::embedded()) {
                _ if !self.know(name, path) => {}
                Ok(rule) => self.rules.push(rule),
                Err(errors) => self.errors.extend(errors),
            }
            return;
        }
        if list.is_empty {
            let message = format!("there are no series, expected a {} beside the rule", series_file::FILE);
            self.errors.push(RuleError { path: path.to_string(), place: None, message });
        }
        let (rules, errors) = file.rules_of_series(Schema::embedded(), &list.series);
        self.errors.extend(errors);
        self.generic.insert(name.clone(), rules.len());
        // Those of broken series too: they may be named.
        let names: Vec<String> = list.known.iter().map(|series| format!("{name}_{series}")).collect();
        self.off.extend(list.off.iter().map(|series| format!("{name}_{series}")));
        let is_free: Vec<bool> = names.iter().map(|rule| self.know(rule.clone(), path)).collect();
        let is_taken =
            |rule: &Rule| names.iter().zip(&is_free).any(|(name, free)| *name == rule.name && !free);
        self.rules.extend(rules.into_iter().filter(|rule| !is_taken(rule)));
    }

    /// Takes a name for a rule of a file. False if another rule has it.
    fn know(&mut self, name: String, path: &str) -> bool {
        if self.known.contains(&name) {
            let message = format!("there is another rule named {name:?}, expected a file name of its own");
            self.errors.push(RuleError { path: path.to_string(), place: None, message });
            return false;
        }
        self.known.push(name);
        true
    }

    /// True if what a change is about did not load, or may be what did not, or is of a series that is switched off.
    fn has_no_effect(&self, change: &Override) -> bool {
        let is_of = |file: &String| {
            change.rule.strip_prefix(file).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let is_there = self.rules.iter().any(|rule| rule.is_named(&change.rule));
        let is_known = || {
            self.known.contains(&change.rule)
                || self.off.contains(&change.rule)
                || self.generic.contains_key(&change.rule)
        };
        !is_there && (is_known() || self.broken.iter().any(is_of))
    }

    /// Merges the rules into a library. Rules that cannot be merged are left out and reported.
    pub fn into_library(mut self, overrides: &[Override]) -> anyhow::Result<(Library, Vec<RuleError>)> {
        let has_no_effect = |change: &&Override| self.has_no_effect(change);
        let overrides: Vec<Override> =
            overrides.iter().filter(|change| !has_no_effect(change)).cloned().collect();
        apply_overrides(&mut self.rules, &overrides)
            .map_err(|message| anyhow::anyhow!("--set: {message}"))?;
        loop {
            let LoadedRules { rules, mut errors, known, generic, broken, off, sandbox } = self;
            let plan_errors = match Plan::new(Schema::embedded(), &rules, &known) {
                Ok(_) => Vec::new(),
                Err(errors) => errors,
            };
            if plan_errors.is_empty() {
                let library = Library::new(sandbox, rules, &known);
                let library = library.map_err(|errors| anyhow::anyhow!("{}", errors[0]))?;
                return Ok((library, errors));
            }
            let kept = without_wrong(rules, &plan_errors, &known);
            for error in plan_errors {
                // Rules of one file have the same error.
                if !errors.contains(&error) {
                    errors.push(error);
                }
            }
            self = LoadedRules { rules: kept, errors, known, generic, broken, off, sandbox };
        }
    }
}

/// The rules that the errors are not about. An error names a file; of a generic one only the rules go that are wrong by
/// themselves, if there are such.
fn without_wrong(rules: Vec<Rule>, errors: &[RuleError], known: &[String]) -> Vec<Rule> {
    let is_wrong_alone = |rule: &Rule| Plan::new(Schema::embedded(), slice::from_ref(rule), known).is_err();
    let is_in = |paths: &[String], rule: &Rule| paths.contains(&rule.path);
    let wrong: Vec<String> = errors.iter().map(|error| error.path.clone()).collect();
    let alone: Vec<(String, String)> = rules
        .iter()
        .filter(|rule| rule.series.is_some() && is_in(&wrong, rule) && is_wrong_alone(rule))
        .map(|rule| (rule.path.clone(), rule.name.clone()))
        .collect();
    let is_kept = |rule: &Rule| {
        let of_file: Vec<&String> =
            alone.iter().filter(|(path, _)| *path == rule.path).map(|(_, name)| name).collect();
        !is_in(&wrong, rule) || (!of_file.is_empty() && !of_file.contains(&&rule.name))
    };
    rules.into_iter().filter(is_kept).collect()
}

/// Reads `RULE.PARAM=VALUE` and `RULE.PARAM@NODE=VALUE`.
pub fn parse_override(text: &str) -> anyhow::Result<Override> {
    let Some((target, value)) = text.split_once('=') else {
        bail!("--set {text}: expected RULE.PARAM=VALUE or RULE.PARAM@NODE=VALUE")
    };
    let value = match (value.parse::<i64>(), value.parse::<f64>(), value) {
        (Ok(value), _, _) => LiteralValue::Int(value),
        (_, Ok(value), _) if value.is_finite() => LiteralValue::Float(value),
        (_, _, "true") => LiteralValue::Bool(true),
        (_, _, "false") => LiteralValue::Bool(false),
        _ => LiteralValue::Text(value.to_string()),
    };
    parse_override_target(target, value).with_context(|| format!("--set {text}"))
}

/// Reads `RULE.PARAM` and `RULE.PARAM@NODE`.
pub fn parse_override_target(target: &str, value: LiteralValue) -> anyhow::Result<Override> {
    let Some((rule, param)) = target.split_once('.') else {
        bail!("{target}: expected RULE.PARAM or RULE.PARAM@NODE")
    };
    let (param, node) = match param.split_once('@') {
        Some((param, node)) => (param, Some(node.to_string())),
        None => (param, None),
    };
    if node.as_deref() == Some("") {
        bail!("{target}: the node's name is empty, expected RULE.PARAM or RULE.PARAM@NODE");
    }
    Ok(Override { rule: rule.to_string(), param: param.to_string(), node, value })
}

/// What is wrong with a rule's documentation.
pub fn header_errors(rule: &Rule) -> Vec<RuleError> {
    let missing = rule.header.missing();
    let complaint = |part: &&str| {
        let message = format!("the header has no `{part}`; it becomes the alert's runbook");
        let complaint = tocsin_engine::rules::literal::Complaint::new(Position::NONE, message);
        RuleError::new(&rule.path, &complaint)
    };
    missing.iter().map(complaint).collect()
}

/// True for lists of series.
pub fn is_list(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == series_file::FILE)
}

/// True for rule files.
pub fn is_rule(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "rhai")
}

/// Collects the rule files and lists of series below a path. A list beside a file that is named goes with it.
pub fn find_rules(path: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    find(path, &|file| is_rule(file) || is_list(file), found)?;
    if is_rule(path) {
        let beside = path.with_file_name(series_file::FILE);
        found.extend(Some(beside).filter(|beside| beside.is_file()));
    }
    Ok(())
}

/// Collects the files below a path that fit, in order of their names. What is below and cannot be looked at, as a link
/// to nowhere, counts as a file if its name fits: whoever reads it finds out. It is left out otherwise.
pub fn find(path: &Path, fits: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if fs::metadata(path)?.is_file() {
        if fits(path) {
            found.push(path.to_path_buf());
        }
        return Ok(());
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        match fs::metadata(&entry) {
            Ok(_) => find(&entry, fits, found)?,
            Err(_) if fits(&entry) => found.push(entry),
            Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tocsin_engine::rules::series::Series;

    use super::*;

    const GENERIC: &str = "//! Much.\n//!\n//! Why: it is rare.\n\
        const RULE = #{ severity: \"warning\", for_each: \"series\", params: #{ max: 5 },\n    \
        windows: #{ x: \"series\", all: #{ count: \"message\", over: \"1m\", by: [] } } };\n\
        fn check(w, params) { if w.x > params.max && w.all > 0 { #{ value: w.x, summary: `${params.series} ${params.unit}` } } }\n";
    const LIST: &str = "[[series]]\nname = \"bytes\"\nwhy = \"a flood\"\nsum = \"message.size\"\nover = \"10m\"\n\
        by = [\"message.command\"]\n\n[[series]]\nname = \"blocks\"\nwhy = \"they come\"\ncount = \"validation.block_connected\"\n\
        over = \"1d\"\n";

    fn load(list: &str, generic: &str, configuration: &str) -> LoadedRules {
        let files = [("rules/series.toml", list), ("rules/much.rhai", generic)];
        load_texts(files.into_iter(), &series_file::read_among_others("tocsin.toml", configuration))
    }

    #[track_caller]
    fn check_errors(loaded: &LoadedRules, expected: &[&[&str]]) {
        let found: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, words) in found.iter().zip(expected) {
            for word in *words {
                assert!(found.contains(word), "{found:?} does not say {word:?}");
            }
        }
    }

    fn names(loaded: &LoadedRules) -> Vec<&str> {
        loaded.rules.iter().map(|rule| &*rule.name).collect()
    }

    fn param<'r>(library: &'r Library, rule: &str, param: &str, node: &str) -> &'r LiteralValue {
        let rule = library.rules().iter().find(|found| found.name == rule).expect("the rule is there");
        &rule.params.on(node).iter().find(|(name, _)| name == param).expect("the param is there").1
    }

    #[test]
    fn a_generic_file_is_a_rule_for_each_series() {
        let loaded = load(LIST, GENERIC, "");
        check_errors(&loaded, &[]);
        assert_eq!(names(&loaded), ["much_bytes", "much_blocks"]);
        let [bytes, blocks] = &loaded.rules[..] else { panic!("two rules") };
        assert_eq!((&bytes.key_names[..], blocks.key_names.len()), (&["command".to_string()][..], 0));
        assert_eq!(bytes.series.as_deref(), Some("bytes"));
        assert_eq!(bytes.header.why, "a flood it is rare.");
        assert_eq!(bytes.definition.windows[0].text, "message.size");
        assert_ne!(bytes.digest, blocks.digest);
        assert_eq!(loaded.generic["much"], 2);
        let (library, errors) = loaded.into_library(&[]).expect("no overrides");
        assert_eq!(errors, []);
        let text = |rule, name| match param(&library, rule, name, "") {
            LiteralValue::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text("much_bytes", "series"), "bytes");
        assert_eq!(
            (text("much_bytes", "unit"), text("much_blocks", "unit")),
            ("bytes".into(), String::new())
        );
    }

    #[test]
    fn a_parameter_of_the_file_holds_for_all_its_rules_and_that_of_a_rule_for_one() {
        let set = ["much_bytes.max=7", "much.max=6", "much.max@alice=1", "much_blocks.max@alice=2"];
        let set: Vec<Override> = set.iter().map(|text| parse_override(text).expect("right")).collect();
        let (library, _) = load(LIST, GENERIC, "").into_library(&set).expect("they fit");
        let max = |rule, node| match param(&library, rule, "max", node) {
            LiteralValue::Int(value) => *value,
            other => panic!("{other:?}"),
        };
        assert_eq!((max("much_bytes", "bob"), max("much_blocks", "bob")), (7, 6));
        assert_eq!((max("much_bytes", "alice"), max("much_blocks", "alice")), (1, 2));
        // What a series says is no parameter to be set.
        for given in ["much_bytes.effect_min=7", "much.unit=x", "much_bytes.step=1s", "much.per@alice=x"] {
            let set = [parse_override(given).expect("right")];
            let error = load(LIST, GENERIC, "").into_library(&set).expect_err(given).to_string();
            assert!(error.contains("is given by the series") && error.contains("[[series]]"), "{error}");
        }
        let wrong = [parse_override("much_byts.max=1").expect("right")];
        let error = load(LIST, GENERIC, "").into_library(&wrong).expect_err("no such rule").to_string();
        assert!(error.contains("much_bytes"), "{error}");
    }

    #[test]
    fn a_rule_knows_the_step_of_its_series_and_what_is_a_total_of_it() {
        let list = "[[series]]\nname = \"a\"\nwhy = \"x\"\nanomaly = \"message\"\ntake = \"count\"\n\
            [[series]]\nname = \"b\"\nwhy = \"x\"\nanomaly = \"message.size\"\nstep = \"1m\"\n";
        let generic = "const RULE = #{ severity: \"info\", for_each: \"series\", every: \"5s\", windows: #{ x: \"series\" } };\n\
            fn check(w, params) { if w.x != () { #{ summary: `${params.step}${params.per}` } } }\n";
        let (library, errors) = load(list, generic, "").into_library(&[]).expect("no overrides");
        assert_eq!(errors, []);
        let text = |rule, name| match param(&library, rule, name, "") {
            LiteralValue::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!([text("much_a", "step"), text("much_a", "per")], ["10s", " in 10s"]);
        assert_eq!([text("much_b", "step"), text("much_b", "per")], ["1m", ""]);
    }

    #[test]
    fn what_is_wrong_with_a_series_is_said_of_it_and_the_others_run() {
        let list = LIST.replace("message.size", "message.sise");
        let loaded = load(&list, GENERIC, "");
        check_errors(&loaded, &[&["rules/series.toml:4:7: series bytes", "sise", "size"]]);
        assert_eq!(names(&loaded), ["much_blocks"]);
        // A parameter of it is none of a rule that is misspelt.
        let set = [parse_override("much_bytes.max=1").expect("right")];
        assert!(loaded.into_library(&set).is_ok());
        let check = |from: &str, to: &str, words: &[&str]| {
            check_errors(&load(&LIST.replacen(from, to, 1), GENERIC, ""), &[words]);
        };
        check("by =", "why2 =", &["series.toml:6:1: series bytes: there is no key \"why2\"", "why"]);
        check("why = \"a flood\"", "why = \"\"", &["series.toml:1", "bytes", "no why"]);
        check("over = \"10m\"", "over = \"soon\"", &["series.toml:5", "bytes", "soon"]);
        check("\"bytes\"", "\"two words\"", &["series.toml:2", "two words", "letters"]);
        check("name = \"bytes\"\n", "", &["series.toml:1", "name"]);
        check("[[series]]", "[[sereis]]", &["series.toml:1", "sereis", "[[series]]"]);
        check("\"blocks\"", "\"bytes\"", &["series.toml:8", "bytes", "twice", "series.toml:1"]);
        check("[\"message.command\"]", "[\"message.comand\"]", &["series.toml:6", "bytes", "command"]);
        check("sum =", "sum ", &["series.toml:4"]);
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said_once() {
        let check = |from: &str, to: &str, words: &[&str]| {
            let loaded = load(LIST, &GENERIC.replacen(from, to, 1), "");
            check_errors(&loaded, &[words]);
            assert_eq!(names(&loaded), [""; 0]);
        };
        check("params.max", "params.mx", &["rules/much.rhai:6", "mx", "max"]);
        check("for_each: \"series\"", "for_each: \"node\"", &["much.rhai:4", "series"]);
        check("x: \"series\"", "x: #{ count: \"message\", over: \"1m\" }", &["much.rhai", "for_each"]);
        check("params: #{ max: 5 }", "params: #{ max: 5, unit: 1 }", &["much.rhai:4", "unit"]);
        check(
            "severity: \"warning\"",
            "severity: \"warning\", by: [\"message.peer_id\"]",
            &["much.rhai:4", "by"],
        );
        check("severity: \"warning\"", "severity: \"bad\"", &["much.rhai:4", "bad"]);
        // What is wrong with several series is, too.
        let more = "[[series]]\nname = \"pings\"\nwhy = \"x\"\ncount = \"message.ping\"\nover = \"1m\"\nby = [\"message.command\"]\n";
        let of_blocks = "all: #{ count: \"validation.block_connected\", over: \"1m\" }";
        let generic = GENERIC.replace("all: #{ count: \"message\", over: \"1m\", by: [] }", of_blocks);
        let loaded = load(&format!("{LIST}{more}"), &generic, "");
        check_errors(&loaded, &[&["rules/much.rhai:5", "command", "with 2 series, such as bytes"]]);
        assert_eq!(names(&loaded), ["much_blocks"]);
        // A window that one series cannot go with.
        let loaded = load(LIST, &GENERIC.replace("by: []", "where: #{ inbound: true }"), "");
        check_errors(&loaded, &[]);
        let of_peers = "all: #{ count: \"connection.inbound\", over: \"1m\" }";
        let loaded =
            load(LIST, &GENERIC.replace("all: #{ count: \"message\", over: \"1m\", by: [] }", of_peers), "");
        check_errors(&loaded, &[&["rules/series.toml:1", "bytes", "much.rhai", "command"]]);
        assert_eq!(names(&loaded), ["much_blocks"]);
    }

    #[test]
    fn the_configuration_adds_changes_and_switches_off() {
        let check = |configuration: &str, expected: &[&str], errors: &[&[&str]]| {
            let loaded = load(LIST, GENERIC, configuration);
            check_errors(&loaded, errors);
            assert_eq!(names(&loaded), expected);
            loaded
        };
        check("[[series]]\nname = \"blocks\"\noff = true\n", &["much_bytes"], &[]);
        let more = "[[series]]\nname = \"pings\"\nwhy = \"x\"\ncount = \"message.ping\"\nover = \"1m\"\n";
        check(more, &["much_bytes", "much_blocks", "much_pings"], &[]);
        let loaded = check(
            "[[series]]\nname = \"bytes\"\nover = \"1h\"\nby = []\n",
            &["much_bytes", "much_blocks"],
            &[],
        );
        let changed = &loaded.rules[0];
        assert_eq!((changed.definition.windows[0].window.over_ms, changed.key_names.len()), (3_600_000, 0));
        assert_eq!(changed.definition.windows[0].text, "message.size");
        check(
            "data = 1\n[[series]]\nname = \"bytes\"\nover = \"1x\"\n",
            &["much_blocks"],
            &[&["tocsin.toml:4", "bytes", "1x"]],
        );
        check(
            "[[series]]\nname = \"byts\"\noff = true\n",
            &["much_bytes", "much_blocks"],
            &[&["tocsin.toml:1", "byts", "bytes"]],
        );
        check(
            &format!("{more}{more}"),
            &["much_bytes", "much_blocks", "much_pings"],
            &[&["tocsin.toml:6", "twice"]],
        );
        // So with other keys: without why and a quantity it can only be a change.
        check(
            "[[series]]\nname = \"byts\"\neffect_min = 5\nover = \"1h\"\n",
            &["much_bytes", "much_blocks"],
            &[&["tocsin.toml:1", "byts", "no such series to change, nearest: bytes"]],
        );
        // A parameter of what is switched off has no effect, and is no error.
        let set = [parse_override("much_blocks.max=9").expect("right")];
        let off = "[[series]]\nname = \"blocks\"\noff = true\n";
        assert!(load(LIST, GENERIC, off).into_library(&set).is_ok());
        // What is off in the list can be switched on.
        let list = LIST.replace("name = \"blocks\"", "name = \"blocks\"\noff = true");
        assert_eq!(names(&load(&list, GENERIC, "")), ["much_bytes"]);
        let on = "[[series]]\nname = \"blocks\"\noff = false\n";
        assert_eq!(names(&load(&list, GENERIC, on)), ["much_bytes", "much_blocks"]);
    }

    #[test]
    fn a_rule_of_a_series_needs_a_name_of_its_own() {
        let plain = "const RULE = #{ severity: \"info\", windows: #{ n: #{ count: \"message\", over: \"1m\" } } };\n\
            fn check(w, params) { if w.n > 5 { #{} } }\n";
        let files = [("much.rhai", GENERIC), ("much_bytes.rhai", plain), ("series.toml", LIST)];
        let loaded = load_texts(files.into_iter(), &WrittenSeries::default());
        check_errors(&loaded, &[&["much_bytes.rhai", "another rule", "much_bytes"]]);
        assert_eq!(names(&loaded), ["much_bytes", "much_blocks"]);
    }

    #[test]
    fn a_generic_file_without_series_is_wrong_unless_they_are_switched_off() {
        check_errors(&load("", GENERIC, ""), &[&["much.rhai", "series.toml"]]);
        let off = LIST.replace("name =", "off = true\nname =");
        check_errors(&load(&off, GENERIC, ""), &[]);
    }

    #[test]
    fn many_series_load_in_no_time() {
        let list: String = (0..200)
            .map(|number| {
                LIST.replace("bytes\"\n", &format!("bytes{number}\"\n"))
                    .split("\n\n")
                    .next()
                    .map(|one| format!("{one}\n"))
                    .expect("one")
            })
            .collect();
        let loaded = load(&list, GENERIC, "");
        assert_eq!((loaded.rules.len(), loaded.errors.len()), (200, 0));
        let shared = |rule: &Rule| std::sync::Arc::ptr_eq(&rule.script, &loaded.rules[0].script);
        assert!(loaded.rules.iter().all(shared), "the script is compiled once");
    }

    #[test]
    fn a_series_is_read_with_its_place() {
        let read = series_file::read_list("series.toml", LIST);
        let list = SeriesList::new(Schema::embedded(), read.series, &[]);
        let units: Vec<(&str, &str)> =
            list.series.iter().map(|Series { name, unit, .. }| (&**name, &**unit)).collect();
        assert_eq!(units, [("bytes", "bytes"), ("blocks", "")]);
    }
}
