//! The manual pages and the tables of the code say the same: a row without
//! its entry fails, and an entry without its row. A comment of a page names the
//! tests that show what it says, and they are there. `--help` agrees with the table.
#![cfg(feature = "cli")]

#[cfg(all(feature = "ftps", feature = "sftp", feature = "import"))]
mod examples;
mod links;
mod words;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use wharf::auth::Perms;
use wharf::daemon::sftp::REQUESTS;
use wharf::daemon::user_file;
use wharf::daemon::{KEYS, PROFILES, Reload, Settings};

type Words = BTreeSet<String>;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a page below a heading, up to the next of its kind or higher.
fn section<'a>(page: &'a str, kind: &str, title: &str) -> &'a str {
    let heading = format!("\n.{kind} {title}\n");
    let from = page
        .find(&heading)
        .unwrap_or_else(|| panic!("no heading {title}"));
    let rest = &page[from + heading.len()..];
    let end = ["\n.Sh ", &format!("\n.{kind} ")]
        .iter()
        .filter_map(|next| rest.find(next))
        .min()
        .unwrap_or(rest.len());
    &rest[..end]
}

/// The words of `.It` lines that stand behind the macro `kind`, up to their
/// arguments: `.It Ic PWD , Ic XPWD Ar path` has PWD and XPWD.
fn entries(text: &str, kind: &str) -> Vec<String> {
    let head = format!(".It {kind} ");
    let mut found = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(&head)) {
        let names = line
            .split_whitespace()
            .take_while(|word| !matches!(*word, "Ar" | "Op" | "Ns" | "Ta"));
        let names: Vec<&str> = names.filter(|word| *word != kind).collect();
        found.extend(names.join(" ").split(" , ").map(String::from));
    }
    found
}

fn same(
    what: &str,
    page: impl IntoIterator<Item = String>,
    code: impl IntoIterator<Item = String>,
) {
    let page: Vec<String> = page.into_iter().collect();
    let code: Words = code.into_iter().collect();
    let set: Words = page.iter().cloned().collect();
    assert_eq!(
        page.len(),
        set.len(),
        "{what}: an entry stands twice: {page:?}"
    );
    let missing: Vec<_> = code.difference(&set).collect();
    let excess: Vec<_> = set.difference(&code).collect();
    assert!(
        missing.is_empty() && excess.is_empty(),
        "{what}: without an entry: {missing:?}; entries without a row: {excess:?}"
    );
}

/// `.Cm stall-timeout Pq 300` in the table of what happens when.
#[test]
fn times_of_networks_that_fail_are_the_defaults() {
    let page = read("man/wharf-protocol.7");
    let told = section(&page, "Sh", "NETWORKS THAT FAIL").lines();
    let told = told.filter_map(|line| line.strip_prefix(".Cm ")?.split_once(" Pq "));
    let mut count = 0;
    for (name, value) in told {
        let key = KEYS.iter().find(|key| key.name == name);
        let key = key.unwrap_or_else(|| panic!("no option {name}"));
        let value = value.trim_end_matches([' ', '.', ',']);
        assert_eq!(key.shown(&Settings::default()), [value], "{name}");
        count += 1;
    }
    assert!(count > 5);
}

/// The other numbers there, and what they are in the code.
#[test]
fn other_times_of_networks_that_fail_are_those_of_the_code() {
    const TOLD: [(&str, &str, &str); 5] = [
        (
            "three keepalive questions",
            "src/ssh/timed_socket.rs",
            "const UNANSWERED: u32 = 3;",
        ),
        (
            "end the session after four times that",
            "src/ssh/timed_socket.rs",
            "if self.unanswered >= UNANSWERED {",
        ),
        (
            "one and a half",
            "src/session/replacement.rs",
            "keepalive => keepalive * 3 / 2,",
        ),
        (
            ".Pq 30 before the login",
            "src/ftp/control.rs",
            "pub const PATIENCE: Duration = Duration::from_secs(30);",
        ),
        (
            "waits two seconds",
            "src/net/name_cache.rs",
            "const FIRST: Duration = Duration::from_secs(2);",
        ),
    ];
    let page = read("man/wharf-protocol.7");
    let told = section(&page, "Sh", "NETWORKS THAT FAIL");
    for (words, file, line) in TOLD {
        assert!(told.contains(words), "the page does not say: {words}");
        assert!(read(file).contains(line), "{words}: {file} has no {line}");
    }
}

#[test]
fn every_setting_has_its_entry_with_its_default() {
    let page = read("man/wharfd.conf.5");
    let keys = || KEYS.iter().map(|key| key.name.to_string());
    same("wharfd.conf(5)", entries(&page, "Cm"), keys());
    let settings = Settings::default();
    for key in KEYS {
        let head = format!(".It Cm {}", key.name);
        let from = page
            .lines()
            .position(|line| line == head || line.starts_with(&format!("{head} ")))
            .expect("its entry was found above");
        let entry: Vec<&str> = page
            .lines()
            .skip(from + 1)
            .take_while(|line| !line.starts_with(".It ") && *line != ".El")
            .collect();
        let takes = page
            .lines()
            .nth(from)
            .is_some_and(|line| line.contains(" Ar "));
        assert_eq!(takes, !key.is_switch(), "{}: takes a value", key.name);
        assert_eq!(
            entry.iter().any(|line| line.starts_with("Repeats")),
            key.repeats,
            "{}: repeats",
            key.name
        );
        let mut lines = entry
            .iter()
            .skip_while(|line| !line.starts_with("Default:"));
        let first = lines.next();
        let first = first.unwrap_or_else(|| panic!("{}: no default", key.name));
        let values: Vec<&str> = if first.starts_with("Default: none") {
            Vec::new()
        } else {
            lines
                .map_while(|line| line.strip_prefix(".Ql "))
                .map(|value| value.trim_end_matches([' ', '.', ',', ';']))
                .collect()
        };
        assert_eq!(values, key.shown(&settings), "{}: default", key.name);
    }
}

/// Each list of RELOADING has the options that the table says.
#[test]
fn what_a_reload_changes_is_that_of_the_table() {
    let page = read("man/wharfd.conf.5");
    let lists = section(&page, "Sh", "RELOADING");
    for (head, reload) in [
        ("\\&In effect at once", Reload::AtOnce),
        ("\\&In effect after a restart", Reload::AtStart),
    ] {
        let list = lists.split(&format!(".It Em {head}\n")).nth(1);
        let list = list.unwrap_or_else(|| panic!("no list: {head}"));
        let list = list.split("\n.It ").next().unwrap_or(list);
        let names = list.lines().filter_map(|line| line.strip_prefix(".Cm "));
        let names = names.flat_map(|names| names.split([' ', ',']));
        let names = names.filter(|name| !["", "."].contains(name));
        let rows = KEYS
            .iter()
            .filter(|key| key.reload(&Settings::default()) == reload);
        same(
            head,
            names.map(String::from),
            rows.map(|key| key.name.to_string()),
        );
    }
}

#[test]
fn every_profile_has_its_entry_with_its_settings() {
    let page = read("man/wharfd.conf.5");
    let part = section(&page, "Sh", "PROFILES");
    let mut shown = Vec::new();
    for line in part.lines() {
        match line.strip_prefix(".It Sy ") {
            Some(name) => shown.push((name.to_owned(), Vec::new())),
            None if line.starts_with('.') || line.ends_with(':') => {}
            None => {
                if let (Some((_, settings)), Some((key, value))) =
                    (shown.last_mut(), line.split_once(' '))
                {
                    settings.push((key.to_owned(), value.to_owned()));
                }
            }
        }
    }
    let table = PROFILES.iter().map(|profile| {
        let settings = profile.settings.iter();
        let settings = settings.map(|(key, value)| (key.to_string(), value.to_string()));
        (profile.name.to_string(), settings.collect::<Vec<_>>())
    });
    assert_eq!(shown, table.collect::<Vec<_>>());
}

#[test]
fn every_option_and_right_of_users_has_its_entry() {
    let page = read("man/wharfd-users.5");
    same(
        "OPTIONS of wharfd-users(5)",
        entries(section(&page, "Sh", "OPTIONS"), "Cm"),
        user_file::OPTIONS.iter().map(|row| row.key.to_string()),
    );
    for row in user_file::OPTIONS {
        let head = format!(".It Cm {} Ns = Ns Ar {}\n", row.key, row.takes);
        assert!(page.contains(&head), "{head}");
    }
    let rights = section(&page, "Sh", "RIGHTS");
    let letter = |letter: &char| letter.to_string().parse::<Perms>().is_ok();
    let letters = (' '..='~').filter(letter).map(String::from);
    let (sets, singles): (Vec<_>, Vec<_>) = entries(rights, "Cm")
        .into_iter()
        .partition(|entry| entry.len() > 1);
    same("letters of wharfd-users(5)", singles, letters);
    // The message is the only place that names the sets.
    let message = "?".parse::<Perms>().unwrap_err().to_string();
    let known = message.split("one of ").nth(1).expect("the sets are named");
    same(
        "sets of wharfd-users(5)",
        sets,
        known.split(", ").map(String::from),
    );
    for line in rights.lines().filter(|line| line.contains(" Ta Li ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, set, _, _, letters, ..] = words[..] else {
            panic!("{line}");
        };
        let [set, letters] = [set, letters].map(|text| text.parse::<Perms>().unwrap());
        assert_eq!(set, letters, "{line}");
    }
}

#[test]
fn every_command_has_its_entry() {
    let ftp = read("man/wharf-protocol.7");
    let mut verbs: Vec<String> = wharf::daemon::tables::NOT_DONE
        .iter()
        .map(|(verb, ..)| verb.to_string())
        .collect();
    for (verb, aliases, _) in wharf::daemon::tables::rows() {
        verbs.push(verb);
        verbs.extend(aliases.iter().map(|alias| alias.to_string()));
    }
    same("commands of wharf-protocol(7)", entries(&ftp, "Ic"), verbs);
    let page = read("man/wharf-sftp.7");
    let sftp = section(&page, "Sh", "SFTP VERSION 3");
    same(
        "requests of wharf-sftp(7)",
        entries(sftp, "Cm"),
        REQUESTS.iter().map(|row| row.name.to_string()),
    );
}

/// What a comment of a page names as shown by a test: `.\" Tests: a, b` at the
/// end of an entry. Readers of the page don't see it.
fn tests_named(line: &str) -> impl Iterator<Item = &str> {
    let names = line.strip_prefix(".\\\" Tests: ").unwrap_or("");
    names.split([' ', ',']).filter(|name| !name.is_empty())
}

fn is_bound(entry: &str) -> bool {
    entry.lines().any(|line| tests_named(line).next().is_some())
}

/// Names such as `login/rein` are transcripts; `FILE:NAME` is a test in a file.
#[test]
fn what_pages_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = [
        "man/wharf-protocol.7",
        "man/wharf-sftp.7",
        "man/wharf-security.7",
        "man/wharfd-users.5",
    ];
    for page in pages {
        let text = read(page);
        assert!(is_bound(&text), "{page}: no comment names a test");
        for line in text.lines() {
            let shown = line.starts_with('.') && line.contains(" Pa tests/");
            assert!(!shown, "{page}: readers see the name of a test: {line}");
            for name in tests_named(line) {
                let (file, test) = name.split_once(':').unwrap_or((name, ""));
                let path = if file.starts_with("src/") || file.starts_with("tests/") {
                    file.to_string()
                } else {
                    format!("tests/transcripts/{file}.txt")
                };
                assert!(root.join(&path).exists(), "{page}: {path} is not there");
                if !test.is_empty() {
                    let found = read(&path).contains(&format!("fn {test}("));
                    assert!(found, "{page}: no test {test} in {path}");
                }
            }
        }
    }
}

/// Each attack is met by a test that has its number.
#[test]
fn every_attack_has_a_test_with_its_number() {
    let page = read("man/wharf-security.7");
    let from = page.find(".Sh ATTACKS").expect("the attacks");
    let to = page.find(".Sh FAULTS").expect("their end");
    let entries: Vec<&str> = page[from..to].split("\n.It ").skip(1).collect();
    assert_eq!(entries.len(), 31);
    for (entry, number) in entries.iter().zip(1..) {
        assert!(entry.starts_with(&format!("{number}. ")), "{entry}");
        let test = format!(":attack_{number:02}_");
        assert!(entry.contains(&test), "no test of attack {number}");
    }
}

/// A line of the protocols without a test is a claim.
#[test]
fn every_line_of_the_protocols_names_its_test() {
    let parts = [
        (
            "man/wharf-protocol.7",
            ".Ss Lines and replies",
            ".Sh SEE ALSO",
        ),
        ("man/wharf-sftp.7", ".Sh SFTP VERSION 3", ".Sh CLIENTS"),
    ]
    .map(|(page, from, to)| {
        let page = read(page);
        let from = page.find(from).expect("its first list");
        let to = page.find(to).expect("its end");
        page[from..to].to_owned()
    });
    let mut bare = Vec::new();
    for section in parts.iter().flat_map(|part| part.split("\n.S")) {
        let mut entries = section.split("\n.It ");
        // A test may be named before the list, for all of it.
        let is_shown = entries.next().is_some_and(is_bound);
        for entry in entries.filter(|_| !is_shown) {
            // What follows the list is not the entry's.
            let entry = entry.split("\n.El").next().unwrap_or(entry);
            if !is_bound(entry) {
                bare.extend(entry.lines().next());
            }
        }
    }
    // Its commands have entries of their own.
    bare.retain(|line| *line != "Ic SITE Ar command");
    assert!(bare.is_empty(), "without a test: {bare:#?}");
}

/// A dialogue that is named behind a command has the command in it.
#[test]
fn dialogues_show_the_commands_that_name_them() {
    let page = read("man/wharf-protocol.7");
    let mut command = String::new();
    for line in page.lines() {
        if line.starts_with(".It ") || line.starts_with(".S") {
            command = entries(line, "Ic").first().cloned().unwrap_or_default();
        }
        let dialogues: Vec<&str> = tests_named(line)
            .filter(|name| !name.starts_with("src/") && !name.starts_with("tests/"))
            .collect();
        if command.is_empty() || dialogues.is_empty() {
            continue;
        }
        let shown = dialogues.iter().any(|name| {
            let text = read(&format!("tests/transcripts/{name}.txt"));
            text.to_ascii_uppercase().contains(&command)
        });
        assert!(shown, "{command} is in none of {dialogues:?}");
    }
}

/// The files of the tests that an entry names, dialogues among them.
fn shown_by(entry: &str) -> impl Iterator<Item = String> {
    entry
        .lines()
        .flat_map(tests_named)
        .map(|name| match name.split(':').next() {
            Some(file) if name.starts_with("src/") || name.starts_with("tests/") => {
                file.to_string()
            }
            _ => format!("tests/transcripts/{name}.txt"),
        })
}

/// A number that an entry says is in a dialogue or a test that it names. What
/// other servers answer, and what is never answered, is not shown.
#[test]
fn every_number_of_a_reply_is_in_a_test_that_is_named() {
    let page = read("man/wharf-protocol.7");
    let from = page.find(".Ss Lines and replies").expect("its first list");
    let to = page
        .find(".Ss Differences")
        .expect("the end of the commands");
    let mut bare = Vec::new();
    for entry in page[from..to].split("\n.It ").skip(1) {
        let entry = entry.split("\n.El").next().unwrap_or(entry);
        let (head, text) = entry.split_once('\n').unwrap_or((entry, ""));
        let tests: String = shown_by(entry).map(|file| read(&file)).collect();
        let words = text.lines().filter(|line| !line.starts_with('.'));
        let words: Vec<&str> = words.flat_map(str::split_whitespace).collect();
        for pair in [&[""], &words[..]].concat().windows(2) {
            let code = pair[1].trim_matches(|letter: char| !letter.is_ascii_digit());
            let is_code = code.len() == 3
                && pair[1].trim_end_matches(['.', ',', ';', ':']) == code
                && (b'1'..=b'5').contains(&code.as_bytes()[0])
                && !["Never", "RFC"].contains(&pair[0]);
            if is_code && !tests.contains(code) {
                bare.push(format!("{head}: {code}"));
            }
        }
    }
    assert!(bare.is_empty(), "in no test that is named: {bare:#?}");
}

/// Each row of the table of devices is a dialogue with a user of that right.
#[test]
fn every_device_has_a_dialogue_with_its_rights() {
    let page = read("man/wharfd-users.5");
    let rows = section(&page, "Ss", "Devices and programs").split("\n.It ");
    let mut count = 0;
    for row in rows.filter(|row| is_bound(row)) {
        let rights = row
            .lines()
            .next()
            .and_then(|line| line.split(" Ta ").nth(1));
        let rights = rights.unwrap_or_else(|| panic!("{row}"));
        for file in shown_by(row) {
            let text = read(&file);
            let has = text.contains(&format!(":pass:{rights}\n"))
                || text.contains(&format!("\"{rights}\""));
            assert!(has, "{row}: no user with these rights in {file}");
        }
        count += 1;
    }
    assert!(count > 15, "{count} rows");
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wharfd"))
        .args(arguments)
        .output()
        .expect("wharfd can be started");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// The options that a help lists: `-c, --config FILE` is `-c` and `--config`.
fn options(help: &str) -> Words {
    let lines = help.lines().map(str::trim_start);
    lines
        .filter(|line| line.starts_with('-'))
        .flat_map(|line| {
            line.split([' ', ','])
                .take_while(|word| word.is_empty() || word.starts_with('-'))
                .filter(|word| !word.is_empty())
                .map(String::from)
        })
        .collect()
}

/// The options that a part of wharfd(8) lists.
fn flags(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    lines
        .flat_map(|line| line.split(" , Fl "))
        .map(|flag| {
            let mut words = flag.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Fl"), Some(name)) => format!("--{name}"),
                (Some(name), _) => format!("-{name}"),
                _ => panic!("{flag}"),
            }
        })
        .collect()
}

#[test]
fn help_agrees_with_the_table() {
    let help = help(&["--help"]);
    let mut rest = &help[..];
    // In the table's order, with what they take and what they do.
    for key in KEYS {
        let name = format!("--{} {} ", key.name, key.takes);
        let at = rest.find(name.trim_end());
        let at = at.unwrap_or_else(|| panic!("--help has no {name} here"));
        let line = rest[at..].lines().next().unwrap_or("");
        assert!(line.ends_with(key.help), "{line}");
        rest = &rest[at..];
    }
    assert!(help.lines().all(|line| line.len() <= 130), "{help}");
}

#[test]
fn every_flag_of_the_programs_has_its_entry() {
    let page = read("man/wharfd.8");
    let keys: Words = KEYS.iter().map(|key| format!("--{}", key.name)).collect();
    let own = section(&page, "Sh", "DESCRIPTION");
    let own = own.split("\n.Ss ").next().expect("there is a first part");
    let shown = options(&help(&["--help"]));
    same("wharfd(8)", flags(own), shown.difference(&keys).cloned());
    let acme = cfg!(feature = "acme").then_some("acme");
    let words = ["passwd", "who", "status", "unban", "ping", "lb-config"];
    for word in words.into_iter().chain(acme) {
        let title = format!("wharfd {word}");
        same(
            &format!("{title} in wharfd(8)"),
            flags(section(&page, "Ss", &title)),
            options(&help(&[word, "--help"])),
        );
    }
    let part = section(&page, "Ss", "wharfd --sftp-server");
    let shown = options(&help(&["--sftp-server", "-h"]));
    let listed: Vec<String> = flags(part)
        .into_iter()
        .map(|flag| if flag == "-h" { "--help".into() } else { flag })
        .collect();
    let shown_own = shown
        .difference(&keys)
        .filter(|flag| *flag != "-h")
        .cloned();
    same("wharfd --sftp-server in wharfd(8)", listed, shown_own);
    for key in shown.intersection(&keys) {
        let named = part.split_whitespace().any(|word| word == &key[2..]);
        assert!(named, "wharfd --sftp-server: {key} is not in wharfd(8)");
    }
}

#[test]
fn the_index_of_tests_lists_the_packages_that_are_installed() {
    let script = read("tests/install-clients.sh");
    let packages = ["LIST", "TAKEN"].into_iter().flat_map(|list| {
        script
            .lines()
            .skip_while(move |line| !line.ends_with(&format!("<<'{list}'")))
            .skip(1)
            .take_while(move |line| *line != list)
            .filter_map(|line| line.split_whitespace().next())
            .map(String::from)
    });
    let readme = read("tests/README.md");
    let table = readme
        .split("\n## Clients\n")
        .nth(1)
        .expect("there is a table");
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with("|--"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| Some(line.split('|').nth(2)?.trim().to_string()));
    same("packages in tests/README.md", rows, packages);
}

/// The newest heading of the notes, and the picture of a running server, are of
/// the version that is built.
#[test]
fn what_names_the_version_names_this_one() {
    let version = env!("CARGO_PKG_VERSION");
    let notes = read("CHANGELOG.md");
    let mut headings = notes.lines().filter_map(|line| line.strip_prefix("## "));
    let newest = headings.find(|heading| *heading != "Unreleased");
    assert_eq!(newest, Some(version), "CHANGELOG.md");
    let picture = read("docs/who.svg");
    let mut words = picture
        .split([' ', '>', '<'])
        .filter(|word| !word.is_empty());
    words.find(|word| *word == "version");
    assert_eq!(words.next(), Some(version), "run docs/who.sh");
    let major = version.split('.').next().unwrap_or("");
    let face = read("tests/library/api.rs");
    assert!(face.contains(&format!("of version {major},")), "api.rs");
}
