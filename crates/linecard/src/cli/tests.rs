//! What holds for every command.

use super::*;
use clap::CommandFactory;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_socket_stands_before_the_noun_or_behind_it() {
    let socket = |words: &[&str]| {
        let cli = Cli::try_parse_from(words).expect("it is understood");
        let Command::Show(show) = cli.command else { panic!("show") };
        let ShowCommand::Drops { daemon, .. } = show.command else { panic!("drops") };
        daemon.socket
    };
    for words in [
        &["linecard", "show", "--socket", "/tmp/s", "drops"],
        &["linecard", "show", "drops", "--socket", "/tmp/s"],
    ] {
        assert_eq!(socket(words), PathBuf::from("/tmp/s"), "{words:?}");
    }
    assert_eq!(socket(&["linecard", "show", "drops"]), PathBuf::from(SOCKET_DEFAULT));
}

/// All commands, with their names from the first on.
fn commands() -> Vec<(String, clap::Command)> {
    fn add(name: &str, command: &clap::Command, all: &mut Vec<(String, clap::Command)>) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            add(&format!("{name} {}", inner.get_name()), inner, all);
        }
        all.push((name.to_owned(), command.clone()));
    }
    let mut command = Cli::command();
    command.build();
    let mut all = Vec::new();
    add("linecard", &command, &mut all);
    all
}

#[test]
fn help_fits_a_terminal_and_has_examples() {
    let commands = commands();
    assert!(commands.len() > 20, "{}", commands.len());
    for (name, mut command) in commands {
        let help = command.render_long_help().to_string();
        let wide = help.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{name}");
        let example = format!("\n  {name}");
        let has_example = help.contains("Examples:") || help.contains("Example:");
        assert!(
            has_example && (help.contains(&example) || help.contains("sudo linecard")),
            "{name}: {help}"
        );
    }
}

#[test]
fn a_state_that_there_is_not_is_refused_with_those_that_there_are() {
    let words = ["linecard", "show", "connections", "--state", "nope"];
    let error = Cli::try_parse_from(words).expect_err("there is no such state").to_string();
    assert!(error.contains("nope") && error.contains("established, "), "{error}");
}
