//! `wharfd help`: one option, or some, from their table.

use std::io::Write;

use wharf::daemon::{KEYS, Key, PROFILES, Reload, Settings, environment_name, nearest};

use super::super::failure::Failure;
use super::{key_row, profiles};

/// Words that are commands, each with a `--help` of its own.
const COMMANDS: &[&str] = &[
    "passwd",
    "who",
    "status",
    "kick",
    "ban",
    "unban",
    "ping",
    "lb-config",
    "acme",
    "import",
];

/// `wharfd help [TOPIC | OPTION]`; the exit code.
pub fn run(words: &[String]) -> i32 {
    let text = match words {
        [] => topics(),
        [word] => match about(word) {
            Ok(text) => text,
            Err(failure) => return failure.tell(),
        },
        _ => return Failure::usage("usage: wharfd help [TOPIC | OPTION]").tell(),
    };
    // Nobody may be reading.
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

/// The options of a topic, one option, or those that have the word in their names.
/// `users` is a topic, and `--users` an option.
fn about(word: &str) -> Result<String, Failure> {
    let mut text = rows(&|key| topic(key) == word);
    if text.is_empty() {
        let name = word.trim_start_matches("--");
        if let Some(key) = Key::find(name) {
            return Ok(option(key));
        }
        if COMMANDS.contains(&name) {
            return Ok(format!("See wharfd {name} --help and wharfd(8).\n"));
        }
        if name == "profiles" {
            return Ok(profiles());
        }
        text = rows(&|key| !name.is_empty() && key.name.contains(name));
        if text.is_empty() {
            return Err(unknown(name));
        }
    }
    text.push_str("\nwharfd help --OPTION says more of one; the manual is wharfd.conf(5).\n");
    Ok(text)
}

fn unknown(word: &str) -> Failure {
    let topics = topics();
    let known = topics.split_ascii_whitespace();
    let mut known = known.filter(|known| known.bytes().all(|byte| !byte.is_ascii_uppercase()));
    let meant = nearest(word, &mut known);
    let meant = meant.map_or(".".into(), |name| format!("; did you mean '{name}'?"));
    Failure::usage(format!(
        "no topic and no option is called '{}'{meant} wharfd help lists them.",
        word.escape_debug()
    ))
}

/// The topic of an option, as it is asked for.
fn topic(key: &Key) -> String {
    format!("{:?}", key.section).to_ascii_lowercase()
}

/// Each topic with its options.
fn topics() -> String {
    let mut text = String::from("TOPICS, AND THEIR OPTIONS\n");
    let (mut section, mut column) = (None, 0);
    for key in KEYS {
        if section != Some(key.section) {
            section = Some(key.section);
            text.push_str(&format!("\n{:<11}", topic(key)));
            column = 11;
        } else if column + key.name.len() > 78 {
            text.push_str("\n           ");
            column = 11;
        }
        text.push(' ');
        text.push_str(key.name);
        column += key.name.len() + 1;
    }
    text.push_str("\nprofiles   ");
    for profile in PROFILES {
        text.push(' ');
        text.push_str(profile.name);
    }
    text.push_str("\n\nCOMMANDS, EACH WITH --help\n\n           ");
    for command in COMMANDS {
        text.push(' ');
        text.push_str(command);
    }
    text.push('\n');
    text
}

/// All that the table says of one option.
fn option(key: &Key) -> String {
    let defaults = Settings::default();
    let mut default = key.shown(&defaults).join(", ");
    if default.is_empty() {
        default.push_str("none");
    }
    let reload = match key.reload(&defaults) {
        Reload::AtOnce => "at a reload",
        Reload::NewSessions => "at a reload, for new sessions",
        Reload::AtStart => "at the next start",
    };
    let repeats = if key.repeats {
        "can be repeated\n  "
    } else {
        ""
    };
    format!(
        "--{} {}\n  {}\n  {repeats}default: {default}\n  a change takes effect {reload}\n  \
         environment: {}; topic: {}; manual: wharfd.conf(5)\n",
        key.name,
        key.takes,
        key.help,
        environment_name(key.name),
        topic(key),
    )
}

/// The rows of some options.
fn rows(chosen: &dyn Fn(&Key) -> bool) -> String {
    let mut text = String::new();
    for key in KEYS.iter().filter(|key| chosen(key)) {
        key_row(&mut text, key);
    }
    text
}
