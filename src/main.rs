//! The daemon.

mod program;

fn main() {
    let mut arguments = Vec::new();
    for argument in std::env::args_os().skip(1) {
        match argument.into_string() {
            Ok(argument) => arguments.push(argument),
            Err(argument) => {
                eprintln!("wharfd: '{}' is not UTF-8", argument.display());
                std::process::exit(100);
            }
        }
    }
    if let Some((word, rest)) = arguments.split_first()
        && word == "passwd"
    {
        std::process::exit(program::passwd::run(rest));
    }
}
