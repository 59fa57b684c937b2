//! Saal: one process that serves the page, signs organizers in, keeps rooms, and starts the media workers.
//!
//! How to read this: `server` starts the parts; `http` and `api` answer requests; `signal` is a participant's WebSocket;
//! `whip` lets in clients without the page; `rooms` holds the rules of a room's life without any I/O; `hall` connects
//! rooms, sockets and workers; `media` is the only door to the data plane; `sdp` alone knows session descriptions;
//! `journal` is all that is written down; `privacy` says what all of this holds about people, and `self_check` looks
//! whether anything of a room is left.
#![forbid(unsafe_code)]

mod accounts;
mod addresses;
mod api;
mod assets;
mod auth;
mod cli;
mod config;
mod date;
mod doctor;
mod hall;
mod http;
mod journal;
mod limit;
mod load;
mod log;
mod media;
mod metrics;
mod names;
mod password;
mod privacy;
mod random;
mod receipt;
mod rooms;
mod sdp;
mod self_check;
mod server;
mod signal;
mod site;
mod status;
mod tls;
mod whip;

use std::process::ExitCode;

use clap::Parser;
use saal_dataplane::io::memory::Zeroing;

use crate::cli::{Arguments, Command, Serve};
use crate::server::Failure;

/// Whatever is freed is zeros: names, passwords, chat, addresses and keys, in our memory and in that of every library.
#[global_allocator]
static ALLOCATOR: Zeroing<mimalloc::MiMalloc> = Zeroing(mimalloc::MiMalloc);

fn main() -> ExitCode {
    log::install_panic_hook();
    let arguments = Arguments::parse();
    let serve = |Serve { file, web_dir }: Serve| server::run(cli::load(&file)?, web_dir);
    let result = match arguments.command {
        None => serve(arguments.serve),
        Some(Command::Serve(arguments)) => serve(arguments),
        Some(Command::Check { file }) => cli::check(&file),
        Some(Command::Organizer { action }) => cli::organizer(action),
        Some(Command::Compliance { action }) => cli::compliance(&action),
        Some(Command::Doctor { json, file }) => {
            cli::load(&file).and_then(|config| doctor::examine(&config, json))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Runtime(why)) => {
            eprintln!("saal: {why}");
            ExitCode::from(1)
        }
        Err(Failure::Config(why)) => {
            eprintln!("saal: {why}");
            ExitCode::from(2)
        }
    }
}
