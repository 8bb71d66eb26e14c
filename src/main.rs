//! The `lookout` program: everything it does is in the library.

fn main() -> std::process::ExitCode {
    lookout::cli::main(std::env::args_os().collect())
}
