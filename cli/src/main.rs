//! The command line of semid.

fn main() -> std::process::ExitCode {
    semid_cli::main()
}
