//! wharfd: an FTP, FTPS and SFTP server.

mod program;

use program::cli::{self, Action};
use program::failure::{self, Failure};

/// SECURITY: passwords and keys are gone with the lines and packets they came in.
#[global_allocator]
static MEMORY: wharf::daemon::os::Wiping = wharf::daemon::os::Wiping;

fn main() {
    program::process::shut_others_out();
    let mut arguments = Vec::new();
    for argument in std::env::args_os().skip(1) {
        match argument.into_string() {
            Ok(argument) => arguments.push(argument),
            Err(argument) => {
                failure::guard_connection();
                let what = format!("'{}' is not UTF-8", argument.display());
                std::process::exit(Failure::usage(what).tell());
            }
        }
    }
    std::process::exit(run(arguments));
}

fn run(mut arguments: Vec<String>) -> i32 {
    // A write past the largest size of a file (ulimit -f) is an error of that
    // upload; as a signal it would end the server.
    if let Err(error) = wharf::daemon::os::SignalSet::block(&[libc::SIGXFSZ]) {
        return Failure::temporary(format!("blocking SIGXFSZ: {error}")).tell();
    }
    if called_as_sftp_server() {
        return program::sftp_server::run(&arguments);
    }
    match arguments.split_first() {
        #[cfg(feature = "help")]
        Some((word, rest)) if word == "help" => return program::help::topics::run(rest),
        #[cfg(not(feature = "help"))]
        Some((word, _)) if word == "help" => {
            return Failure::usage("this build has no topics of help: see wharfd --help").tell();
        }
        Some((word, rest)) if word == "passwd" => return program::passwd::run(rest),
        Some((word, rest))
            if matches!(word.as_str(), "who" | "status" | "kick" | "ban" | "unban") =>
        {
            return program::who::run(word, rest);
        }
        Some((word, rest)) if word == "ping" => return program::ping::run(rest),
        Some((word, rest)) if word == "lb-config" => return program::lb_config::run(rest),
        Some((word, rest)) if word == "acme" => return program::acme::run(rest),
        #[cfg(feature = "import")]
        Some((word, rest)) if word == "import" => return program::import::run(rest),
        #[cfg(not(feature = "import"))]
        Some((word, _)) if word == "import" => {
            return Failure::usage("this build has no import: it lacks the feature").tell();
        }
        // Processes of ours with other privileges; see program::monitor.
        Some((word, rest)) if word == program::monitor::MONITOR => {
            return program::monitor::run(rest);
        }
        Some((word, [])) if word == program::monitor::WORKER => {
            return program::monitor::run_worker();
        }
        // What an auth helper runs in the end; see wharf::daemon.
        Some((word, [])) if word == "--print-environment" => {
            let printed = wharf::daemon::print_environment(&mut std::io::stdout());
            return if printed.is_ok() { 0 } else { 111 };
        }
        _ => {}
    }
    if let Some(at) = arguments.iter().position(|word| word == "--sftp-server") {
        arguments.remove(at);
        return program::sftp_server::run(&arguments);
    }
    program::process::protect(&arguments);
    failure::guard_connection();
    match cli::read(&arguments, cli::environment()) {
        Ok(Action::Print(text)) => {
            print!("{text}");
            0
        }
        Ok(Action::Serve(invocation)) if invocation.check => program::check::run(&invocation),
        Ok(Action::Serve(invocation)) => program::serve::run(*invocation),
        Err(mistakes) => {
            for mistake in mistakes {
                failure::complain(&mistake.to_string());
            }
            failure::USAGE
        }
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
