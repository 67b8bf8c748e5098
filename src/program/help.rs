//! `--help`: all options, from their table.

#[cfg(feature = "help")]
pub mod topics;

use wharf::daemon::{KEYS, Key, PROFILES};

/// Flags that are no keys: short, long, value, help.
pub const OWN: &[(&str, &str, &str, &str)] = &[
    (
        "c",
        "config",
        "FILE",
        "read settings from FILE, see wharfd.conf(5)",
    ),
    (
        "",
        "check",
        "",
        "say what is wrong and what is in force, and end",
    ),
    (
        "",
        "inetd",
        "",
        "serve one FTP connection, which is standard input",
    ),
    (
        "",
        "print-port",
        "",
        "write each bound address as a line on standard output",
    ),
    ("V", "version", "", "show the version"),
    ("h", "help", "", "show this help"),
];

/// `wharfd --help`: everything.
pub fn all() -> String {
    let mut text = String::from(
        "wharfd: FTP, FTPS and SFTP server\n\n\
         wharfd [options] DIR    serve DIR to everybody, read-only, on this machine's port 2121\n\
         wharfd -c FILE          serve what FILE says\n\
         wharfd passwd FILE NAME add or change a user\n\
         wharfd who | status     sessions and counts of a running server\n\
         wharfd unban ADDRESS    lift a ban\n\
         wharfd ping HOST:PORT   whether a server greets; --tls: and shows a good certificate\n\
         wharfd lb-config KIND   configuration of a balancer for many nodes\n",
    );
    if cfg!(feature = "help") {
        text.push_str(
            "wharfd help TOPIC       options of a topic, or one; wharfd help lists them\n",
        );
    }
    if cfg!(feature = "acme") {
        text.push_str("wharfd acme NAME...     obtains or renews the certificate of these names\n");
    }
    if cfg!(feature = "import") {
        text.push_str(
            "wharfd import KIND FILE settings or users of vsftpd, pure-ftpd or proftpd, as ours\n",
        );
    }
    text.push('\n');
    for (short, long, value, help) in OWN {
        let short = if short.is_empty() {
            "    ".into()
        } else {
            format!("-{short}, ")
        };
        row(&mut text, &format!("{short}--{long} {value}"), help);
    }
    let mut section = None;
    for key in KEYS {
        if section != Some(key.section) {
            section = Some(key.section);
            text.push_str(&format!("\n{:?}:\n", key.section));
        }
        key_row(&mut text, key);
    }
    text.push('\n');
    text.push_str(&profiles());
    text.push_str(
        "\nEach option is also a line of the file (without --) and a variable (WHARFD_LISTEN).\n",
    );
    text
}

fn profiles() -> String {
    let mut text = String::from("Profiles, see wharfd.conf(5):\n");
    for profile in PROFILES {
        row(&mut text, profile.name, profile.help);
    }
    text
}

fn key_row(text: &mut String, key: &Key) {
    row(text, &format!("    --{} {}", key.name, key.takes), key.help);
}

fn row(text: &mut String, name: &str, help: &str) {
    text.push_str(&format!("  {name:<44} {help}\n"));
}
