//! The program: everything is in the library.

use std::process::ExitCode;

/// Gives memory back after a burst and does not slow down when threads share it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vectoros::cli::main()
}
