//! Words that are not to be in our texts: sentences that readers stumbled over,
//! and second terms for a thing that has one. `codespell`, which `make check`
//! runs, finds misspelt words.

use std::path::{Path, PathBuf};

/// A term that has another in the RFCs or in the manuals of other servers, and
/// what is written instead.
const TERMS: &[(&str, &str)] = &[
    ("in the clear", "unencrypted, without TLS"),
    ("plain text", "unencrypted, without TLS"),
    ("plaintext", "unencrypted, without TLS"),
    ("cleartext", "unencrypted, without TLS"),
    ("balancer", "load balancer"),
    ("balancers", "load balancers"),
    ("soft link", "symbolic link"),
    ("softlink", "symbolic link"),
    ("answer code", "reply code"),
    ("control channel", "control connection"),
    ("data channel", "data connection"),
    ("stranger", "client that has not logged in"),
    ("strangers", "clients that have not logged in"),
];

/// A sentence that was read twice has one of these; what is written instead.
const PHRASES: &[(&str, &str)] = &[
    ("with success has happened", "say who did what"),
    ("stand in a file", "are kept in a file"),
    ("one a line", "one per line"),
    ("clients that begin with TLS", "use implicit TLS"),
    ("come along with", "are imported with"),
    ("is a no", "means no"),
    ("nobody there", "no sessions"),
    ("warned of is", "begin with the subject"),
    ("refused are", "begin with the subject"),
    ("behind it stands", "name the thing"),
    ("who reaches", "clients that can reach"),
    ("not so much room", "not enough space"),
    ("this is no user name", "invalid user name"),
    ("has not this", "does not support this"),
    ("by our successor", "by the new process"),
    ("the directory it is to be in", "the parent directory"),
];

/// What users and administrators read.
const TEXTS: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs",
    "man",
    "contrib",
];

/// The files at and below a path that are text.
fn texts(path: &Path, found: &mut Vec<(PathBuf, String)>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a directory can be read") {
            texts(&entry.expect("an entry can be read").path(), found);
        }
    } else if path.extension().is_none_or(|end| end != "svg")
        && let Ok(text) = std::fs::read_to_string(path)
    {
        found.push((path.to_owned(), text));
    }
}

/// Lower case, blanks for everything between words, macros of mdoc left out, so
/// that a phrase is found across the ends of lines.
fn words_of(text: &str) -> String {
    let mut plain = String::new();
    for line in text.lines() {
        let is_macro = line.starts_with('.');
        let words = line.trim_start_matches(['/', '!', '#', ' ']).split(' ');
        let words = words.filter(|word| {
            let name = word.trim_start_matches('.').as_bytes();
            !(is_macro && name.len() == 2 && name[0].is_ascii_uppercase())
        });
        words.for_each(|word| plain.extend([word, " "]));
    }
    // A phrase does not go on behind the end of a sentence.
    let text = plain.to_lowercase().replace(". ", " | ");
    let words = text.split(|letter: char| !letter.is_alphanumeric() && !"'|_".contains(letter));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!(" {} ", words.join(" "))
}

/// Each place where a word or phrase is that is not written.
fn found_in(name: &str, text: &str, not_written: &[(&str, &str)]) -> Vec<String> {
    let words = words_of(text).replace(" load balancer", " load-balancer");
    let mut found = Vec::new();
    for (phrase, instead) in not_written {
        let phrase = format!(" {} ", phrase.to_lowercase());
        if let Some(at) = words.find(&phrase) {
            let before = words[..at].rsplitn(5, ' ').take(4).collect::<Vec<_>>();
            let before: Vec<&str> = before.into_iter().rev().collect();
            found.push(format!(
                "{name}: '{} {}': write {instead}",
                before.join(" "),
                phrase.trim()
            ));
        }
    }
    found
}

fn all_found(paths: &[&str], not_written: &[(&str, &str)]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for path in paths {
        texts(&root.join(path), &mut files);
    }
    assert!(files.len() >= paths.len());
    let found = files.iter().flat_map(|(path, text)| {
        let name = path.strip_prefix(root).unwrap_or(path).display();
        found_in(&name.to_string(), text, not_written)
    });
    found.collect()
}

#[test]
fn a_thing_has_one_term() {
    let found = all_found(TEXTS, TERMS);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_sentence_is_one_that_readers_stumbled_over() {
    let found = all_found(TEXTS, PHRASES);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn words_are_found_across_lines_and_macros_and_not_within_others() {
    let page = "Users stand\n in a\n.Em file ,\none a line.\n";
    assert_eq!(found_in("page", page, PHRASES).len(), 2);
    assert_eq!(found_in("page", "a Balancer here", TERMS).len(), 1);
    assert!(found_in("page", "a load\nbalancer, balancerette", TERMS).is_empty());
}

/// Pages that are read first are short, and link to the rest.
#[test]
fn the_first_pages_are_short() {
    for (name, most) in [
        ("README.md", 1800),
        ("CHANGELOG.md", 900),
        ("contrib/README.md", 900),
    ] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
        let text = text.expect("the page can be read");
        let words = text.split_whitespace();
        let count = words
            .filter(|word| word.contains(char::is_alphanumeric))
            .count();
        assert!(count <= most, "{name}: {count} words");
    }
}
