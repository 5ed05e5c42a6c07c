//! The command line: `vectoros [serve]`, `keys …`, `migrate`, `remap`, `receipts …`, `check`, `prices …`.

mod serve;
mod keys;
mod receipts;
mod remap;
mod check;
mod prices;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, Flags};
use crate::receiver::activation::Activation;

/// Exit code of wrong usage or configuration; clap uses the same.
const EXIT_USAGE: u8 = 2;

/// OpenTelemetry-compatible trace collector for agent runs.
#[derive(Parser)]
#[command(name = "vectoros", version, about)]
struct Cli {
    /// A TOML file with settings; `VECTOROS_CONFIG` does the same
    #[arg(long, global = true, env = "VECTOROS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the collector (what happens without a command, too)
    Serve,
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Bring the schema of the database up to date
    Migrate,
    /// Map stored spans again that were mapped by older rules, while collectors run
    Remap(remap::RemapArguments),
    /// Show what became of everything that was sent: where is my trace?
    Receipts(receipts::ReceiptsArguments),
    /// Check the configuration and the database and say what is wrong
    Check,
    /// Show what a model costs and why; with counts of tokens, what a call costs
    Prices(prices::PricesCommand),
}

/// Runs the program: 0 fine, 1 failed, 2 wrong usage or configuration.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(cli.config.as_deref(), &cli.flags) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    let sockets = match Activation::from_environment() {
        Ok(sockets) => sockets,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("the runtime cannot start")),
    };
    let done = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::run(config, sockets).await,
            Command::Keys(command) => keys::run(&config, command).await,
            Command::Migrate => check::migrate(&config).await,
            Command::Remap(arguments) => remap::run(&config, arguments).await,
            Command::Receipts(arguments) => receipts::run(&config, arguments).await,
            Command::Check => check::run(&config).await,
            Command::Prices(command) => prices::run(&config, &command),
        }
    });
    // What still runs on other threads, such as the search for a host that nobody answers, is not waited for.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<ConfigError>() {
            Some(error) => usage(error),
            None => failed(&error),
        },
    }
}

fn usage(error: &ConfigError) -> ExitCode {
    eprintln!("vectoros: {error}");
    ExitCode::from(EXIT_USAGE)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("vectoros: {error:#}");
    ExitCode::FAILURE
}
