//! `mainstay`: see [`mainstay::cli`].

fn main() -> std::process::ExitCode {
    mainstay::cli::main()
}
