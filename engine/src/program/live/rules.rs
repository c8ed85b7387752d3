//! The rule files of a running program and their lists of series: loaded, watched, and loaded again when one changes.
//!
//! A file that no longer loads leaves the version running that did; so does a list of series with anything wrong in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::bail;
use tocsin_engine::engine::Library;
use tocsin_engine::rules::RuleError;
use tocsin_engine::rules::series_file::WrittenSeries;

use super::super::rule_files::{self, find_rules};
use super::config::Rules;

/// Loads the rules and remembers what loaded.
#[derive(Debug)]
pub struct Loader {
    settings: Rules,
    /// The series of the configuration.
    series: WrittenSeries,
    /// The newest text of each file that loaded.
    good: BTreeMap<PathBuf, String>,
    seen: Vec<Seen>,
}

/// A rule file with what shows that it changed.
#[derive(Debug, PartialEq)]
struct Seen {
    path: PathBuf,
    modified: Option<SystemTime>,
    bytes: u64,
}

/// Rules ready to run, and what kept others from it.
#[derive(Debug)]
pub struct Loaded {
    /// The rules.
    pub library: Library,
    /// What is wrong, one text each.
    pub errors: Vec<String>,
}

impl Loader {
    /// A loader that has loaded nothing.
    pub fn new(settings: Rules, series: WrittenSeries) -> Self {
        Loader { settings, series, good: BTreeMap::new(), seen: Vec::new() }
    }

    /// True if a file was added, removed or written to since [`Loader::load`].
    pub fn has_changed(&self) -> bool {
        self.look().0 != self.seen
    }

    /// [`Loader::load`] at the start, where a folder that cannot be read is an error.
    pub fn load_first(&mut self) -> anyhow::Result<Loaded> {
        if let Some(error) = self.look().1.first() {
            bail!("{error}, expected a folder or a .rhai file");
        }
        self.load()
    }

    /// Loads all rules. Errs if the configuration's overrides fit no rule; broken rule files are errors in the result.
    pub fn load(&mut self) -> anyhow::Result<Loaded> {
        let (seen, mut errors) = self.look();
        self.seen = seen;
        let mut texts = BTreeMap::new();
        for Seen { path, .. } in &self.seen {
            match std::fs::read_to_string(path) {
                Ok(text) => _ = texts.insert(path.clone(), text),
                Err(error) => {
                    errors.push(format!("{}: cannot be read: {error}", path.display()));
                    texts.extend(self.good.get(path).map(|text| (path.clone(), text.clone())));
                }
            }
        }
        let mut loaded = self.merge(&texts)?;
        let broken: Vec<PathBuf> = loaded.1.iter().map(|error| PathBuf::from(&error.path)).collect();
        errors.extend(loaded.1.iter().map(RuleError::to_string));
        let mut is_replaced = false;
        for path in &broken {
            match self.good.get(path).filter(|good| texts.get(path) != Some(*good)) {
                Some(good) => {
                    texts.insert(path.clone(), good.clone());
                    is_replaced = true;
                }
                None => _ = texts.remove(path),
            }
        }
        if is_replaced {
            loaded = self.merge(&texts)?;
            for error in &loaded.1 {
                texts.remove(Path::new(&error.path));
            }
        }
        self.good = texts;
        Ok(Loaded { library: loaded.0, errors })
    }

    fn merge(&self, texts: &BTreeMap<PathBuf, String>) -> anyhow::Result<(Library, Vec<RuleError>)> {
        let paths: Vec<String> = texts.keys().map(|path| path.display().to_string()).collect();
        let files = paths.iter().map(String::as_str).zip(texts.values().map(String::as_str));
        rule_files::load_texts(files, &self.series).into_library(&self.settings.set)
    }

    /// The rule files with what shows that they changed, and what could not be looked at.
    fn look(&self) -> (Vec<Seen>, Vec<String>) {
        let (mut files, mut errors) = (Vec::new(), Vec::new());
        for path in &self.settings.paths {
            if let Err(error) = find_rules(path, &mut files) {
                errors.push(format!("{}: cannot read rules: {error}", path.display()));
                // What cannot be seen is not gone: its rules run on.
                files.extend(self.good.keys().filter(|file| file.starts_with(path)).cloned());
            }
        }
        files.sort();
        files.dedup();
        let about = |path: PathBuf| {
            let about = path.metadata().ok();
            let modified = about.as_ref().and_then(|about| about.modified().ok());
            Seen { path, modified, bytes: about.map_or(0, |about| about.len()) }
        };
        (files.into_iter().map(about).collect(), errors)
    }
}

#[cfg(test)]
mod tests {
    use tocsin_engine::rules::series_file;

    use super::*;

    const RULE: &str = "//! x\nconst RULE = #{ severity: \"info\", status: \"stable\", every: \"5s\",\n    \
                        windows: #{ pings: #{ count: \"message\", over: \"1m\" } } };\n\
                        fn check(w, params) { if w.pings > LIMIT { #{ value: w.pings, limit: LIMIT, summary: \"x\" } } }\n";

    #[test]
    fn a_broken_file_leaves_its_last_good_version_running() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("writable");
        };
        write("one.rhai", &RULE.replace("LIMIT", "1"));
        write("two.rhai", &RULE.replace("LIMIT", "2"));
        let settings = Rules { paths: vec![folder.path().into()], ..Rules::default() };
        let mut loader = Loader::new(settings, WrittenSeries::default());
        let loaded = loader.load().expect("rules");
        assert_eq!((loaded.library.rules().len(), loaded.errors.len()), (2, 0), "{:?}", loaded.errors);
        assert!(!loader.has_changed());

        write("one.rhai", "const RULE = ");
        assert!(loader.has_changed());
        let loaded = loader.load().expect("rules");
        assert_eq!(loaded.library.rules().len(), 2);
        assert!(loaded.errors[0].contains("one.rhai:1"), "{:?}", loaded.errors);
        assert!(!loader.has_changed());

        std::fs::remove_file(folder.path().join("one.rhai")).expect("removable");
        let loaded = loader.load().expect("rules");
        assert_eq!((loaded.library.rules().len(), loaded.errors.len()), (1, 0));
    }

    #[test]
    fn a_file_broken_from_the_start_keeps_no_other_from_running() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("good.rhai"), RULE.replace("LIMIT", "1")).expect("writable");
        std::fs::write(folder.path().join("bad.rhai"), [0xff, 0xfe]).expect("writable");
        let settings = Rules { paths: vec![folder.path().into()], ..Rules::default() };
        let loaded = Loader::new(settings, WrittenSeries::default()).load().expect("rules");
        assert_eq!((loaded.library.rules().len(), loaded.errors.len()), (1, 1));
    }

    #[test]
    fn a_list_of_series_is_loaded_again_and_a_broken_one_leaves_its_rules_running() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("writable");
        };
        let generic = RULE.replace("LIMIT", "1").replace("every: \"5s\"", "for_each: \"series\"");
        write("much.rhai", &generic.replace("#{ count: \"message\", over: \"1m\" }", "\"series\""));
        let one = "[[series]]\nname = \"pings\"\nwhy = \"x\"\ncount = \"message.ping\"\nover = \"1m\"\n";
        write("series.toml", one);
        let settings = Rules { paths: vec![folder.path().into()], ..Rules::default() };
        let more = "[[series]]\nname = \"here\"\nwhy = \"x\"\ncount = \"uptime\"\nover = \"1m\"\n";
        let series = series_file::read_among_others("tocsin.toml", more);
        let mut loader = Loader::new(settings, series);
        let names = |loaded: &Loaded| -> Vec<String> {
            loaded.library.rules().iter().map(|rule| rule.name.clone()).collect()
        };
        let loaded = loader.load().expect("rules");
        assert_eq!(names(&loaded), ["much_pings", "much_here"]);
        assert_eq!(loaded.errors, [""; 0]);

        write("series.toml", &format!("{one}{}", one.replace("pings", "pongs")));
        assert!(loader.has_changed());
        assert_eq!(names(&loader.load().expect("rules")), ["much_pings", "much_pongs", "much_here"]);

        write("series.toml", &one.replace("message.ping", "message.pin"));
        let loaded = loader.load().expect("rules");
        assert_eq!(names(&loaded), ["much_pings", "much_pongs", "much_here"]);
        assert!(loaded.errors[0].contains("series.toml:4"), "{:?}", loaded.errors);
    }
}
