//! The dialogues of tests/transcripts, a test for each directory, on files in
//! memory and in a directory, and once more in memory under TLS.
//!
//! With `WHARF_BLESS=1` every `S:` and `D<` line that does not fit is written
//! anew from what came; the change is then for a human to judge.

mod common;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::TempDir;
use common::link::{Clear, Layer};
use common::transcript::{Outcome, difference, now, play_over, store};
use wharf::storage::{FileSystem, LocalFs, MemoryFs};

const TRANSCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");

/// The dialogues of a directory, sorted.
fn dialogues(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(TRANSCRIPTS).join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no transcripts in {name}");
    files
}

/// Runs every dialogue of a directory; the failures of all of them together.
fn run_directory(name: &str) {
    let mut failures = String::new();
    for path in dialogues(name) {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = format!("{name}/{}", path.file_name().unwrap().display());
        if !text.starts_with("# ") {
            let _ = writeln!(failures, "{shown}: begins without a comment that says why");
        }
        if store(&text) != Some("local") {
            let files = Arc::new(MemoryFs::new().with_clock(now));
            run(
                &path,
                &format!("{shown} in memory"),
                &text,
                files,
                &Clear,
                &mut failures,
            );
        }
        if store(&text) != Some("memory") {
            let directory = TempDir::new("transcript");
            let files = Arc::new(LocalFs::open(directory.path()).unwrap());
            run(
                &path,
                &format!("{shown} in a directory"),
                &text,
                files,
                &Clear,
                &mut failures,
            );
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Runs every dialogue of a directory with both its connections under TLS.
#[cfg(feature = "ftps")]
fn run_directory_under_tls(name: &str) {
    let mut failures = String::new();
    for path in dialogues(name) {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = format!("{name}/{} under TLS", path.file_name().unwrap().display());
        let directory = TempDir::new("transcript");
        let files: Arc<dyn FileSystem> = match store(&text) {
            Some("local") => Arc::new(LocalFs::open(directory.path()).unwrap()),
            _ => Arc::new(MemoryFs::new().with_clock(now)),
        };
        let layer = common::tls_link::Tls::new();
        run(&path, &shown, &text, files, &layer, &mut failures);
    }
    assert!(failures.is_empty(), "\n{failures}");
}

fn run(
    path: &Path,
    shown: &str,
    text: &str,
    files: Arc<dyn FileSystem>,
    layer: &dyn Layer,
    failures: &mut String,
) {
    match catch_unwind(AssertUnwindSafe(|| play_over(text, files, layer).unwrap())) {
        Ok(lines) if std::env::var_os("WHARF_BLESS").is_some() => {
            bless(path, shown, text, &lines, failures);
        }
        Ok(lines) => {
            if let Some(difference) = difference(&lines) {
                let _ = write!(failures, "--- {shown}\n{difference}");
            }
        }
        Err(panic) => {
            let what = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic");
            let _ = writeln!(failures, "--- {shown}: {what}");
        }
    }
}

/// Writes the dialogue anew. Other words are a matter of taste, other codes
/// are not.
fn bless(path: &Path, shown: &str, text: &str, lines: &[Outcome], failures: &mut String) {
    let new: String = lines.iter().map(|line| line.new.clone() + "\n").collect();
    if new != text {
        std::fs::write(path, new).unwrap();
    }
    let code = |line: &str| -> Option<String> {
        let word = line.split(' ').nth(1)?;
        Some(word.chars().take(3).collect())
    };
    for (number, line) in lines.iter().enumerate() {
        if line.old.starts_with('S') && line.wrong && code(&line.old) != code(&line.new) {
            let number = number + 1;
            let _ = writeln!(
                failures,
                "{shown}:{number}: {} has become {}",
                line.old, line.new
            );
        }
    }
}

/// Nobody takes what was made up for what a device does.
#[test]
fn clients_say_where_they_are_known_from() {
    for path in dialogues("clients") {
        let text = std::fs::read_to_string(&path).unwrap();
        let head = text.lines().take_while(|line| line.starts_with("# "));
        let says = |line: &str| line.starts_with("# Known") || line.starts_with("# Assumed");
        assert!(
            head.clone().any(says),
            "{}: known, or assumed?",
            path.display()
        );
    }
}

macro_rules! directories {
    ($($name:ident)+) => {
        $(#[test] fn $name() { run_directory(stringify!($name)); })+

        #[cfg(feature = "ftps")]
        mod under_tls {
            $(#[test] fn $name() { super::run_directory_under_tls(stringify!($name)); })+
        }

        #[test]
        fn every_directory_is_run() {
            let known = [$(stringify!($name)),+];
            for entry in std::fs::read_dir(TRANSCRIPTS).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(known.contains(&name.as_str()), "{name} is not run");
            }
        }

        #[test]
        fn every_dialogue_is_in_the_test_kit() {
            let table = include_str!("../src/testing/dialogues.rs");
            for name in [$(stringify!($name)),+] {
                let row = table.lines().find(|row| row.trim().starts_with(&format!("{name}:")));
                for path in dialogues(name) {
                    let dialogue = format!("\"{}\"", path.file_stem().unwrap().display());
                    let told = row.is_some_and(|row| row.contains(&dialogue));
                    assert!(told, "src/testing/dialogues.rs has no {dialogue} in {name}");
                }
            }
        }
    };
}

directories! {
    login dirs params transfer listing rename times hash site errors limits abort lines attacks clients
}
