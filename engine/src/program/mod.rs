//! The commands of the program, one file each.

mod alerts;
pub mod arguments;
mod check;
mod client;
mod detect;
mod events;
mod expectation;
mod incident;
mod input;
mod live;
mod notify;
mod output;
mod progress;
mod repeat;
mod replay;
mod rule_files;
mod rule_test;
mod silence;
mod synthesis;
mod table;
mod test;

use arguments::{Arguments, Command};

/// How a command ended; the number is the program's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// All went well.
    Well = 0,
    /// `test`, `check` or `notify test` found something wrong.
    Failed = 1,
    /// The command could not do its work: wrong arguments, unreadable files.
    Unable = 2,
    /// The input is damaged; the results cover what could be read.
    Damaged = 3,
    /// A rule did not load or erred; the results cover the other rules.
    RuleErred = 4,
}

/// Runs a command.
pub fn run(arguments: Arguments) -> anyhow::Result<Ended> {
    match arguments.command {
        Command::Run(arguments) => live::run(&arguments),
        Command::Record(arguments) => live::record(&arguments),
        Command::Extract(arguments) => live::extract(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Detect(arguments) => detect::run(&arguments),
        Command::Alerts(arguments) => alerts::run(&arguments),
        Command::Silence(arguments) => silence::run(&arguments),
        Command::Notify(arguments) => notify::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
        Command::Repeat(arguments) => repeat::run(&arguments),
    }
}

/// Who runs this command, for silences and acknowledgements.
fn user() -> String {
    let named = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| "tocsin".to_string())
}
