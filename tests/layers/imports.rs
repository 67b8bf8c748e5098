//! Which file of `src` names which, read from `use` and from paths in the
//! code. A name that a module re-exports counts as its own file's.

use std::collections::{BTreeMap, BTreeSet};

/// The modules of a source tree by their paths: `net::tls::wire`, and the
/// crate's root as an empty one.
pub struct Modules(BTreeMap<String, Module>);

struct Module {
    file: String,
    /// What `use` brings in, by the name it has here.
    names: BTreeMap<String, Vec<String>>,
    /// The names among them that others may take from here.
    public: BTreeSet<String>,
    /// The code, without comments, tests and `use`.
    code: String,
}

impl Modules {
    /// Reads files such as `("src/net/tls/wire.rs", text)`; tests are left out.
    pub fn read(files: &[(String, String)]) -> Self {
        let code = files.iter().filter(|(file, _)| !file.contains("/tests"));
        Modules(
            code.map(|(file, text)| (path_of(file), Module::read(file, text)))
                .collect(),
        )
    }

    /// The files that each file names, itself and those above it left out: a
    /// module's children are parts of it, which may use what it has.
    pub fn arrows(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let arrows = self.0.iter().map(|(path, module)| {
            let named = self.named(path, module).into_iter();
            let others = named.filter(|to| {
                let inside = path.strip_prefix(to.as_str());
                !inside.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            });
            let files = others.map(|to| self.0[&to].file.as_str());
            (module.file.as_str(), files.collect())
        });
        arrows.collect()
    }

    /// Groups of files that name each other in a circle.
    pub fn circles(&self) -> Vec<BTreeSet<&str>> {
        let arrows = self.arrows();
        let reached: BTreeMap<&str, BTreeSet<&str>> = arrows
            .keys()
            .map(|from| (*from, reach(&arrows, from)))
            .collect();
        let mut found: Vec<BTreeSet<&str>> = Vec::new();
        for (from, all) in &reached {
            let circle = all.iter().filter(|to| reached[*to].contains(from));
            let circle: BTreeSet<&str> = circle.copied().collect();
            if !circle.is_empty() && !found.contains(&circle) {
                found.push(circle);
            }
        }
        found
    }

    fn named(&self, path: &str, module: &Module) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let words: BTreeSet<&str> = module.code.split(|c| !is_word(c)).collect();
        let mut local: BTreeMap<&str, &[String]> = BTreeMap::new();
        for (name, segments) in &module.names {
            match self.resolve(path, segments, 0) {
                // A module that is brought in counts where the code names
                // something of it.
                Some((_, Kind::Module)) => {
                    local.insert(name, segments);
                }
                Some((to, Kind::Item))
                    if !module.public.contains(name) || words.contains(name.as_str()) =>
                {
                    found.insert(to);
                }
                _ => {}
            }
        }
        for mut segments in paths(&module.code) {
            if let Some(start) = local.get(segments[0].as_str()) {
                segments.splice(..1, start.iter().cloned());
            }
            found.extend(self.resolve(path, &segments, 0).map(|(to, _)| to));
        }
        found
    }

    /// The module where `segments`, read in the module `here`, leads to.
    fn resolve(&self, here: &str, segments: &[String], depth: usize) -> Option<(String, Kind)> {
        let (mut at, rest) = self.start(here, segments)?;
        for (number, segment) in rest.iter().enumerate() {
            let inner = join(&at, segment);
            if self.0.contains_key(&inner) {
                at = inner;
                continue;
            }
            let brought = self.0.get(&at)?.names.get(segment);
            return match brought.filter(|_| depth < 8) {
                Some(other) => {
                    let onward = [other, &rest[number + 1..]].concat();
                    self.resolve(&at, &onward, depth + 1)
                }
                None => Some((at, Kind::Item)),
            };
        }
        Some((at, Kind::Module))
    }

    fn start<'a>(&self, here: &str, segments: &'a [String]) -> Option<(String, &'a [String])> {
        match segments[0].as_str() {
            "crate" => Some((String::new(), &segments[1..])),
            "self" => Some((here.to_owned(), &segments[1..])),
            "super" => {
                let levels = segments.iter().take_while(|word| *word == "super").count();
                let parts: Vec<&str> = here.split("::").collect();
                let above = parts[..parts.len().checked_sub(levels)?].join("::");
                Some((above, &segments[levels..]))
            }
            child => {
                let child = join(here, child);
                self.0.contains_key(&child).then(|| (child, &segments[1..]))
            }
        }
    }
}

impl Module {
    fn read(file: &str, text: &str) -> Self {
        let text = without_comments_and_tests(text);
        let mut module = Module {
            file: file.to_owned(),
            names: BTreeMap::new(),
            public: BTreeSet::new(),
            code: String::new(),
        };
        let mut rest = text.as_str();
        while let Some((before, item, after)) = next_use(rest) {
            module.code += before;
            let public = before.trim_end().ends_with(['b', ')']) && ends_with_pub(before);
            for (name, segments) in expand(item) {
                if public {
                    module.public.insert(name.clone());
                }
                module.names.insert(name, segments);
            }
            rest = after;
        }
        module.code += rest;
        module
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Module,
    Item,
}

/// `src/net/tls/mod.rs` as `net::tls`.
fn path_of(file: &str) -> String {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    match path {
        "lib" => String::new(),
        path => path.trim_end_matches("/mod").replace('/', "::"),
    }
}

fn join(module: &str, name: &str) -> String {
    match module {
        "" => name.to_owned(),
        module => format!("{module}::{name}"),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn without_comments_and_tests(text: &str) -> String {
    let lines = text.lines().take_while(|line| *line != "mod tests {");
    lines
        .map(|line| {
            let comment = line.find("//").filter(|at| !line[..*at].ends_with(':'));
            format!("{}\n", &line[..comment.unwrap_or(line.len())])
        })
        .collect()
}

/// What is before the next `use …;`, what it says, and what is behind it.
fn next_use(text: &str) -> Option<(&str, &str, &str)> {
    let starts = |at: usize| {
        let line = text[..at].rsplit('\n').next().unwrap().trim();
        line.is_empty() || line.starts_with("pub") && !line.contains([';', '{'])
    };
    let (at, _) = text.match_indices("use ").find(|(at, _)| starts(*at))?;
    let (item, after) = text[at + "use ".len()..].split_once(';')?;
    Some((&text[..at], item, after))
}

fn ends_with_pub(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap();
    line.trim_start().starts_with("pub")
}

/// `a::{b, c::{d as e}}` as `b`: `a::b` and `e`: `a::c::d`.
fn expand(item: &str) -> Vec<(String, Vec<String>)> {
    let item = item.trim();
    let Some((before, inner)) = item.split_once('{') else {
        let (path, name) = item.split_once(" as ").unwrap_or((item, ""));
        let mut segments: Vec<String> = path.split("::").map(|part| part.trim().into()).collect();
        if segments.last().is_some_and(|last| last == "self") && segments.len() > 1 {
            segments.pop();
        }
        let name = match name.trim() {
            "" => segments[segments.len() - 1].clone(),
            name => name.into(),
        };
        return vec![(name, segments)];
    };
    let inner = &inner[..inner.rfind('}').unwrap_or(inner.len())];
    let mut depth = 0;
    let parts = inner.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| expand(&format!("{}{}", before.trim(), part.trim())))
        .collect()
}

/// Every `a::b` of the code.
fn paths(code: &str) -> Vec<Vec<String>> {
    let words = code.split(|c| !is_word(c) && c != ':');
    words
        .filter(|word| word.contains("::") && !word.starts_with(':'))
        .map(|word| {
            let segments = word.split("::").filter(|part| !part.is_empty());
            segments.map(|part| part.replace(':', "")).collect()
        })
        .filter(|segments: &Vec<String>| !segments.is_empty())
        .collect()
}

fn reach<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<&str> = arrows[from].iter().copied().collect();
    while let Some(next) = waiting.pop() {
        if found.insert(next) {
            waiting.extend(&arrows[next]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(files: &[(&str, &str)]) -> Modules {
        let files = files.iter().map(|(file, text)| {
            let file = format!("src/{file}.rs");
            (file, (*text).to_owned())
        });
        Modules::read(&files.collect::<Vec<_>>())
    }

    #[test]
    fn imports_are_found_in_every_spelling() {
        for text in [
            "use crate::room::other::Name;",
            "pub(crate) use super::other::Name;\nfn f() -> Name {}",
            "use super::{Nothing, other::{self, Name as Word}};",
            "fn f() {\n    use crate::{\n        room::Shown,\n    };\n}",
            "use crate::room::other;\nlet x = other::f();",
            "let x = crate::room::other::f();",
            "let x = super::Shown::new();",
        ] {
            let read = modules(&[
                ("lib", "mod room;"),
                ("room/mod", "mod one;\nmod other;\npub use other::Shown;"),
                ("room/one", text),
                ("room/other", "pub struct Shown;"),
            ]);
            let arrows = read.arrows();
            assert_eq!(
                arrows["src/room/one.rs"],
                BTreeSet::from(["src/room/other.rs"]),
                "{text}"
            );
        }
        for text in [
            "// crate::room::other::f()",
            "mod tests {\n    use super::other::Name;\n}",
            "use crate::room::other;",
            "pub use super::other::Name;",
        ] {
            let read = modules(&[
                ("room/mod", ""),
                ("room/one", text),
                ("room/other", "pub struct Name;"),
            ]);
            assert!(read.arrows()["src/room/one.rs"].is_empty(), "{text}");
        }
    }

    #[test]
    fn circles_are_found_and_children_make_none() {
        let read = modules(&[
            ("a", "use crate::b::B;"),
            ("b", "use crate::c::C;\nmod inner;\nuse inner::D;"),
            ("b/inner", "use super::B;"),
            ("c", "fn f() { crate::a::f() }"),
            ("d", "use crate::a::A;"),
        ]);
        let circles = read.circles();
        assert_eq!(
            circles,
            [BTreeSet::from(["src/a.rs", "src/b.rs", "src/c.rs"])]
        );
    }
}
