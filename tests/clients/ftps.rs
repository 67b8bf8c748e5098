//! Clients that people use, over FTPS: explicit and implicit, sessions
//! resumed or not, on the back-end that this build has (`cargo test --test
//! clients_tls`, and with `--no-default-features --features
//! cli,ftps,sftp,import`). tests/install-clients.sh
//! installs them; one that is missing is a line `SKIP name`, and a failure
//! with WHARF_NEED_CLIENTS=1.
#![cfg(all(feature = "ftps", feature = "cli"))]

use crate::common;

use std::fmt::Write as _;
use std::process::Command;

use common::process::{attempt, client_in, has, run};
use common::rng::Rng;
use common::tls::{SecureServer, secure};
use common::{TempDir, server};

/// Explicit (AUTH TLS), or implicit (TLS from the first byte).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Explicit,
    Implicit,
}

const MODES: [Mode; 2] = [Mode::Explicit, Mode::Implicit];

/// The protocol that this build's server prefers.
const NEWEST: &str = if cfg!(feature = "tls13") {
    "TLSv1.3"
} else {
    "TLSv1.2"
};

/// A server on a directory, and a directory for the client.
struct Place {
    server: SecureServer,
    remote: TempDir,
    local: TempDir,
}

impl Place {
    /// Everybody must use TLS for everything; data connections as `reuse`
    /// says; uploads are atomic, so that a cut one is never there.
    fn new(name: &str, reuse: &str) -> Self {
        let remote = TempDir::new(&format!("{name}-tls-remote"));
        let place = Place {
            server: secure(
                server()
                    .directory(remote.path())
                    .set("tls-required", "data")
                    .set("atomic-uploads", "yes")
                    .set("tls-reuse", reuse),
            ),
            local: TempDir::new(&format!("{name}-tls-local")),
            remote,
        };
        for (number, content) in contents().iter().enumerate() {
            std::fs::write(place.local.join(format!("up{number}")), content).unwrap();
            std::fs::write(place.remote.join(format!("down{number}")), content).unwrap();
        }
        place
    }

    fn command(&self, program: &str) -> Command {
        client_in(self.local.path(), program)
    }

    fn port(&self, mode: Mode) -> u16 {
        match mode {
            Mode::Explicit => self.server.v4.port(),
            Mode::Implicit => self.server.implicit.port(),
        }
    }

    /// All of the client's files are there and here, byte for byte; forgets
    /// them, for the next run.
    #[track_caller]
    fn moved(&self, what: &str) {
        for (number, content) in contents().iter().enumerate() {
            for path in [
                self.remote.join(format!("up{number}")),
                self.local.join(format!("down{number}")),
            ] {
                let got = std::fs::read(&path)
                    .unwrap_or_else(|error| panic!("{what}: {}: {error}", path.display()));
                let shown = path.display();
                assert!(got == *content, "{what}: {shown} has changed");
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}

/// Nothing, a little, a record's border, and a lot.
fn contents() -> [Vec<u8>; 4] {
    [0, 10, 16_384, 3 << 20].map(|length| Rng::fixed(11).bytes(length))
}

/// One line for each file, with `N` for its number.
fn each(line: &str) -> String {
    (0..contents().len()).fold(String::new(), |mut lines, number| {
        let _ = writeln!(lines, "{}", line.replace('N', &number.to_string()));
        lines
    })
}

#[test]
fn curl_moves_files() {
    if !has("curl") {
        return;
    }
    let place = Place::new("curl", "require");
    for mode in MODES {
        for version in ["--tls-max=1.2", "--tlsv1.2"] {
            let (scheme, port) = (
                match mode {
                    Mode::Explicit => "ftp",
                    Mode::Implicit => "ftps",
                },
                place.port(mode),
            );
            let base = format!("{scheme}://ann:secret@127.0.0.1:{port}");
            // `--tls-max=1.2` is one word for us and two for curl.
            let version: Vec<&str> = version.split('=').collect();
            let mut curl = place.command("curl");
            curl.args(["-sS", "--insecure", "--ssl-reqd", "--max-time", "30"])
                .args(&version);
            for number in 0..contents().len() {
                if number > 0 {
                    // One process, one control connection, as a mirror has.
                    curl.args(["--next", "-sS", "--insecure", "--ssl-reqd"])
                        .args(&version);
                }
                curl.args(["-o", &format!("down{number}")])
                    .arg(format!("{base}/down{number}"))
                    .args(["--next", "-sS", "--insecure", "--ssl-reqd"])
                    .args(&version)
                    .args(["-T", &format!("up{number}")])
                    .arg(format!("{base}/up{number}"));
            }
            run(&mut curl, "");
            place.moved(&format!("curl {mode:?} {version:?}"));
            let mut listing = place.command("curl");
            listing
                .args(["-sS", "--insecure", "--ssl-reqd"])
                .args(&version)
                .arg(format!("{base}/"));
            assert!(run(&mut listing, "").contains("down0"));
        }
    }
}

/// What lftp says while it obeys, in TLS of this mode and with more settings.
fn lftp(place: &Place, mode: Mode, settings: &str, commands: &str) -> String {
    let scheme = match mode {
        Mode::Explicit => "ftp",
        Mode::Implicit => "ftps",
    };
    let port = place.port(mode);
    let script = format!(
        "set cmd:fail-exit yes\nset net:max-retries 1\nset net:timeout 15\n\
         set ssl:verify-certificate no\nset ftp:ssl-force yes\n{settings}\
         open -u ann,secret {scheme}://127.0.0.1:{port}\n{}{}{commands}",
        each("get downN"),
        each("put upN"),
    );
    run(place.command("lftp").args(["--norc"]), &script)
}

/// lftp alone of the clients here speaks MODE Z.
#[cfg(feature = "deflate")]
#[test]
fn lftp_moves_files_deflated() {
    if !has("lftp") {
        return;
    }
    let place = Place::new("lftp-deflated", "require");
    for mode in MODES {
        let settings = "set ftp:use-mode-z yes\ndebug 9\n";
        let said = lftp(&place, mode, settings, "cls\n");
        assert!(said.contains("---> MODE Z"), "{said}");
        place.moved(&format!("lftp {mode:?} deflated"));
    }
}

#[test]
fn lftp_moves_files_and_mirrors() {
    if !has("lftp") {
        return;
    }
    let place = Place::new("lftp", "require");
    for mode in MODES {
        let tree = place.local.join("up-tree/deep");
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("file"), "in the tree").unwrap();
        let mirrors = "mirror -R up-tree copy\nmirror copy back\nrm -r copy\ncls\n";
        lftp(&place, mode, "set ftp:ssl-protect-data yes\n", mirrors);
        place.moved(&format!("lftp {mode:?}"));
        let back = std::fs::read(place.local.join("back/deep/file")).unwrap();
        assert_eq!(back, b"in the tree");
        std::fs::remove_dir_all(place.local.join("back")).unwrap();
    }
}

/// ftplib as it is opens a new session for each data connection; the class
/// that many programs have copied offers the control connection's.
const FTPLIB: &str = r#"
import ftplib, ssl, sys
mode, port, reuse = sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'require'

class Reusing(ftplib.FTP_TLS):
    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            session = self.sock.session if reuse else None
            conn = self.context.wrap_socket(conn, server_hostname=self.host, session=session)
            if reuse:
                assert conn.session_reused, cmd
        return conn, size

class Implicit(Reusing):
    @property
    def sock(self):
        return self._socket
    @sock.setter
    def sock(self, value):
        if value is not None and not isinstance(value, ssl.SSLSocket):
            value = self.context.wrap_socket(value)
        self._socket = value

context = ssl._create_unverified_context()
ftp = (Implicit if mode == 'Implicit' else Reusing)(context=context, timeout=20)
ftp.connect('127.0.0.1', port)
ftp.login('ann', 'secret')
ftp.prot_p()
for n in range(4):
    with open(f'down{n}', 'wb') as file:
        ftp.retrbinary(f'RETR down{n}', file.write)
    with open(f'up{n}', 'rb') as file:
        ftp.storbinary(f'STOR up{n}', file)
assert 'down0' in ftp.nlst()
assert [name for name, facts in ftp.mlsd()]
print(ftp.sock.version())
ftp.quit()
"#;

#[test]
fn ftplib_moves_files_with_sessions_and_without() {
    if !has("python3") {
        return;
    }
    for reuse in ["prefer", "require"] {
        let place = Place::new("ftplib", reuse);
        for mode in MODES {
            let port = place.port(mode).to_string();
            let mode = format!("{mode:?}");
            let mut python = place.command("python3");
            python.args(["-c", FTPLIB, &mode, &port, reuse]);
            let said = run(&mut python, "");
            assert!(said.contains(NEWEST), "{said}");
            place.moved(&format!("ftplib {mode} {reuse}"));
        }
    }
}

const AIOFTP: &str = r#"
import asyncio, ssl, sys
try:
    import aioftp
except ImportError:
    print('missing')
    sys.exit()

async def main():
    context = ssl._create_unverified_context()
    client = aioftp.Client(ssl=context, socket_timeout=20)
    await client.connect('127.0.0.1', int(sys.argv[1]))
    await client.login('ann', 'secret')
    await client.command('PBSZ 0', '200')
    await client.command('PROT P', '200')
    for n in range(4):
        await client.download(f'down{n}', f'down{n}', write_into=True)
        await client.upload(f'up{n}', f'up{n}', write_into=True)
    assert 'down0' in [str(path) for path, info in await client.list()]
    await client.quit()

asyncio.run(main())
"#;

#[test]
fn aioftp_makes_its_handshake_before_the_command() {
    if !has("python3") {
        return;
    }
    let place = Place::new("aioftp", "prefer");
    let port = place.port(Mode::Implicit).to_string();
    // The package is one of the system's own Python.
    let python = if std::path::Path::new("/usr/bin/python3").exists() {
        "/usr/bin/python3"
    } else {
        "python3"
    };
    let said = run(place.command(python).args(["-c", AIOFTP, &port]), "");
    if said.contains("missing") {
        let needed = std::env::var_os("WHARF_NEED_CLIENTS").is_some();
        assert!(
            !needed,
            "aioftp is missing; tests/install-clients.sh installs it"
        );
        eprintln!("SKIP aioftp");
        return;
    }
    place.moved("aioftp");
}

const PERL: &str = r#"
use strict; use warnings;
use Net::FTP;
my ($mode, $port) = @ARGV;
my $implicit = $mode eq 'Implicit';
my $ftp = Net::FTP->new('127.0.0.1', Port => $port, Timeout => 20, Passive => 1,
    SSL => $implicit, SSL_verify_mode => 0) or die "connect: $@";
$implicit or $ftp->starttls or die 'starttls: ' . $ftp->message;
$ftp->login('ann', 'secret') or die 'login: ' . $ftp->message;
$ftp->prot('P') or die 'prot: ' . $ftp->message;
$ftp->binary;
for my $n (0 .. 3) {
    $ftp->get("down$n") or die "get $n: " . $ftp->message;
    $ftp->put("up$n") or die "put $n: " . $ftp->message;
}
grep { $_ eq 'down0' } $ftp->ls or die 'ls';
$ftp->quit or die 'quit';
"#;

#[test]
fn net_ftp_moves_files() {
    if !has("perl") {
        return;
    }
    let mut asked = Command::new("perl");
    if !attempt(
        asked.args(["-MNet::FTP", "-MIO::Socket::SSL", "-e", "1"]),
        "",
    )
    .0
    {
        let needed = std::env::var_os("WHARF_NEED_CLIENTS").is_some();
        assert!(!needed, "IO::Socket::SSL is missing");
        eprintln!("SKIP IO::Socket::SSL");
        return;
    }
    // It opens a session of its own for each data connection.
    let place = Place::new("perl", "prefer");
    for mode in MODES {
        let port = place.port(mode).to_string();
        let mode = format!("{mode:?}");
        run(place.command("perl").args(["-e", PERL, &mode, &port]), "");
        place.moved(&format!("Net::FTP {mode}"));
    }
}

#[test]
fn rclone_moves_files() {
    if !has("rclone") {
        return;
    }
    let place = Place::new("rclone", "prefer");
    for mode in MODES {
        let tls = match mode {
            Mode::Explicit => "explicit_tls",
            Mode::Implicit => "tls",
        };
        let obscured = run(place.command("rclone").args(["obscure", "secret"]), "");
        let remote = format!(
            ":ftp,host=127.0.0.1,port={},user=ann,pass={},{tls}=true,no_check_certificate=true:",
            place.port(mode),
            obscured.trim()
        );
        let rclone = |arguments: &[&str]| {
            let mut command = place.command("rclone");
            command.args(["--retries", "1", "--contimeout", "20s"]);
            run(command.args(arguments), "");
        };
        rclone(&["copy", ".", &remote, "--include", "up*"]);
        rclone(&["copy", &remote, ".", "--include", "down*"]);
        place.moved(&format!("rclone {mode:?}"));
    }
}

#[test]
fn wget_fetches() {
    if !has("wget") {
        return;
    }
    let place = Place::new("wget", "prefer");
    for mode in MODES {
        let mut wget = place.command("wget");
        wget.args(["-nv", "--tries=1", "--timeout=20", "--no-check-certificate"])
            .args(["--ftps-clear-data-connection=off", "-O", "down3"]);
        if mode == Mode::Implicit {
            wget.arg("--ftps-implicit");
        }
        let port = place.port(mode);
        run(
            wget.arg(format!("ftps://ann:secret@127.0.0.1:{port}/down3")),
            "",
        );
        let got = std::fs::read(place.local.join("down3")).unwrap();
        assert!(got == contents()[3], "{mode:?}");
    }
}

#[test]
fn gnutls_speaks_both_modes() {
    if !has("gnutls-cli") {
        return;
    }
    let place = Place::new("gnutls", "require");
    for mode in MODES {
        let mut gnutls = place.command("gnutls-cli");
        gnutls.args(["--insecure", "--alpn=x-filezilla-ftp", "--alpn=ftp"]);
        if mode == Mode::Explicit {
            gnutls.arg("--starttls-proto=ftp");
        }
        gnutls.args(["--port", &place.port(mode).to_string(), "127.0.0.1"]);
        let said = run(&mut gnutls, "SYST\r\nQUIT\r\n");
        assert!(said.contains("215 UNIX"), "{mode:?}: {said}");
        let version = NEWEST.replace("TLSv", "TLS");
        assert!(said.contains(&version), "{mode:?}: {said}");
        // FileZilla's offer: `ftp` it is.
        assert!(
            said.contains("Application protocol: ftp"),
            "{mode:?}: {said}"
        );
    }
}

#[test]
fn s_client_sees_versions_and_protocols() {
    if !has("openssl") {
        return;
    }
    let place = Place::new("s_client", "require");
    let newest = cfg!(feature = "tls13");
    for mode in MODES {
        let address = format!("127.0.0.1:{}", place.port(mode));
        let cases: [(&[&str], bool, &str); 8] = [
            (&[], true, NEWEST),
            (&["-tls1_2"], true, "TLSv1.2"),
            (&["-tls1_3"], newest, "TLSv1.3"),
            (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], false, "alert"),
            (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"], false, "alert"),
            (&["-alpn", "ftp"], true, "ALPN protocol: ftp"),
            (&["-alpn", "h2,http/1.1"], false, "alert"),
            (
                &["-alpn", "x-filezilla-ftp,ftp"],
                true,
                "ALPN protocol: ftp",
            ),
        ];
        for (arguments, served, word) in cases {
            let mut client = place.command("openssl");
            client
                .args(["s_client", "-connect", &address, "-crlf"])
                .args(arguments);
            if mode == Mode::Explicit {
                client.args(["-starttls", "ftp"]);
            }
            let (_, said) = attempt(&mut client, "SYST\nQUIT\n");
            let what = format!("{mode:?} {arguments:?}: {said}");
            // `(NONE)` stands for a cipher where there is no session.
            assert_eq!(!said.contains("Cipher is (NONE)"), served, "{what}");
            if served || word == "alert" {
                assert!(said.contains(word), "{what}");
            }
        }
        // R asks for a renegotiation in TLS 1.2.
        let mut client = place.command("openssl");
        client.args(["s_client", "-connect", &address, "-tls1_2", "-crlf"]);
        if mode == Mode::Explicit {
            client.args(["-starttls", "ftp"]);
        }
        let (_, said) = attempt(&mut client, "R\nSYST\nQUIT\n");
        assert!(said.contains("RENEGOTIATING"), "{said}");
        assert!(!said.contains("215 UNIX"), "{said}");
    }
}
