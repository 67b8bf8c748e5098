//! Operation by operation: what is answered, and what the tree is afterwards.

use crate::storage::support::{build, dump, on_each, run};

/// A tree, an operation, the answer, and the tree afterwards (`=`: the same).
type Case = (&'static str, &'static str, &'static str, &'static str);

fn check(cases: &[Case]) {
    for &(tree, operation, want, after) in cases {
        on_each(|files, which, _| {
            let what = format!("{which}: {operation} in {tree}");
            build(files, tree);
            let before = dump(files);
            assert_eq!(run(files, operation), want, "{what}");
            let after = if after == "=" { &before } else { after };
            assert_eq!(dump(files), after, "{what}");
        });
    }
}

#[test]
fn looking() {
    check(&[
        ("", "stat /", "directory", "="),
        ("", "lstat /", "directory", "="),
        ("f=hello", "stat f", "file 5 1", "="),
        ("f=", "stat f", "file 0 1", "="),
        ("d/", "stat d", "directory", "="),
        ("f=hello h~f", "stat h", "file 5 2", "="),
        ("", "stat f", "NotFound", "="),
        ("", "stat d/f", "NotFound", "="),
        ("f=x", "stat f/g", "NotDirectory", "="),
        ("f=x", "stat f/g/h", "NotDirectory", "="),
        ("d/ d/f=x", "stat d/f", "file 1 1", "="),
        ("d/ d/f=x", "stat d/../d/f", "file 1 1", "="),
        ("d/ d/f=x", "stat ../../d/f", "file 1 1", "="),
        ("l>f f=abc", "stat l", "file 3 1", "="),
        ("l>f f=abc", "lstat l", "link 1", "="),
        ("l>nowhere", "stat l", "NotFound", "="),
        ("l>nowhere", "lstat l", "link 7", "="),
        ("l>l", "stat l", "Denied", "="),
        ("l>l", "lstat l", "link 1", "="),
        ("l>d d/", "lstat l", "link 1", "="),
        ("l>d d/ d/f=x", "lstat l/f", "file 1 1", "="),
        ("", "space /", "ok", "="),
        ("d/ f=x l>f", "space l", "ok", "="),
        ("", "space f", "NotFound", "="),
        // Names are bytes.
        ("\u{ff}\u{fe}=x", "stat \u{ff}\u{fe}", "file 1 1", "="),
        (
            "\u{ff}/ \u{ff}/\u{1}\u{7f}=x",
            "list \u{ff}",
            "[\u{1}\u{7f}]",
            "=",
        ),
        ("l>\u{ff} \u{ff}=xy", "stat l", "file 2 1", "="),
        ("-rf=x *=y \\=z", "list /", "[* -rf \\]", "="),
        ("...=x ..a=y", "list /", "[... ..a]", "="),
    ]);
}

#[test]
fn reading_and_listing() {
    check(&[
        ("f=hello", "read f", "=hello", "="),
        ("f=", "read f", "=", "="),
        ("", "read f", "NotFound", "="),
        ("", "read /", "IsDirectory", "="),
        ("d/", "read d", "IsDirectory", "="),
        ("f=x", "read f/g", "NotDirectory", "="),
        ("l>f f=abc", "read l", "=abc", "="),
        ("l>d d/", "read l", "IsDirectory", "="),
        ("l>/", "read l", "IsDirectory", "="),
        ("l>..", "read l", "IsDirectory", "="),
        ("l>f/ f=x", "read l", "NotDirectory", "="),
        ("l>f/. f=x", "read l", "NotDirectory", "="),
        ("", "list /", "[]", "="),
        ("b=x a/ c>b", "list /", "[a b c]", "="),
        ("a/ a/b/ a/b/c=x", "list a", "[b]", "="),
        ("f=x", "list f", "NotDirectory", "="),
        ("", "list d", "NotFound", "="),
        ("l>d d/ d/f=x", "list l", "[f]", "="),
        ("l>/ f=x", "list l", "[f l]", "="),
        ("d/ d/l>.. f=x", "list d/l", "[d f]", "="),
        ("d/ d/l>../../.. f=x", "list d/l", "[d f]", "="),
        ("l>nowhere", "list l", "NotFound", "="),
        ("l>f f=x", "list l", "NotDirectory", "="),
        ("l>l", "list l", "Denied", "="),
    ]);
}

#[test]
fn entries_of_an_open_directory() {
    check(&[
        ("d/ d/f=abc", "entry d f", "file 3 1", "="),
        ("d/ d/f=abc", "entry d .", "directory", "="),
        ("d/ d/f=abc f=x", "entry d ..", "NameInvalid", "="),
        ("d/ d/f=abc f=x", "entry d ../f", "NameInvalid", "="),
        ("d/ d/f=abc f=x", "entry d /f", "NameInvalid", "="),
        ("d/ f=x", "entry d ", "NameInvalid", "="),
        ("d/ d/e/ d/e/f=x", "entry d e/f", "NameInvalid", "="),
        ("d/", "entry d f", "NotFound", "="),
        ("d/ d/l>f d/f=ab", "entry d l", "file 2 1", "="),
        ("d/ d/l>f d/f=ab", "lentry d l", "link 1", "="),
        ("d/ d/l>f f=ab", "entry d l", "NotFound", "="),
        ("d/ d/l>../f f=ab", "entry d l", "file 2 1", "="),
        ("d/ d/l>/f f=ab", "entry d l", "file 2 1", "="),
        ("d/ d/l>../../../f f=ab", "entry d l", "file 2 1", "="),
        ("d/ d/l>..", "entry d l", "directory", "="),
        ("d/ d/l>l", "entry d l", "Denied", "="),
        ("l>f f=ab", "entry / l", "file 2 1", "="),
        ("a>d d/ d/l>../f f=ab", "entry a l", "file 2 1", "="),
        (
            "a>d/e d/ d/e/ d/e/l>../f d/f=ab",
            "entry a l",
            "file 2 1",
            "=",
        ),
        ("d/ d/l>f", "linkentry d l", ">f", "="),
        ("d/ d/f=x", "linkentry d f", "Invalid", "="),
        ("d/", "linkentry d f", "NotFound", "="),
        ("d/ l>f", "linkentry d ../l", "NameInvalid", "="),
    ]);
}

#[test]
fn storing() {
    check(&[
        ("", "store f", "ok", "f=new"),
        ("f=longer", "store f", "ok", "f=new"),
        ("f=longer", "restart f", "ok", "f=Nonger"),
        ("", "restart f", "ok", "f=N"),
        ("f=longer", "append f", "ok", "f=longer+"),
        ("", "append f", "ok", "f=+"),
        ("f=longer", "update f", "ok", "f=Uonger"),
        ("", "update f", "NotFound", "="),
        ("", "unique f", "ok", "f=new"),
        ("f=x", "unique f", "Exists", "="),
        ("d/", "unique d", "Exists", "="),
        ("l>f", "unique l", "Exists", "="),
        ("l>l", "unique l", "Exists", "="),
        ("", "unique /", "Exists", "="),
        ("", "store /", "IsDirectory", "="),
        ("d/", "store d", "IsDirectory", "="),
        ("d/", "update d", "IsDirectory", "="),
        ("", "store d/f", "NotFound", "="),
        ("f=x", "store f/g", "NotDirectory", "="),
        ("f=x", "unique f/g", "NotDirectory", "="),
        // A new file behind a dangling link is made inside.
        ("l>f", "store l", "ok", "f=new l>f"),
        ("l>f", "restart l", "ok", "f=N l>f"),
        ("l>f", "update l", "NotFound", "="),
        ("l>/f", "store l", "ok", "f=new l>/f"),
        ("l>../../f", "store l", "ok", "f=new l>../../f"),
        ("d/ d/l>../f", "store d/l", "ok", "d/ d/l>../f f=new"),
        ("l>d/f", "store l", "NotFound", "="),
        ("d/ l>d/f", "store l", "ok", "d/ d/f=new l>d/f"),
        ("l>f/", "store l", "NotFound", "="),
        ("l>m m>n n>f", "store l", "ok", "f=new l>m m>n n>f"),
        ("l>m m>l", "store l", "Denied", "="),
        ("l>f f=longer", "store l", "ok", "f=new l>f"),
        ("l>f f=longer", "append l", "ok", "f=longer+ l>f"),
        ("l>d d/", "store l", "IsDirectory", "="),
        ("l>d d/", "store l/f", "ok", "d/ d/f=new l>d"),
        ("l>..", "store l", "IsDirectory", "="),
        (
            "\u{ff}/",
            "store \u{ff}/\u{fe}",
            "ok",
            "\u{ff}/ \u{ff}/\u{fe}=new",
        ),
        ("f=x h~f", "store f", "ok", "f=new h=new"),
    ]);
}

#[test]
fn directories() {
    check(&[
        ("", "mkdir d", "ok", "d/"),
        ("d/", "mkdir d/e", "ok", "d/ d/e/"),
        ("d/", "mkdir d", "Exists", "="),
        ("f=x", "mkdir f", "Exists", "="),
        ("l>d", "mkdir l", "Exists", "="),
        ("", "mkdir /", "Exists", "="),
        ("", "mkdir d/e", "NotFound", "="),
        ("f=x", "mkdir f/d", "NotDirectory", "="),
        ("l>d d/", "mkdir l/e", "ok", "d/ d/e/ l>d"),
        ("l>l", "mkdir l/e", "Denied", "="),
        ("d/", "rmdir d", "ok", ""),
        ("d/ d/f=x", "rmdir d", "NotEmpty", "="),
        ("f=x", "rmdir f", "NotDirectory", "="),
        ("d/ l>d", "rmdir l", "NotDirectory", "="),
        ("", "rmdir d", "NotFound", "="),
        ("", "rmdir /", "Denied", "="),
        ("d/ d/e/ l>d", "rmdir l/e", "ok", "d/ l>d"),
    ]);
}

#[test]
fn removing() {
    check(&[
        ("f=x", "rm f", "ok", ""),
        ("f=x h~f", "rm f", "ok", "h=x"),
        ("d/ d/f=x", "rm d/f", "ok", "d/"),
        ("d/", "rm d", "IsDirectory", "="),
        ("", "rm /", "IsDirectory", "="),
        ("", "rm f", "NotFound", "="),
        ("f=x", "rm f/g", "NotDirectory", "="),
        ("l>f f=x", "rm l", "ok", "f=x"),
        ("l>d d/ d/f=x", "rm l", "ok", "d/ d/f=x"),
        ("l>d d/ d/f=x", "rm l/f", "ok", "d/ l>d"),
        ("l>nowhere", "rm l", "ok", ""),
        ("l>l", "rm l", "ok", ""),
    ]);
}

#[test]
fn renaming() {
    check(&[
        ("a=x", "mv a b", "ok", "b=x"),
        ("a=x b=y", "mv a b", "ok", "b=x"),
        ("a=x", "mv a a", "ok", "="),
        ("a=x b~a", "mv a b", "ok", "="),
        ("", "mv a b", "NotFound", "="),
        ("b=y", "mv a b", "NotFound", "="),
        ("a=x", "mv a d/b", "NotFound", "="),
        ("a=x f=y", "mv a f/b", "NotDirectory", "="),
        ("a=x d/", "mv a d", "IsDirectory", "="),
        ("a=x d/", "mv a d/b", "ok", "d/ d/b=x"),
        ("d/ d/f=x", "mv d e", "ok", "e/ e/f=x"),
        ("d/ d/f=x e/", "mv d e", "ok", "e/ e/f=x"),
        ("d/ e/ e/f=x", "mv d e", "NotEmpty", "="),
        ("d/ f=x", "mv d f", "NotDirectory", "="),
        ("d/", "mv d d", "ok", "="),
        ("d/", "mv d d/e", "Invalid", "="),
        ("d/ d/e/", "mv d d/e", "Invalid", "="),
        ("d/ d/e/", "mv d d/e/f", "Invalid", "="),
        ("d/ d/e/", "mv d/e d", "NotEmpty", "="),
        ("d/ d/e/ d/e/f=x", "mv d/e/f d", "NotEmpty", "="),
        ("d/ l>d", "mv d l/e", "Invalid", "="),
        ("l>f f=x", "mv l m", "ok", "f=x m>f"),
        ("l>f f=x a=y", "mv a l", "ok", "f=x l=y"),
        ("l>d d/ a=y", "mv a l", "ok", "d/ l=y"),
        ("l>d d/ e/", "mv e l", "NotDirectory", "="),
        ("l>d d/ a=y", "mv a l/b", "ok", "d/ d/b=y l>d"),
        ("", "mv / a", "Denied", "="),
        ("a=x", "mv a /", "Denied", "="),
        ("d/", "mv d /", "Denied", "="),
        // Never over something.
        ("a=x", "mvkeep a b", "ok", "b=x"),
        ("a=x b=y", "mvkeep a b", "Exists", "="),
        ("a=x", "mvkeep a a", "Exists", "="),
        ("a=x b~a", "mvkeep a b", "Exists", "="),
        ("a=x b>nowhere", "mvkeep a b", "Exists", "="),
        ("a=x d/", "mvkeep a d", "Exists", "="),
        ("d/ d/f=x", "mvkeep d e", "ok", "e/ e/f=x"),
        ("d/ e/", "mvkeep d e", "Exists", "="),
        ("d/", "mvkeep d d/e", "Invalid", "="),
        ("d/ d/e/", "mvkeep d d/e", "Exists", "="),
        ("", "mvkeep a b", "NotFound", "="),
        ("", "mvkeep / a", "Denied", "="),
        ("a=x", "mvkeep a /", "Exists", "="),
        ("l>f", "mvkeep l m", "ok", "m>f"),
    ]);
}

#[test]
fn links() {
    check(&[
        ("", "symlink f l", "ok", "l>f"),
        ("", "symlink ../../x l", "ok", "l>../../x"),
        ("", "symlink /etc/passwd l", "ok", "l>/etc/passwd"),
        ("", "symlink \u{ff} l", "ok", "l>\u{ff}"),
        ("", "symlink  l", "NotFound", "="),
        ("l=x", "symlink f l", "Exists", "="),
        ("l>x", "symlink f l", "Exists", "="),
        ("", "symlink f /", "Exists", "="),
        ("", "symlink f d/l", "NotFound", "="),
        ("f=x", "symlink f f/l", "NotDirectory", "="),
        ("l>f", "readlink l", ">f", "="),
        ("l>m m>f", "readlink l", ">m", "="),
        ("f=x", "readlink f", "Invalid", "="),
        ("d/", "readlink d", "Invalid", "="),
        ("", "readlink /", "Invalid", "="),
        ("", "readlink l", "NotFound", "="),
        ("a=x", "hard a b", "ok", "a=x b=x"),
        ("a=x b=y", "hard a b", "Exists", "="),
        ("a=x", "hard a a", "Exists", "="),
        ("", "hard a b", "NotFound", "="),
        ("d/", "hard d e", "Denied", "="),
        ("", "hard / e", "Denied", "="),
        ("a=x", "hard a /", "Exists", "="),
        ("a=x", "hard a d/b", "NotFound", "="),
        ("l>f f=x", "hard l m", "ok", "f=x l>f m>f"),
        ("l>nowhere", "hard l m", "ok", "l>nowhere m>nowhere"),
    ]);
}

#[test]
fn attributes() {
    check(&[
        ("f=x", "chmod f", "700", "="),
        ("d/", "chmod d", "700", "="),
        ("", "chmod /", "700", "="),
        ("l>f f=x", "chmod l", "700", "="),
        ("d/ d/l>../f f=x", "chmod d/l", "700", "="),
        ("f=x", "lchmod f", "700", "="),
        ("l>f f=x", "lchmod l", "Unsupported", "="),
        ("l>nowhere", "chmod l", "NotFound", "="),
        ("l>l", "chmod l", "Denied", "="),
        ("", "chmod f", "NotFound", "="),
        ("f=hello", "size f 2", "ok", "f=he"),
        ("f=hello", "size f 7", "ok", "f=hello\0\0"),
        ("f=hello", "size f 0", "ok", "f="),
        ("f=hello", "size f 9223372036854775808", "BadOffset", "="),
        ("l>f f=hello", "size l 2", "ok", "f=he l>f"),
        ("d/", "size d 0", "IsDirectory", "="),
        ("", "size / 0", "IsDirectory", "="),
        ("", "size f 0", "NotFound", "="),
        ("l>nowhere", "size l 0", "NotFound", "="),
    ]);
}
