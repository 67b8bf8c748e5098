//! Links of every sort in every position under every operation.

use crate::storage::support::{Temporary, build, dump, on_each, run};
use wharf::daemon::{Resolver, Usage};
use wharf::storage::{FileSystem, LocalFs, MemoryFs};

/// What there is besides the link: files whose names are also on the host.
const TREE: &str = "etc/ etc/passwd=mine d/ d/e/ d/e/f=deep d/g=x f=top outside/ outside/own=y";

/// Targets of the link `L` in `d`.
const TARGETS: &[&str] = &[
    "e",
    "e/",
    "e/.",
    "./e/../e",
    "g",
    "g/",
    "g/..",
    "e/f",
    "../f",
    "../../../../f",
    "../f/",
    "../d/e",
    "../d/L",
    "/",
    "//",
    "/..",
    "..",
    ".",
    "../..",
    "/d",
    "/d/e/f",
    "/etc/passwd",
    "/etc",
    "/outside",
    "../outside",
    "../outside/secret",
    "../../outside/secret",
    "HOST/outside",
    "HOST/outside/secret",
    "HOST/outside/new",
    "HOST/root/f",
    "/proc/self/root/etc/passwd",
    "/proc/self/cwd",
    "nowhere",
    "nowhere/x",
    "/nowhere",
    "../nowhere",
    "L",
    "/d/L",
    "L/x",
    "e/nowhere",
    "e/f/nowhere",
];

/// Paths through or to the link.
const PATHS: &[&str] = &[
    "d/L",
    "d/L/f",
    "d/L/e/f",
    "d/L/secret",
    "d/L/d/L",
    "d/L/new",
];

const OPERATIONS: &[&str] = &[
    "stat @",
    "lstat @",
    "read @",
    "list @",
    "mkdir @",
    "rm @",
    "rmdir @",
    "store @",
    "unique @",
    "restart @",
    "append @",
    "update @",
    "mv @ moved",
    "mv f @",
    "mv d/e @",
    "mvkeep @ moved",
    "mvkeep f @",
    "hard @ other",
    "hard f @",
    "symlink x @",
    "readlink @",
    "chmod @",
    "lchmod @",
    "size @ 1",
    "entry d L",
    "space @",
];

/// The three file systems with the tree and one link. The host's path in its
/// text is the same for all.
struct Trio {
    outer: [Temporary; 2],
    files: [Box<dyn FileSystem>; 3],
    before: String,
}

impl Trio {
    fn new(target: &str) -> Self {
        let outer = [Temporary::with_outside(), Temporary::with_outside()];
        let local = |which: usize, resolver| {
            Box::new(LocalFs::with_resolver(outer[which].root(), resolver).unwrap())
        };
        let files: [Box<dyn FileSystem>; 3] = [
            local(0, Resolver::OpenAt2),
            local(1, Resolver::Walk),
            Box::new(MemoryFs::new()),
        ];
        let target = target.replace("HOST", &outer[0].0.to_string_lossy());
        for files in &files {
            build(&**files, TREE);
            build(&**files, &format!("d/L>{target}"));
        }
        let before = dump(&*files[0]);
        Trio {
            outer,
            files,
            before,
        }
    }
}

/// 6,000 combinations: three file systems, one answer, one tree.
#[test]
fn a_link_means_the_same_everywhere() {
    for target in TARGETS {
        let mut trio = Trio::new(target);
        for at in PATHS {
            for operation in OPERATIONS {
                let operation = operation.replace('@', at);
                let answers = trio.files.each_ref().map(|files| run(&**files, &operation));
                let trees = trio.files.each_ref().map(|files| dump(&**files));
                let what = format!("{operation}, L>{target}");
                assert_eq!(answers[0], answers[1], "openat2 and walk: {what}");
                assert_eq!(answers[0], answers[2], "openat2 and memory: {what}");
                assert_eq!(trees[0], trees[1], "openat2 and walk: {what}");
                assert_eq!(trees[0], trees[2], "openat2 and memory: {what}");
                for outer in &trio.outer {
                    outer.check_outside(&what);
                }
                if trees[0] != trio.before {
                    trio = Trio::new(target);
                }
            }
        }
    }
}

#[test]
fn forty_links_are_followed_and_one_more_is_a_loop() {
    on_each(|files, which, _| {
        build(files, "l0>f f=x d/");
        for number in 1..=40 {
            build(files, &format!("l{number}>l{}", number - 1));
        }
        assert_eq!(run(files, "read l39"), "=x", "{which}");
        assert_eq!(run(files, "read l40"), "Denied", "{which}");
        assert_eq!(run(files, "lstat l40"), "link 3", "{which}");
        assert_eq!(run(files, "chmod l40"), "Denied", "{which}");
        assert_eq!(run(files, "update l40"), "Denied", "{which}");
        // Links count along the whole path, not each component.
        build(files, "m>.");
        let through = |count: usize| format!("read {}f", "m/".repeat(count));
        assert_eq!(run(files, &through(40)), "=x", "{which}");
        assert_eq!(run(files, &through(41)), "Denied", "{which}");
    });
}

#[test]
fn a_link_bomb_ends() {
    // Each link goes through the one before it twice: 2^30 steps if counted
    // by text, 40 by the rule.
    on_each(|files, which, _| {
        build(files, "d/ b0>d");
        for number in 1..30 {
            let before = number - 1;
            build(files, &format!("b{number}>b{before}/../b{before}"));
        }
        assert_eq!(run(files, "stat b29"), "Denied", "{which}");
        // A long text of `..` costs no more than a bounded walk.
        let up = "d/../".repeat(800);
        build(files, &format!("u>{up}d"));
        let answer = run(files, "stat u");
        assert!(
            ["directory", "Denied"].contains(&answer.as_str()),
            "{which}: {answer}"
        );
    });
}

#[test]
fn deep_trees_are_reached() {
    on_each(|files, which, _| {
        let mut deep = String::new();
        for _ in 0..300 {
            deep.push_str("deep/");
            assert_eq!(run(files, &format!("mkdir {deep}")), "ok", "{which}");
        }
        assert_eq!(run(files, &format!("store {deep}f")), "ok", "{which}");
        build(files, &format!("l>{deep}"));
        assert_eq!(run(files, "read l/f"), "=new", "{which}");
        build(files, &format!("{deep}up>{}x x=y", "../".repeat(300)));
        assert_eq!(run(files, &format!("read {deep}up")), "=y", "{which}");
    });
}

/// Directories that were moved below each other until no path of a client's
/// leads there are counted; where no path of ours does, nothing more fits.
#[test]
fn trees_deeper_than_a_path_are_counted() {
    on_each(|files, which, _| {
        let name = "d".repeat(250);
        let used = || Usage::scan(files, 0, 0).used();
        build(files, "0/ 0/f=abc");
        for top in 1..=18 {
            let mut chain = top.to_string();
            assert_eq!(run(files, &format!("mkdir {chain}")), "ok", "{which}");
            for _ in 0..15 {
                chain = format!("{chain}/{name}");
                assert_eq!(run(files, &format!("mkdir {chain}")), "ok", "{which}");
            }
            let inner = top - 1;
            let moved = run(files, &format!("mv {inner} {chain}/{inner}"));
            assert_eq!(moved, "ok", "{which}");
            if top <= 3 {
                assert_eq!((used().bytes, used().files), (3, 1), "{which} {top}");
            }
        }
        assert_eq!(used().bytes, u64::MAX, "{which}");
    });
}
