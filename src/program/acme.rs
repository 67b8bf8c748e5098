//! `wharfd acme`: obtains and renews the certificate that `tls-cert` and
//! `tls-key` name from an authority such as Let's Encrypt (RFC 8555), by
//! http-01. A process of its own; a running wharfd sees the new files.
//!
//! Nothing is replaced before the new pair is whole: the old one serves on
//! through every failure.

mod beside;
mod client;
mod json;
mod pair;

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use getopts::{Matches, Options};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::ec::EcKey;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use rustix::fs::{FlockOperation, flock};
use wharf::daemon::{self, HttpPort, Response, Settings, unpoisoned};

pub use self::beside::{Beside, check};
use self::client::{AcmeResult, Answers, Client};
use self::pair::Pair;
use super::cli::{self, Action};
use super::failure::{Failure, USAGE, complain};
use super::identity;

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Where answers are looked for (RFC 8555, section 8.3).
const WELL_KNOWN: &str = ".well-known/acme-challenge";
/// Before the account's key, in its file.
const DIRECTORY_LINE: &str = "directory: ";
/// Between two looks at the end of the port's work.
const LOOK: Duration = Duration::from_millis(100);
/// Between two runs of `--stay`.
const DAY: Duration = Duration::from_secs(24 * 3600);

fn options() -> Options {
    let mut options = Options::new();
    options.optopt(
        "c",
        "config",
        "settings that name tls-cert and tls-key",
        "FILE",
    );
    options.optopt("", "tls-cert", "the certificate, with its chain", "FILE");
    options.optopt("", "tls-key", "its key; in the same file otherwise", "FILE");
    options.optopt(
        "",
        "directory",
        "the authority; Let's Encrypt otherwise",
        "URL",
    );
    options.optopt("", "email", "where the authority reaches you", "ADDRESS");
    options.optflag("", "agree-terms", "accept the authority's terms of service");
    options.optopt("", "port", "where the authority asks; 80", "[ADDR:]PORT");
    options.optopt(
        "",
        "webroot",
        "answer through a web server's directory",
        "DIR",
    );
    options.optflag("", "force", "renew although it is not due");
    options.optflag("", "stay", "again every day, for as long as it runs");
    options.optflag("h", "help", "show this");
    options
}

/// Runs `wharfd acme` with the arguments after that word; the exit code.
pub fn run(arguments: &[String]) -> i32 {
    let options = options();
    let matches = match options.parse(arguments) {
        Ok(matches) => matches,
        Err(fail) => return Failure::usage(fail).tell(),
    };
    if matches.opt_present("help") {
        print!(
            "{}",
            options.usage("usage: wharfd acme [options] [NAME...]")
        );
        return 0;
    }
    loop {
        let code = match renew(&matches) {
            Ok(said) => {
                println!("{said}");
                0
            }
            Err(failure) => failure.tell(),
        };
        if !matches.opt_present("stay") || code == USAGE {
            return code;
        }
        if beside::is_alone(DAY) {
            return code;
        }
    }
}

fn renew(matches: &Matches) -> Result<String, Failure> {
    let settings = settings(matches)?;
    let Some(certificate) = settings.server.tls_cert.first().cloned() else {
        return Err(Failure::usage(
            "which files? Name tls-cert and tls-key in the file of --config, or as options",
        ));
    };
    let key = settings
        .server
        .tls_key
        .first()
        .unwrap_or(&certificate)
        .clone();
    let pair = Pair { certificate, key };
    let names = names(matches, &pair.certificate)?;
    let due = due(&pair, &names).map_err(Failure::temporary)?;
    match due {
        Ok(days) if !matches.opt_present("force") => {
            return Ok(format!(
                "{} is good for {days} more days: nothing to do",
                pair.certificate.display()
            ));
        }
        _ => {}
    }
    let obtain = || -> AcmeResult<()> {
        // Before anything is ordered, what may fail here.
        let place = Challenges::open(matches)?;
        let (file, key) = account(&settings, matches)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| "another wharfd acme is at work")?;
        let mut client = Client::new(&key.0, key.1)?;
        let email = matches.opt_str("email");
        client.log_in(email.as_deref(), matches.opt_present("agree-terms"))?;
        let new = client::new_key()
            .and_then(PKey::from_ec_key)
            .map_err(words)?;
        let request = client::request(&names, &new).map_err(words)?;
        let chain = place.serve(|answers| client.obtain(&names, &request, answers))?;
        fits(&chain, &new)?;
        pair.replace(&chain, &new, &settings)
    };
    obtain().map_err(|error| {
        let kept = if pair.certificate.exists() {
            "; the certificate that is there stays"
        } else {
            ""
        };
        Failure::temporary(format!(
            "no new certificate for {}: {error}{kept}",
            names.join(", ")
        ))
    })?;
    Ok(format!(
        "{}: a new certificate for {}",
        pair.certificate.display(),
        names.join(", ")
    ))
}

fn words(error: ErrorStack) -> String {
    error.to_string()
}

/// The server's settings, of which the files of the pair may be options here.
fn settings(matches: &Matches) -> Result<Settings, Failure> {
    let mut arguments = Vec::new();
    for option in ["config", "tls-cert", "tls-key"] {
        let value = matches.opt_str(option);
        arguments.extend(value.map(|value| format!("--{option}={value}")));
    }
    match cli::read(&arguments, cli::environment()) {
        Ok(Action::Serve(invocation)) => Ok(invocation.settings),
        Ok(Action::Print(_)) => Err(Failure::usage("options of acme alone")),
        Err(mistakes) => {
            let mut mistakes = mistakes.iter().map(ToString::to_string);
            let last = mistakes.next_back().unwrap_or_default();
            mistakes.for_each(|mistake| complain(&mistake));
            Err(Failure::usage(last))
        }
    }
}

/// The names that are given, or those of the certificate that is there.
fn names(matches: &Matches, certificate: &Path) -> Result<Vec<String>, Failure> {
    let given = match &matches.free[..] {
        [] => match read_certificate(certificate) {
            Ok(there) => names_of(&there),
            Err(_) => Vec::new(),
        },
        given => given.iter().map(|name| name.to_ascii_lowercase()).collect(),
    };
    let wrong = |name: &&String| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        !name.contains('.') || !name.bytes().all(letter)
    };
    if let Some(wrong) = given.iter().find(wrong) {
        return Err(Failure::usage(format!(
            "'{}' is no name that an authority can look at by http-01: it takes names of the DNS, \
             without a star",
            wrong.escape_debug()
        )));
    }
    if given.is_empty() {
        return Err(Failure::usage("acme takes the NAMEs that clients use"));
    }
    Ok(given)
}

fn names_of(certificate: &X509) -> Vec<String> {
    let names = certificate.subject_alt_names();
    let names = names.iter().flatten().filter_map(|name| name.dnsname());
    names.map(str::to_ascii_lowercase).collect()
}

fn read_certificate(path: &Path) -> AcmeResult<X509> {
    let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    X509::from_pem(&pem).map_err(|error| format!("{}: {error}", path.display()))
}

/// The days that are left; or the certificate must be renewed: a third of its
/// time is left, it is for other names, wharfd has signed it itself, or there
/// is none that can be used.
///
/// # Errors
/// The clock is wrong.
fn due(pair: &Pair, names: &[String]) -> AcmeResult<Result<i32, ()>> {
    let usable = || -> Option<(X509, PKey<Private>)> {
        let certificate = read_certificate(&pair.certificate).ok()?;
        let key = PKey::private_key_from_pem(&std::fs::read(&pair.key).ok()?).ok()?;
        Some((certificate, key))
    };
    let Some((certificate, key)) = usable() else {
        return Ok(Err(()));
    };
    let days = |from: &Asn1TimeRef, to: &Asn1TimeRef| from.diff(to).map(|time| time.days);
    let now = Asn1Time::days_from_now(0).map_err(words)?;
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    let (left, all) = (days(&now, end), days(begin, end));
    let (left, all) = (left.map_err(words)?, all.map_err(words)?);
    if *begin > now {
        return Err(format!(
            "{} is of a time to come: is the clock right?",
            pair.certificate.display()
        ));
    }
    let has = names_of(&certificate);
    let fits = certificate
        .public_key()
        .is_ok_and(|own| own.public_eq(&key));
    // An authority's own certificate names itself, too, and is no server's.
    let authority = certificate
        .issuer_name()
        .try_cmp(certificate.subject_name());
    let self_signed = authority.is_ok_and(|order| order.is_eq());
    if !fits || self_signed || left <= all / 3 || names.iter().any(|name| !has.contains(name)) {
        return Ok(Err(()));
    }
    Ok(Ok(left))
}

/// The account's file, and in it the authority's directory with the key; made
/// if it is not there. Another directory means another account.
fn account(settings: &Settings, matches: &Matches) -> AcmeResult<(File, (String, EcKey<Private>))> {
    let directory = daemon::state_dir(&settings.server)
        .ok_or("there is no place for the account's key: set state-dir")?;
    let trouble =
        |error: std::io::Error| format!("the account's key in {}: {error}", directory.display());
    let owner = identity::account(settings).map_err(|failure| failure.what)?;
    if !directory.exists() {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory);
        made.map_err(trouble)?;
        if rustix::process::geteuid().is_root() {
            // The server keeps its own keys there.
            chown(&directory, Some(owner.0), Some(owner.1)).map_err(trouble)?;
        }
    }
    let path = directory.join("acme-account.key");
    let asked = matches.opt_str("directory");
    let mut open = OpenOptions::new();
    open.read(true).write(true).mode(0o600);
    if let Ok(mut file) = open.open(&path) {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(trouble)?;
        let url = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(DIRECTORY_LINE));
        let url = url.ok_or_else(|| format!("{} is no account of ours", path.display()))?;
        if asked.as_deref().is_none_or(|asked| asked == url) {
            let key = EcKey::private_key_from_pem(text.as_bytes()).map_err(words)?;
            return Ok((file, (url.to_owned(), key)));
        }
        std::fs::rename(&path, directory.join("acme-account.key.old")).map_err(trouble)?;
    }
    let url = asked.unwrap_or_else(|| DIRECTORY.into());
    let key = client::new_key().map_err(words)?;
    let pem = key.private_key_to_pem().map_err(words)?;
    let mut file = open.create_new(true).open(&path).map_err(trouble)?;
    if rustix::process::geteuid().is_root() {
        // The service that renews may be the server's user.
        fchown(&file, Some(owner.0), Some(owner.1)).map_err(trouble)?;
    }
    let text = [format!("{DIRECTORY_LINE}{url}\n").into_bytes(), pem].concat();
    file.write_all(&text).map_err(trouble)?;
    Ok((file, (url, key)))
}

/// Where the authority finds our answers.
enum Challenges {
    Port(Box<HttpPort>),
    Webroot(PathBuf),
}

impl Challenges {
    fn open(matches: &Matches) -> AcmeResult<Challenges> {
        if let Some(root) = matches.opt_str("webroot") {
            let directory = Path::new(&root).join(WELL_KNOWN);
            std::fs::create_dir_all(&directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
            return Ok(Challenges::Webroot(directory));
        }
        let text = matches.opt_str("port").unwrap_or_else(|| "80".into());
        let endpoint = text
            .parse()
            .map_err(|error| format!("--port {text}: {error}"))?;
        let port = HttpPort::bind(&endpoint).map_err(|error| {
            format!("{error}; beside a web server --webroot DIR answers through its directory")
        })?;
        Ok(Challenges::Port(Box::new(port)))
    }

    /// Does something while answers can be asked for.
    fn serve<T>(self, run: impl FnOnce(&dyn Answers) -> AcmeResult<T>) -> AcmeResult<T> {
        let mut port = match self {
            Challenges::Webroot(directory) => {
                let files = Files {
                    directory,
                    written: Mutex::default(),
                };
                return run(&files);
            }
            Challenges::Port(port) => port,
        };
        let (known, over) = (Known::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    port.serve_for(LOOK, &|request| {
                        let path = String::from_utf8_lossy(request.path);
                        let token = path
                            .strip_prefix('/')
                            .and_then(|path| path.strip_prefix(WELL_KNOWN));
                        let token = token
                            .and_then(|token| token.strip_prefix('/'))
                            .unwrap_or("");
                        match unpoisoned(known.0.lock()).get(token) {
                            Some(answer) => Response::text("200 OK", answer.clone()),
                            None => Response::text("404 Not Found", ""),
                        }
                    });
                }
            });
            let outcome = run(&known);
            over.store(true, Relaxed);
            outcome
        })
    }
}

/// Answers by token, for a port of our own.
#[derive(Default)]
struct Known(Mutex<HashMap<String, String>>);

impl Answers for Known {
    fn put(&self, token: &str, content: &str) -> AcmeResult<()> {
        unpoisoned(self.0.lock()).insert(token.into(), content.into());
        Ok(())
    }
}

/// Answers as files, which go when all is over.
struct Files {
    directory: PathBuf,
    written: Mutex<Vec<PathBuf>>,
}

impl Answers for Files {
    fn put(&self, token: &str, content: &str) -> AcmeResult<()> {
        let path = self.directory.join(token);
        std::fs::write(&path, content)
            .and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        unpoisoned(self.written.lock()).push(path);
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in unpoisoned(self.written.lock()).drain(..) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether the new pair fits together.
fn fits(chain: &str, key: &PKey<Private>) -> AcmeResult<()> {
    let stack = X509::stack_from_pem(chain.as_bytes()).map_err(words)?;
    let own = stack.first().and_then(|own| own.public_key().ok());
    if !own.is_some_and(|own| own.public_eq(key)) {
        return Err("the authority has sent a certificate for another key".into());
    }
    Ok(())
}
