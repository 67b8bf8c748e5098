//! What the pages show can be pasted: each command of wharfd in README, the
//! manual and contrib's README is tried, and each file that is shown is read.
//! What serves is tried with `--check`, with the machine's directories in a
//! scratch one.

use std::io::Write;
use std::process::{Command, Stdio};

use wharf::daemon::{Settings, Source};

use super::{KEYS, read};

/// Commands that are not tried, by how they begin, and why.
const NOT_TRIED: &[(&str, &str)] = &[
    ("wharfd acme", "asks an authority; tests/clients/acme.rs"),
    ("wharfd who", "needs a server; tests/program/control.rs"),
    ("wharfd kick", "needs a server; tests/program/control.rs"),
    ("wharfd ping", "needs a server; tests/ftps/ping.rs"),
];

const PAGES: &[&str] = &[
    "README.md",
    "contrib/README.md",
    "man/wharfd.8",
    "man/wharfd.conf.5",
    "man/wharfd-users.5",
    "man/wharf-cluster.7",
    "man/wharf-migration.7",
    "man/wharf-protocol.7",
    "man/wharf-security.7",
    "man/wharf-sftp.7",
];

/// The blocks of a page: fenced in Markdown, `.Bd -literal` and `.Dl` in mdoc.
fn blocks(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        let ends = line == "```" || line == ".Ed";
        if let Some(block) = open.take() {
            if ends {
                found.push(block);
            } else {
                open = Some(block + &line.replace("\\e", "\\").replace("\\-", "-") + "\n");
            }
        } else if line.starts_with("```") || line.starts_with(".Bd -literal") {
            open = Some(String::new());
        } else if let Some(line) = line.strip_prefix(".Dl ") {
            found.push(line.replace("\\-", "-"));
        }
    }
    found
}

/// The commands of wharfd in a block, continued lines joined.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined
        .lines()
        .map(|line| line.trim().trim_start_matches("$ "));
    let ours =
        lines.filter(|line| line.starts_with("wharfd ") && !line.starts_with("wharfd serves"));
    ours.filter(|line| !line.starts_with("wharfd passwd: "))
        .map(String::from)
        .collect()
}

/// A scratch directory that stands for the machine's.
struct Machine(std::path::PathBuf);

impl Machine {
    fn new() -> Machine {
        let place = std::env::temp_dir().join(format!("wharf-examples-{}", std::process::id()));
        let made = [
            "srv/ann",
            "srv/cameras",
            "etc/wharf",
            "etc/pure-ftpd",
            "home/Public",
        ];
        for directory in made {
            std::fs::create_dir_all(place.join(directory)).expect("a directory can be made");
        }
        let machine = Machine(place);
        machine.put("etc/vsftpd.conf", &read("tests/import/vsftpd-debian.conf"));
        let passwd = read("tests/import/pureftpd.passwd");
        machine.put("etc/pure-ftpd/pureftpd.passwd", &passwd);
        machine.put("etc/wharf/users", "");
        machine
    }

    fn put(&self, path: &str, text: &str) {
        std::fs::write(self.0.join(path), text).expect("a file can be written");
    }

    /// The command with the scratch directory's paths, through a shell.
    fn run(&self, command: &str) -> Result<(), String> {
        let place = self.0.display().to_string();
        let mut command = command.to_owned();
        for top in ["/srv/", "/etc/", "/var/log/"] {
            command = command.replace(&format!(" {top}"), &format!(" {place}{top}"));
        }
        let wharfd = env!("CARGO_BIN_EXE_wharfd");
        let command = format!("{wharfd}{}", command.trim_start_matches("wharfd"));
        let mut child = Command::new("sh")
            .args(["-c", &command])
            .current_dir(&self.0)
            .env("HOME", self.0.join("home"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        // The password of `wharfd passwd`; others do not read it.
        let _ = child.stdin.take().expect("a pipe").write_all(b"secret\n");
        let output = child.wait_with_output().expect("it ends");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(error)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What serves is only checked; the rest is run as it is.
fn tried(command: &str) -> String {
    let word = command.split_whitespace().nth(1).unwrap_or("");
    match word {
        "passwd" | "import" | "lb-config" => command.to_owned(),
        _ if command.contains("--check") => command.to_owned(),
        _ => format!("{command} --check"),
    }
}

#[test]
fn commands_that_are_shown_can_be_pasted() {
    let machine = Machine::new();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in PAGES {
        for block in blocks(&read(page)) {
            // Commands that follow a file are about it.
            if is_configuration(&block) {
                machine.put("wharfd.conf", &block);
            }
            for command in commands(&block) {
                if NOT_TRIED
                    .iter()
                    .any(|(begins, _)| command.starts_with(begins))
                {
                    continue;
                }
                count += 1;
                if let Err(error) = machine.run(&tried(&command)) {
                    wrong.push(format!("{page}: {command}\n{error}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 10, "{count} commands");
}

/// A block whose first line is a setting is a configuration file.
fn is_configuration(block: &str) -> bool {
    let lines = block.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let word = lines.next().and_then(|line| line.split_whitespace().next());
    word.is_some_and(|word| KEYS.iter().any(|key| key.name == word))
}

#[test]
fn files_that_are_shown_are_configurations() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in PAGES {
        for block in blocks(&read(page))
            .iter()
            .filter(|block| is_configuration(block))
        {
            count += 1;
            let mut mistakes = Vec::new();
            Source::from_lines(block, page).apply(&mut Settings::default(), &mut mistakes);
            wrong.extend(
                mistakes
                    .iter()
                    .map(|mistake| format!("{mistake} in\n{block}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 5, "{count} files");
}

#[test]
fn blocks_and_commands_are_found() {
    let page = "text\n.Bd -literal\nwharfd import vsftpd \\e\n  FILE\nls\n.Ed\n.Dl wharfd /srv\n";
    let found: Vec<String> = blocks(page)
        .iter()
        .flat_map(|block| commands(block))
        .collect();
    assert_eq!(found, ["wharfd import vsftpd    FILE", "wharfd /srv"]);
    assert!(is_configuration("# c\nlisten 21\n") && !is_configuration("ann:x:/srv\n"));
}
