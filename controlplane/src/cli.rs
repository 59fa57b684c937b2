//! The command line: what may be typed, and the short commands that need no server.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::{Parser, Subcommand};
use zeroize::{Zeroize, Zeroizing};

use crate::accounts::{Accounts, is_account_name};
use crate::config::Config;
use crate::password::Password;
use crate::privacy::{Language, export};
use crate::random;
use crate::server::Failure;

/// Self-hosted, privacy-first video conferences in one binary.
#[derive(Parser)]
#[command(name = "saal", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the server (the same as `saal` alone)
    Serve(Serve),
    /// Check the configuration and print the effective table
    Check {
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Manage the accounts that may open rooms
    Organizer {
        #[command(subcommand)]
        action: Organizer,
    },
    /// Print what the data protection officer needs
    Compliance {
        #[command(subcommand)]
        action: Compliance,
    },
    /// Say what this machine offers, what stands in the way, and how to mend it; exit code 0: ready for production
    Doctor {
        /// For machines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        file: ConfigFile,
    },
}

#[derive(clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// Serve the page from this directory instead of the one in the binary
    #[arg(long, value_name = "DIR")]
    pub(crate) web_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Compliance {
    /// Record of processing activities, measures, data flow, retention and input for an impact assessment, as Markdown
    Export {
        #[arg(long, value_enum, default_value = "de")]
        lang: Language,
        #[command(flatten)]
        file: ConfigFile,
    },
}

#[derive(Subcommand)]
pub(crate) enum Organizer {
    /// Add an account; without a terminal and without input a password is made up and shown
    Add {
        name: String,
        /// Give an account that exists another password
        #[arg(long)]
        replace: bool,
        /// Read the password from standard input without asking
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List the accounts
    List {
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Remove an account; its sessions end
    Remove {
        name: String,
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// Shorter ones are guessed.
const PASSWORD_CHARACTERS_MIN: usize = 8;

pub(crate) fn load(file: &ConfigFile) -> Result<Config, Failure> {
    Config::load(file.config.as_deref()).map_err(Failure::Config)
}

#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
pub(crate) fn check(file: &ConfigFile) -> Result<(), Failure> {
    let table = load(file)?.table().map_err(|error| Failure::Runtime(error.to_string()))?;
    print!("{table}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the papers are what was asked for")]
pub(crate) fn compliance(action: &Compliance) -> Result<(), Failure> {
    let Compliance::Export { lang, file } = action;
    print!("{}", export::markdown(&load(file)?, *lang));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
pub(crate) fn organizer(action: Organizer) -> Result<(), Failure> {
    match action {
        Organizer::Add { name, replace, password_stdin, file } => add(&name, replace, password_stdin, &file),
        Organizer::List { file } => {
            open(&file)?.names().for_each(|name| println!("{name}"));
            Ok(())
        }
        Organizer::Remove { name, file } => open(&file)?.remove(&name).map_err(Failure::Runtime),
    }
}

#[expect(clippy::print_stdout, reason = "a made-up password must be told to somebody")]
fn add(name: &str, replace: bool, password_stdin: bool, file: &ConfigFile) -> Result<(), Failure> {
    if !is_account_name(name) {
        return Err(Failure::Config("a name has 1 to 64 letters, digits and . @ _ -".into()));
    }
    let mut accounts = open(file)?;
    if !replace && accounts.hash_of(name).is_some() {
        return Err(Failure::Runtime(format!("{name} exists; --replace gives another password")));
    }
    let typed = read_password(password_stdin).map_err(|error| Failure::Runtime(error.to_string()))?;
    let is_made_up = typed.is_empty() && !password_stdin;
    let password = if is_made_up { random::password() } else { typed };
    if password.chars().count() < PASSWORD_CHARACTERS_MIN || password.len() > Password::LEN_MAX {
        let why = format!("a password has {PASSWORD_CHARACTERS_MIN} characters at least, 256 bytes at most");
        return Err(Failure::Config(why));
    }
    accounts.add(name, &Password::new(password.as_str())).map_err(Failure::Runtime)?;
    if is_made_up {
        println!("password: {}", *password);
    }
    Ok(())
}

fn open(file: &ConfigFile) -> Result<Accounts, Failure> {
    let path = accounts_path(file)?;
    Accounts::open(&path).map_err(Failure::Runtime)
}

/// A configuration that cannot be served yet because the accounts are missing must do here.
fn accounts_path(file: &ConfigFile) -> Result<PathBuf, Failure> {
    let config = load(file)?;
    config.organizers.file.ok_or_else(|| {
        let name = file.config.as_deref().unwrap_or(Path::new("FILE")).display();
        Failure::Config(format!(
            "no organizers file: put `[organizers]` and `file = \"...\"` into {name} and pass --config {name}"
        ))
    })
}

/// One line from standard input; a person at a terminal is asked twice and nothing is shown.
fn read_password(quietly: bool) -> std::io::Result<Zeroizing<String>> {
    if quietly || !std::io::stdin().is_terminal() {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().take(4096).read_to_string(&mut text)?;
        return Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()));
    }
    let echo = |argument| Process::new("stty").arg(argument).status();
    let ask = |question: &str| {
        eprint!("{question}: ");
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut line)?;
        eprintln!();
        Ok::<_, std::io::Error>(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
    };
    let _ = echo("-echo");
    let answers = ask("password").and_then(|first| Ok((first, ask("once more")?)));
    let _ = echo("echo");
    let (mut first, second) = answers?;
    if *first != *second {
        first.zeroize();
        return Err(std::io::Error::other("the two passwords differ"));
    }
    Ok(first)
}
