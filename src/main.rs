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
    if called_as_sftp_server() {
        std::process::exit(program::sftp_server::run(&arguments));
    }
    match arguments.split_first() {
        Some((word, rest)) if word == "passwd" => {
            std::process::exit(program::passwd::run(rest));
        }
        _ => {}
    }
    if let Some(at) = arguments.iter().position(|word| word == "--sftp-server") {
        arguments.remove(at);
        std::process::exit(program::sftp_server::run(&arguments));
    }
}

/// sshd and dropbear start the subsystem by its path; a link there is enough.
fn called_as_sftp_server() -> bool {
    std::env::args_os().next().is_some_and(|name| {
        std::path::Path::new(&name)
            .file_name()
            .is_some_and(|name| name == "sftp-server")
    })
}
