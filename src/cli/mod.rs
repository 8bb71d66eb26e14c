//! The command line: one file a subcommand, each a thin layer over the library.
//!
//! Answers go to standard output, as text for people or (`--json`) as one object on one line. Errors go to standard error
//! as `error: ...` and `help: ...`; under `--json` they are `{"error": {"code", "message", "help"}}` on standard output.
//! Exit status: 0 done, 1 failed, 2 a command line that makes no sense, 141 the reader of the output went away.

mod args;
mod ask;
mod bench;
mod bundle;
mod camera;
mod caption;
mod check;
mod completions;
mod console;
mod embed;
mod eval;
mod find;
mod find_events;
mod flash;
mod ground;
mod label;
mod man;
mod query;
mod rerank;
mod run;
mod session;
mod update;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::{Code, Error};

use args::Global;
use console::{Console, Outcome, Stop};

/// Status of a program that was stopped by a closed pipe (128 + SIGPIPE).
const CLOSED_PIPE: u8 = 141;

/// Look at pictures offline: label, caption, ground, ask and check, in int8.
#[derive(Parser)]
#[command(name = "lookout", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  lookout label cat.jpg --labels \"a dog, a cat, an empty sofa\"
  lookout caption cat.jpg
  lookout ground street.jpg \"the red car\" --out boxes.png
  lookout find \"a dog on the beach\" ~/Pictures

Each command has its own examples: lookout label --help")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Which of these words fit the picture?
    Label(label::Label),
    /// Say in one sentence what is in the picture
    Caption(caption::Caption),
    /// Where in the picture is this? Prints boxes
    Ground(ground::Ground),
    /// Answer a question about the picture
    Ask(ask::Ask),
    /// Is this sentence supported by the picture?
    Check(check::Check),
    /// Print the embedding of a picture or a sentence
    Embed(embed::Embed),
    /// Watch cameras, and tell what happens: the daemon
    Run(run::Run),
    /// Search the pictures of a folder by words or by a picture
    Find(find::Find),
    /// Ask a running lookout over a serial line, MQTT or HTTP
    Query(query::Query),
    /// Measure a bundle on your own pictures
    Eval(eval::Eval),
    /// Measure start-up, speed and memory on this machine
    Bench(bench::Bench),
    /// The cameras of this machine
    #[command(subcommand)]
    Camera(camera::CameraCommand),
    /// Look after model bundles
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Make images of memory cards, and write them
    #[command(subcommand)]
    Flash(flash::FlashCommand),
    /// Update the system of a card that `flash image` made
    #[command(subcommand)]
    Update(update::UpdateCommand),
    /// Print a shell's completion script
    Completions(completions::Completions),
    /// Print the manual page
    Man(man::Man),
}

/// Runs the command line `args` (the program's name first) and returns its exit status.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let wants_json = args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !wants_json => {
            let _ = error.print();
            return ExitCode::from(Code::Usage.exit_status());
        }
        Err(error) => return leave(&Console::new(wants_json, false), Err(usage(&error).into())),
    };
    cli.global.start_log();
    let console = Console::new(cli.global.json, cli.global.quiet);
    leave(&console, dispatch(cli, &console))
}

fn dispatch(cli: Cli, console: &Console) -> Outcome {
    let global = &cli.global;
    match cli.command {
        Command::Label(command) => command.run(global, console),
        Command::Caption(command) => command.run(global, console),
        Command::Ground(command) => command.run(global, console),
        Command::Ask(command) => command.run(global, console),
        Command::Check(command) => command.run(global, console),
        Command::Embed(command) => command.run(global, console),
        Command::Run(command) => command.run(global, console),
        Command::Find(command) => command.run(global, console),
        Command::Query(command) => command.run(global, console),
        Command::Eval(command) => command.run(global, console),
        Command::Bench(command) => command.run(global, console),
        Command::Camera(command) => command.run(console),
        Command::Bundle(command) => command.run(global, console),
        Command::Flash(command) => command.run(console),
        Command::Update(command) => command.run(global, console),
        Command::Completions(command) => command.run(Cli::command(), console),
        Command::Man(command) => command.run(Cli::command(), console),
    }
}

fn leave(console: &Console, outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Closed) => ExitCode::from(CLOSED_PIPE),
        Err(Stop::Failed(error)) => match console.error(&error) {
            Err(Stop::Closed) => ExitCode::from(CLOSED_PIPE),
            _ => ExitCode::from(error.code().exit_status()),
        },
    }
}

/// A parser's complaint in our form: its first paragraph is the message, the tips and the usage line are the help.
fn usage(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = paragraphs.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    let mut help: Vec<String> = paragraphs
        .filter(|part| !part.is_empty() && !part.starts_with("For more information"))
        .map(|part| part.strip_prefix("tip: ").unwrap_or(&part).replacen("Usage: ", "usage: ", 1))
        .collect();
    help.push("more: add --help".to_owned());
    Error::new(Code::Usage, message, help.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_parsers_complaint_becomes_one_line_of_message_and_one_of_help() {
        let Err(error) = Cli::try_parse_from(["lookout", "label"]) else { panic!("label needs arguments") };
        let error = usage(&error);
        assert!(error.message().contains("<PICTURE>"), "{error}");
        assert!(error.help().contains("usage: lookout label"), "{}", error.help());
        assert!(!error.message().contains('\n') && !error.help().contains('\n'));
    }
}
