//! `wharfd help`: topics, options and near names, from the table of options.
#![cfg(feature = "help")]

use std::process::Stdio;

use crate::common::process::{wait, wharfd};
use wharf::daemon::{KEYS, PROFILES, Settings};

/// Exit code, standard output, standard error.
fn help(words: &[&str]) -> (i32, String, String) {
    let mut command = wharfd();
    command.arg("help").args(words).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("wharfd can be started");
    let status = wait(&mut child);
    let output = child.wait_with_output().expect("it has ended");
    let text = |bytes| String::from_utf8(bytes).expect("help is UTF-8");
    let code = status.code().expect("no signal");
    (code, text(output.stdout), text(output.stderr))
}

fn shown(word: &str) -> String {
    let (code, out, err) = help(&[word]);
    assert_eq!((code, err.as_str()), (0, ""), "{word}");
    out
}

#[test]
fn help_lists_every_option_at_its_topic() {
    let (code, list, err) = help(&[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(list.lines().all(|line| line.len() < 80), "{list}");
    let words: Vec<&str> = list.split_whitespace().collect();
    for key in KEYS {
        let topic = format!("{:?}", key.section).to_lowercase();
        assert!(words.contains(&key.name) && words.contains(&&*topic));
    }
    // Each topic once, with all of its options and no others.
    let mut topics: Vec<_> = KEYS.iter().map(|key| key.section).collect();
    topics.dedup();
    for topic in topics {
        let rows = shown(&format!("{topic:?}").to_lowercase());
        let flags = rows
            .split_whitespace()
            .filter(|word| word.starts_with("--"));
        let flags: Vec<&str> = flags.filter(|flag| *flag != "--OPTION").collect();
        let of_topic = KEYS.iter().filter(|key| key.section == topic);
        let names: Vec<_> = of_topic.map(|key| format!("--{}", key.name)).collect();
        assert_eq!(flags, names, "{topic:?}");
    }
    let profiles = shown("profiles");
    assert!(PROFILES.iter().all(|row| profiles.contains(row.help)));
}

#[test]
fn help_shows_each_option_with_its_default_and_when_it_takes_effect() {
    for key in KEYS {
        let text = shown(&format!("--{}", key.name));
        let shown_default = match &key.shown(&Settings::default())[..] {
            [] => "none".into(),
            values => values.join(", "),
        };
        let default = format!("default: {shown_default}\n");
        for part in [
            &*format!("--{}", key.name),
            key.takes,
            key.help,
            &default,
            "wharfd.conf(5)",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(text.contains("can be repeated"), key.repeats, "{text}");
    }
    for (option, effect) in [
        ("listen", "at the next start\n"),
        ("log-level", "at a reload\n"),
        ("idle-timeout", "at a reload, for new sessions\n"),
    ] {
        let text = shown(option);
        assert!(text.contains(&format!("takes effect {effect}")), "{text}");
    }
}

#[test]
fn help_finds_words_in_names_and_says_what_was_meant() {
    let rows = shown("rate");
    let flags = rows
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: Vec<_> = flags.filter_map(|line| line.split(' ').next()).collect();
    let want = [
        "rate-down",
        "rate-up",
        "session-rate-down",
        "session-rate-up",
    ];
    assert_eq!(flags, want);
    assert!(shown("passwd").contains("wharfd passwd --help"));
    for (words, want) in [
        (&["loging"][..], "did you mean 'logging'?"),
        (&["idle-timout"], "did you mean 'idle-timeout'?"),
        (&["--idle_timeout"], "did you mean 'idle-timeout'?"),
        (&["xyz\n"], "'xyz\\n'. wharfd help lists them."),
        (&[""], "''. wharfd help lists"),
        (&["--"], "''. wharfd help lists"),
        (&["users", "logging"], "usage: wharfd help"),
    ] {
        let (code, out, err) = help(words);
        assert_eq!((code, out.as_str()), (100, ""), "{words:?}");
        assert!(err.contains(want), "{words:?}: {err}");
    }
}
