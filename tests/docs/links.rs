//! What texts link to is there. `make site` looks at the same links in HTML, but
//! not at each `cargo test`.

use std::path::{Path, PathBuf};

use super::read;

fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(root.join(directory)).expect("a directory can be read");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == extension));
    let below = |path: PathBuf| path.strip_prefix(root).expect("it is below").to_owned();
    paths.map(below).collect()
}

/// The sections that a page names by `.Sx` and does not have.
fn sections_that_lack(page: &str) -> Vec<&str> {
    let heading = |line: &str, name: &str| {
        let title = line.strip_prefix(".Sh ").or(line.strip_prefix(".Ss "));
        title.is_some_and(|title| title.trim_matches('"') == name)
    };
    let named = page.lines().filter_map(|line| line.strip_prefix(".Sx "));
    let names = named.map(|line| {
        let words = line.trim_end_matches([' ', '.', ',', ';', ':', ')']);
        words.trim_matches('"')
    });
    names
        .filter(|name| !page.lines().any(|line| heading(line, name)))
        .collect()
}

#[test]
fn sections_that_pages_name_are_theirs() {
    let pages = ["5", "7", "8"]
        .map(|section| files("man", section))
        .concat();
    assert!(pages.len() > 6, "{pages:?}");
    for page in pages {
        let text = read(page.to_str().expect("a name of letters"));
        let lacking = sections_that_lack(&text);
        assert!(lacking.is_empty(), "{}: {lacking:?}", page.display());
    }
    let page = ".Sh ONE\n.Sx ONE .\n.Sx TWO ,\n.Ss \"Three four\"\n.Sx \"Three four\"\n.Sx Three\n";
    assert_eq!(sections_that_lack(page), ["TWO", "Three"]);
}

/// The files that a Markdown text links to.
fn links(text: &str) -> Vec<&str> {
    let links = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let links = links.filter(|link| !link.contains(':') && !link.starts_with('#'));
    links.filter_map(|link| link.split('#').next()).collect()
}

#[test]
fn files_that_texts_link_to_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for text in ["", "docs", "tests", "contrib", "benches"]
        .map(|at| files(at, "md"))
        .concat()
    {
        let words = read(text.to_str().expect("a name of letters"));
        for link in links(&words) {
            let target = root.join(&text).with_file_name("").join(link);
            assert!(target.exists(), "{} links to {link}", text.display());
            count += 1;
        }
    }
    assert!(count > 15, "{count} links");
    let text = "[a](b.txt) ![c](d/e.svg) [f](https://g/) [h](#i) [j](k.txt#l)";
    assert_eq!(links(text), ["b.txt", "d/e.svg", "k.txt"]);
}
