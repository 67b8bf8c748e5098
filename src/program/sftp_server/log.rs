//! What the subsystem tells the administrator.

use std::io::Write;

use env_logger::{Builder, Target};
use log::LevelFilter;
use wharf::events::{Event, Events, Transferred, Who};

use super::flags::Flags;
use crate::program::logging::{Syslog, write_datagram};

/// Begins logging: to standard error, which sshd hands to the client's
/// terminal, or to syslog. Without a syslogd nobody is told.
pub(super) fn start(flags: &Flags) {
    let mut builder = Builder::new();
    builder.filter_level(flags.level);
    if flags.to_stderr {
        builder.format(|line, record| writeln!(line, "{}", record.args()));
    } else {
        let facility = flags.facility;
        let tag = format!("sftp-server[{}]", std::process::id());
        builder.format(move |line, record| {
            let text = record.args().to_string();
            write_datagram(line, facility, record.level(), &tag, &text)
        });
        match Syslog::connect() {
            Ok(syslog) => builder.target(Target::Pipe(Box::new(syslog))),
            Err(_) => builder.filter_level(LevelFilter::Off),
        };
    }
    // A second logger in one process: then the first one stays.
    let _ = builder.try_init();
}

/// Lines like those of OpenSSH's sftp-server, which analysers know.
pub(super) struct Lines;

impl Events for Lines {
    fn event(&self, who: &Who<'_>, event: &Event<'_>) {
        match event {
            Event::LoggedIn => session("opened", who),
            Event::LoggedOut => session("closed", who),
            Event::Download(transferred) => closed(transferred, transferred.bytes, 0),
            Event::Upload(transferred) => closed(transferred, 0, transferred.bytes),
            Event::Deleted(path) => ::log::info!("remove name \"{path}\""),
            Event::DirectoryMade(path) => ::log::info!("mkdir name \"{path}\""),
            Event::DirectoryRemoved(path) => ::log::info!("rmdir name \"{path}\""),
            Event::Renamed(from, to) => ::log::info!("rename old \"{from}\" new \"{to}\""),
            _ => {}
        }
    }
}

fn session(word: &str, who: &Who<'_>) {
    let user = who.user.unwrap_or("?").escape_debug();
    ::log::info!(
        "session {word} for local user {user} from [{}]",
        who.peer.ip()
    );
}

fn closed(transferred: &Transferred<'_>, read: u64, written: u64) {
    let word = if transferred.complete {
        "close"
    } else {
        "forced close"
    };
    ::log::info!(
        "{word} \"{}\" bytes read {read} written {written}",
        transferred.path
    );
}
