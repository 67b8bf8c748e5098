//! The program from a shell: usage, settings from three sources, --check,
//! exit codes 0, 100 (wrong usage) and 111 (may work another time), signals.
#![cfg(feature = "cli")]

mod check;
use crate::common;
mod start;

use std::process::{Command, Stdio};

use common::TempDir;
use common::process::wharfd;

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = common::process::wait(&mut child);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        status.code().expect("no signal"),
        text(output.stdout),
        text(output.stderr),
    )
}

fn wharfd_with(arguments: &[&str]) -> (i32, String, String) {
    run(wharfd().args(arguments))
}

#[test]
fn help_and_version_go_to_standard_output() {
    for flag in ["--help", "-h"] {
        let (code, out, err) = wharfd_with(&[flag]);
        assert_eq!((code, err.as_str()), (0, ""));
        for word in [
            "--listen",
            "--users",
            "--passive-ports",
            "--check",
            "-c, --config FILE",
        ] {
            assert!(out.contains(word), "{word} is not in the help");
        }
        assert!(out.lines().all(|line| line.len() <= 120), "{out}");
    }
    for flag in ["--version", "-V"] {
        let (code, out, _) = wharfd_with(&[flag]);
        assert_eq!(code, 0);
        assert!(
            out.starts_with(concat!("wharfd ", env!("CARGO_PKG_VERSION"))),
            "{out}"
        );
    }
}

#[test]
fn wrong_usage_is_100_and_says_what_was_meant() {
    for (arguments, words) in [
        (&["--lisen", "2121", "/"][..], &["lisen", "--listen"][..]),
        (&["--listen"], &["listen"]),
        (&["--listen", "x:y:z", "/"], &["--listen", "expected"]),
        (&["--threads", "many", "/"], &["--threads", "whole number"]),
        (&["--threads", "1", "--threads", "2", "/"], &["twice"]),
        (
            &["--atomic-uploads=maybe", "/"],
            &["--atomic-uploads", "yes or no"],
        ),
        (&["/", "/tmp"], &["one DIR"]),
        (&["/does/not/exist"], &["/does/not/exist"]),
        (&["--users", "/does/not/exist"], &["/does/not/exist"]),
        (&["-c", "/does/not/exist"], &["/does/not/exist"]),
        (&[], &["nobody could log in"]),
    ] {
        let (code, out, err) = wharfd_with(arguments);
        assert_eq!(code, 100, "{arguments:?}: {err}");
        assert_eq!(out, "", "{arguments:?}");
        for word in words {
            assert!(err.contains(word), "{arguments:?}: no {word:?} in {err}");
        }
    }
}

#[test]
fn mistakes_in_a_file_have_their_lines_and_the_nearest_key() {
    let directory = TempDir::new("cli");
    let file = directory.join("wharfd.conf");
    std::fs::write(
        &file,
        "# comment\nidle-timout 5\nthreads many\n\nbanner one\nbanner two\nlisten\n",
    )
    .unwrap();
    let name = file.to_str().unwrap();
    let (code, _, err) = wharfd_with(&["-c", name]);
    assert_eq!(code, 100);
    for line in [
        format!("{name}:2: unknown key 'idle-timout'; did you mean 'idle-timeout'?"),
        format!("{name}:3: threads: expected a whole number from 0 to 4294967295, not 'many'"),
        format!("{name}:6: 'banner' is given twice"),
        format!("{name}:7: listen: expected"),
    ] {
        assert!(err.contains(&line), "no {line} in\n{err}");
    }
    std::fs::write(&file, b"banner \xff\n").unwrap();
    let (code, _, err) = wharfd_with(&["-c", name]);
    assert_eq!(code, 100);
    assert!(err.contains(&format!("{name}:1: not UTF-8")), "{err}");
}

#[test]
fn a_value_apart_from_its_switch_is_no_directory() {
    for arguments in [&["--active-mode", "no"][..], &["--syslog", "off", "/"]] {
        let (code, _, err) = wharfd_with(arguments);
        assert_eq!(code, 100, "{err}");
        let wanted = format!("'=': {}={}", arguments[0], arguments[1]);
        assert!(err.contains(&wanted), "no {wanted} in\n{err}");
    }
}

#[test]
fn a_mistake_names_its_option_once() {
    let (code, _, err) = wharfd_with(&["--check", "--users", "/nowhere/users"]);
    assert_eq!(code, 100);
    assert!(
        err.starts_with("--users: ") && !err.contains("users: users"),
        "{err}"
    );
}

#[test]
fn flags_are_stronger_than_the_environment_and_that_than_the_file() {
    let directory = TempDir::new("cli");
    let file = directory.join("wharfd.conf");
    std::fs::write(
        &file,
        "idle-timeout 11\nthreads 11\nmax-per-user 11\ndeny 10.1.0.0/16\ndeny 10.2.0.0/16\n",
    )
    .unwrap();
    let name = file.to_str().unwrap();
    let (code, out, err) = run(wharfd()
        .env("WHARFD_CONFIG", name)
        .env("WHARFD_IDLE_TIMEOUT", "22")
        .env("WHARFD_THREADS", "22")
        .env("WHARFD_DENY", "10.3.0.0/16 10.4.0.0/16")
        .args(["--idle-timeout", "33", "--check"])
        .arg(directory.path()));
    assert_eq!(code, 0, "{err}");
    for line in [
        "# from --idle-timeout:\nidle-timeout 33\n".to_owned(),
        "# from WHARFD_THREADS:\nthreads 22\n".into(),
        format!("# from {name}:3:\nmax-per-user 11\n"),
        "# from WHARFD_DENY:\ndeny 10.3.0.0/16\ndeny 10.4.0.0/16\n".into(),
        format!("# from DIR:\nanonymous {}\n", directory.path().display()),
        "\nstall-timeout 300\n".into(),
        "\n# users\n".into(),
    ] {
        assert!(out.contains(&line), "no {line:?} in\n{out}");
    }
    assert!(!out.contains("10.1.0.0"), "lists are replaced");
    // An unknown variable of ours is a mistake like an unknown key.
    let (code, _, err) = run(wharfd().env("WHARFD_LISTNE", "1").arg("/"));
    assert_eq!(code, 100);
    assert!(
        err.contains("WHARFD_LISTNE") && err.contains("listen"),
        "{err}"
    );
}
