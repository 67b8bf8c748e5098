//! `wharfd passwd`: makes and changes lines of the users' file.

mod edit;
mod home;
mod prompt;
mod replace;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use getopts::{Matches, Options};
use wharf::auth::{Perms, UserDefaults, UserFile};
use wharf::daemon::user_file::{self, Entry};

use edit::{Change, Done, HashChange};
use prompt::Failure;
use replace::{Locked, Missing};

const SUCCESS: i32 = 0;
/// What was asked for is wrong.
const USAGE: i32 = 100;
/// The system would not do it; trying again may help.
const TEMPORARY: i32 = 111;

/// Rights of a new user where nothing else is said: their home is theirs.
const NEW_RIGHTS: &str = "read-write";
/// Where homes of new users are, where nothing else is said.
const NEW_HOMES: &str = "/srv/ftp";

/// What goes wrong, with the exit code.
struct Trouble(i32, String);

fn usage(text: impl Into<String>) -> Trouble {
    Trouble(USAGE, text.into())
}

/// Wrong words on the command line: says how they go.
fn misused(text: &str) -> Trouble {
    usage(format!("{text}\nusage: {BRIEF} (--help tells more)"))
}

/// Runs `wharfd passwd` with the arguments after that word; returns the exit
/// code: 0 done, 100 bad usage, 111 the system refused.
pub fn run(arguments: &[String]) -> i32 {
    let options = options();
    let result = options
        .parse(arguments)
        .map_err(|error| misused(&error.to_string()))
        .and_then(|matches| {
            if matches.opt_present("help") {
                println!("{}", help(&options));
                return Ok(());
            }
            work(&matches)
        });
    match result {
        Ok(()) => SUCCESS,
        Err(Trouble(code, text)) => {
            eprintln!("wharfd passwd: {text}");
            code
        }
    }
}

const BRIEF: &str =
    "wharfd passwd [-c] [--home DIR] [--create-home] [--rights RIGHTS] [--options LIST] FILE NAME";

fn options() -> Options {
    let mut options = Options::new();
    options
        .optflag("c", "create", "make the file if there is none")
        .optopt("", "home", "the user's home", "DIR")
        .optflag("", "create-home", "make the home if there is none")
        .optopt(
            "",
            "rights",
            "letters of elradfmwMT, or read-only, read-write, upload-only, drop, none",
            "RIGHTS",
        )
        .optopt(
            "",
            "options",
            "key=value,..., see wharfd-users(5); replaces all options of the line",
            "LIST",
        )
        .optflag("k", "keep", "keep the password and change the rest")
        .optflag(
            "",
            "no-password",
            "no password fits; for users with keys or certificates",
        )
        .optflag("", "lock", "keep the user out, and the hash for later")
        .optflag("", "unlock", "undo --lock")
        .optflag("", "delete", "remove the user")
        .optopt(
            "",
            "rounds",
            "cost of the hash, 1000 to 5000000 (default 50000)",
            "N",
        )
        .optflag("h", "help", "show this");
    options
}

fn help(options: &Options) -> String {
    options.usage(&format!(
        "usage: {BRIEF}\n\n\
         Adds NAME to the users' FILE or changes the line. The password is asked for twice on\n\
         a terminal; otherwise it is the first line of standard input. It is never an argument.\n\
         A new user gets the home {NEW_HOMES}/NAME and the rights {NEW_RIGHTS} unless told otherwise.\n\
         Exit code: 0 done, 100 bad usage, 111 the system refused."
    ))
}

fn work(matches: &Matches) -> Result<(), Trouble> {
    let [file, name] = matches.free.as_slice() else {
        // SECURITY: a third word is most often a password, which everybody
        // sees in the list of processes and the shell keeps in its history.
        return Err(misused(match matches.free.len() {
            0 | 1 => "FILE and NAME are needed",
            _ => {
                "expected FILE and NAME alone; the password is read from the terminal or standard input"
            }
        }));
    };
    let place = Path::new(file);
    let target = Target::of(place, name)?;
    let creates = matches.opt_present("create");
    if !creates && matches!(place.try_exists(), Ok(false)) {
        return Err(usage(format!("there is no file '{file}'; make it with -c")));
    }
    let Some(mut change) = change(matches, name)? else {
        return delete(&target, file, name);
    };
    let may_add = matches!(change.hash, Some(HashChange::Set(_)));
    // The password is known now: the file is locked for a moment only.
    let missing = if creates || target.is_in_directory {
        Missing::Create
    } else {
        Missing::Fail
    };
    if !may_add && matches!(target.path.try_exists(), Ok(false)) {
        return Err(usage(format!("there is no user '{name}' in '{file}'")));
    }
    let locked = Locked::open(&target.path, missing).map_err(|error| system(file, &error))?;
    let lines = target.lines(&locked.text, name)?;
    if !edit::has(&lines, name) {
        if !may_add {
            return Err(usage(format!("there is no user '{name}' in '{file}'")));
        }
        change.fill_in(name);
    }
    let (lines, done) = edit::changed(&lines, name, &change).map_err(usage)?;
    locked
        .replace(target.content(&lines, name))
        .map_err(|error| system(file, &error))?;
    let (entry, mistakes) = target.look_again(place, name);
    tell(
        entry.as_ref().filter(|_| done == Done::Added),
        &mistakes,
        name,
    );
    let create = matches.opt_present("create-home");
    if create || done == Done::Added || matches.opt_present("home") {
        look_at_home(entry, name, create)?;
    }
    Ok(())
}

/// What the options ask for; `None`: the user is to go.
fn change(matches: &Matches, name: &str) -> Result<Option<Change>, Trouble> {
    let rounds = match matches.opt_str("rounds") {
        None => wharf::daemon::ROUNDS,
        Some(text) => text
            .parse()
            .ok()
            .filter(|rounds| (1000..=5_000_000).contains(rounds))
            .ok_or_else(|| usage("--rounds takes 1000 to 5000000"))?,
    };
    if let Some(rights) = matches.opt_str("rights") {
        rights
            .parse::<Perms>()
            .map_err(|error| usage(error.to_string()))?;
    }
    let hash = match one_of(
        matches,
        &["delete", "lock", "unlock", "no-password", "keep"],
    )? {
        Some("delete") => return Ok(None),
        Some("lock") => Some(HashChange::Lock),
        Some("unlock") => Some(HashChange::Unlock),
        Some("no-password") => Some(HashChange::Set("*".into())),
        Some(_) => None,
        None => Some(HashChange::Set(new_hash(name, rounds)?)),
    };
    Ok(Some(Change {
        hash,
        home: matches.opt_str("home").map(|home| {
            if !name.starts_with('@') {
                return user_file::encoded(home.as_bytes());
            }
            // In the home of a group %u is the user's name.
            let parts = home
                .split("%u")
                .map(|part| user_file::encoded(part.as_bytes()));
            parts.collect::<Vec<_>>().join(&b"%u"[..])
        }),
        rights: matches.opt_str("rights"),
        options: matches.opt_str("options"),
    }))
}

impl Change {
    /// What a new user gets that was not asked for. A group says it for its
    /// users, and is none itself.
    fn fill_in(&mut self, name: &str) {
        let options = self.options.as_deref().unwrap_or_default();
        let grouped = options.split(',').any(|one| one.starts_with("group="));
        if !grouped && !name.starts_with('@') {
            let home = format!("{NEW_HOMES}/{name}");
            let home = user_file::encoded(home.as_bytes());
            self.home.get_or_insert(home);
            self.rights.get_or_insert(NEW_RIGHTS.into());
        }
    }
}

/// Tells of a user who was added, and of what is wrong elsewhere.
fn tell(added: Option<&Entry>, mistakes: &[wharf::Error], name: &str) {
    if let Some(entry) = added {
        eprintln!(
            "wharfd passwd: added '{name}' with home {} and rights {}",
            entry.home.display(),
            entry.perms.unwrap_or(Perms::READ_ONLY)
        );
    }
    if !mistakes.is_empty() {
        eprintln!("wharfd passwd: done, but wharfd will refuse what is wrong elsewhere:");
        for mistake in mistakes {
            eprintln!("{mistake}");
        }
    }
}

/// The file that has a user's line.
struct Target {
    path: PathBuf,
    /// In a directory of users the file is the user's alone, and the line is
    /// without the name.
    is_in_directory: bool,
}

impl Target {
    fn of(place: &Path, name: &str) -> Result<Self, Trouble> {
        if !place.is_dir() {
            return Ok(Target {
                path: place.into(),
                is_in_directory: false,
            });
        }
        if !user_file::is_file_name(name) {
            return Err(usage(format!(
                "'{}' can't be the name of a user in a directory: it is no plain name of a file",
                name.escape_debug()
            )));
        }
        Ok(Target {
            path: place.join(name),
            is_in_directory: true,
        })
    }

    /// The text as lines of a users' file.
    fn lines<'a>(&self, text: &'a [u8], name: &str) -> Result<Cow<'a, [u8]>, Trouble> {
        if !self.is_in_directory || text.is_empty() {
            return Ok(text.into());
        }
        match user_file::line_of(name, text) {
            Ok((line, _)) => Ok(line.into()),
            Err(mistake) => Err(usage(format!("{}:{mistake}", self.path.display()))),
        }
    }

    /// The user, and what is wrong with the lines that were looked at: all of
    /// a file, but not the million files of a directory.
    fn look_again(&self, place: &Path, name: &str) -> (Option<Entry>, Vec<wharf::Error>) {
        if self.is_in_directory {
            let users = UserFile::open(place, UserDefaults::default());
            let entry = users.ok().and_then(|users| user_file::entry(&users, name));
            return (entry, Vec::new());
        }
        let (entries, mistakes) = user_file::entries(place, usize::MAX);
        let entry = entries.into_iter().find(|entry| entry.name == *name);
        (entry, mistakes)
    }

    /// The text of the file with these lines.
    fn content<'a>(&self, lines: &'a [u8], name: &str) -> &'a [u8] {
        if self.is_in_directory {
            lines.get(name.len() + 1..).unwrap_or_default()
        } else {
            lines
        }
    }
}

/// A user without a home can't log in: makes it, or says that it is missing.
fn look_at_home(entry: Option<Entry>, name: &str, create: bool) -> Result<(), Trouble> {
    let Some(entry) = entry else {
        return Ok(());
    };
    let place = entry.home.display();
    if create {
        let options = &entry.options;
        return home::create(&entry.home, options.uid.zip(options.gid)).map_err(|error| {
            let what = format!("the user is in the file, but not the home '{place}': {error}");
            Trouble(TEMPORARY, what)
        });
    }
    if !entry.options.create_home && matches!(entry.home.try_exists(), Ok(false)) {
        eprintln!(
            "wharfd passwd: there is no directory '{place}': '{name}' can't log in before it is made; \
             --create-home makes it"
        );
    }
    Ok(())
}

/// At most one of these options may be given.
fn one_of<'a>(matches: &Matches, names: &[&'a str]) -> Result<Option<&'a str>, Trouble> {
    let given: Vec<_> = names
        .iter()
        .copied()
        .filter(|name| matches.opt_present(name))
        .collect();
    match given.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        [one, other, ..] => Err(usage(format!("--{one} and --{other} exclude each other"))),
    }
}

fn new_hash(name: &str, rounds: u32) -> Result<String, Trouble> {
    let password = prompt::password(name).map_err(|failure| match failure {
        Failure::Unusable(text) => usage(text),
        Failure::Cancelled => Trouble(USAGE, "cancelled; nothing has been changed".into()),
        Failure::Io(error) => Trouble(TEMPORARY, format!("reading the password: {error}")),
    })?;
    wharf::daemon::hash_with_rounds(&password, rounds).map_err(|error| match error.kind() {
        wharf::ErrorKind::Invalid => usage(error.to_string()),
        _ => Trouble(TEMPORARY, error.to_string()),
    })
}

fn delete(target: &Target, file: &str, name: &str) -> Result<(), Trouble> {
    let absent = || usage(format!("there is no user '{name}' in '{file}'"));
    if target.is_in_directory {
        return match std::fs::remove_file(&target.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(absent()),
            done => done.map_err(|error| system(file, &error)),
        };
    }
    let locked = Locked::open(&target.path, Missing::Fail).map_err(|error| system(file, &error))?;
    let text = edit::without(&locked.text, name).ok_or_else(absent)?;
    locked.replace(&text).map_err(|error| system(file, &error))
}

fn system(file: &str, error: &io::Error) -> Trouble {
    Trouble(TEMPORARY, format!("'{file}': {error}"))
}
