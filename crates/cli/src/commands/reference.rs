//! `armory reference`: the commands as Markdown, made of what `--help` is made of.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::{Arg, Command, CommandFactory as _};

use crate::args::Arguments;
use crate::exit::Exit;

pub(super) fn run() -> anyhow::Result<Exit> {
    io::stdout().lock().write_all(markdown().as_bytes())?;
    Ok(Exit::Done)
}

fn markdown() -> String {
    let mut root = Arguments::command();
    root.build();
    let mut text = String::from(
        "# Command reference\n\nMade by `armory reference` of what `--help` prints; a test compares the two.\n",
    );
    describe_all(&mut text, &mut root);
    text
}

/// Describes a command, then those below it.
fn describe_all(text: &mut String, command: &mut Command) {
    describe(text, command);
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names {
        if let Some(command) = command.find_subcommand_mut(&name) {
            describe_all(text, command);
        }
    }
}

fn describe(text: &mut String, command: &mut Command) {
    let usage = command.render_usage().to_string();
    let usage: Vec<&str> = usage
        .lines()
        .map(|line| line.trim().trim_start_matches("Usage: "))
        .collect();
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let _ = writeln!(text, "\n## {name}\n");
    let about = command.get_long_about().or(command.get_about());
    let _ = writeln!(
        text,
        "{}",
        about.map(ToString::to_string).unwrap_or_default()
    );
    let _ = writeln!(text, "\n```text\n{}\n```", usage.join("\n"));
    let positional: Vec<&Arg> = command.get_positionals().collect();
    let options: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| !argument.is_positional() && !argument.is_hide_set())
        .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        .collect();
    for (title, arguments) in [("Arguments", positional), ("Options", options)] {
        // The logging options belong to every command; they are told once, with the program.
        let arguments: Vec<&Arg> = arguments
            .into_iter()
            .filter(|arg| is_told_with(arg, name))
            .collect();
        if arguments.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}:\n");
        for argument in arguments {
            describe_argument(text, argument);
        }
    }
    if let Some(more) = command.get_after_long_help() {
        let _ = writeln!(text, "\n```text\n{more}\n```");
    }
}

/// Is the option told with this command?
fn is_told_with(argument: &Arg, command: &str) -> bool {
    !argument.is_global_set() || command == "armory"
}

fn describe_argument(text: &mut String, argument: &Arg) {
    let mut names = Vec::new();
    if let Some(short) = argument.get_short() {
        names.push(format!("-{short}"));
    }
    if let Some(long) = argument.get_long() {
        names.push(format!("--{long}"));
    }
    let takes_values = argument.get_action().takes_values();
    let value = takes_values
        .then(|| argument.get_value_names().map(|names| names.join(" ")))
        .flatten()
        .map(|name| format!("<{name}>"));
    let mut title = names.join(", ");
    if let Some(value) = value {
        if !title.is_empty() {
            title.push(' ');
        }
        title.push_str(&value);
    }
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "- `{title}`: {}", help.replace('\n', " "));
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| takes_values)
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        let _ = write!(text, ". One of {}", values.join(", "));
    }
    let defaults: Vec<String> = argument
        .get_default_values()
        .iter()
        .filter(|_| takes_values)
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if !defaults.is_empty() {
        let _ = write!(text, ". Default: {}", defaults.join(", "));
    }
    if let Some(variable) = argument.get_env() {
        let _ = write!(text, ". Environment: `{}`", variable.to_string_lossy());
    }
    text.push('\n');
}
