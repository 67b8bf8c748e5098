//! Virtual folders, and file systems that nothing changes in.

use std::sync::Arc;

use crate::storage::support::{Temporary, build, dump, list, path, run};
use wharf::ErrorKind;
use wharf::storage::{
    Attributes, FileSystem, Follow, LocalFs, MemoryFs, Mounts, OpenOptions, ReadOnly,
};

/// A home with `pub` (read-only, over a directory of the home's own), `deep/in/it`
/// (where the home has nothing) and `pub/drop` (in a folder).
struct Site {
    home: Arc<MemoryFs>,
    public: Arc<MemoryFs>,
    files: Mounts,
    _outer: Temporary,
}

fn site() -> Site {
    let home = Arc::new(MemoryFs::new());
    build(
        &*home,
        "f=home d/ pub/ pub/hidden=x l>/pub/hidden link>/pub/news",
    );
    let public = Arc::new(MemoryFs::new());
    build(&*public, "news=public docs/ docs/a=1 up>../../f");
    let outer = Temporary::with_outside();
    let deep = LocalFs::open(outer.root()).unwrap();
    build(&deep, "g=deep");
    let read_only = ReadOnly::new(public.clone());
    let files = Mounts::new(home.clone())
        .mount(path("pub"), Arc::new(read_only))
        .and_then(|files| files.mount(path("deep/in/it"), Arc::new(deep)))
        .and_then(|files| files.mount(path("pub/drop"), Arc::new(MemoryFs::new())))
        .unwrap();
    Site {
        home,
        public,
        files,
        _outer: outer,
    }
}

#[test]
fn folders_show_and_hide_and_stay() {
    for (operation, want) in [
        ("list /", "[d deep f l link pub]"),
        ("list pub", "[docs drop news up]"),
        ("list pub/docs", "[a]"),
        ("list deep", "[in]"),
        ("list deep/in", "[it]"),
        ("list deep/in/it", "[g]"),
        ("list pub/drop", "[]"),
        ("list d", "[]"),
        ("list deep/other", "NotFound"),
        ("list public", "NotFound"),
        ("stat deep", "directory"),
        ("lstat deep/in", "directory"),
        ("stat pub", "directory"),
        ("entry / deep", "directory"),
        ("entry / pub", "directory"),
        ("entry / f", "file 4 1"),
        ("entry deep in", "directory"),
        ("entry deep .", "directory"),
        ("entry deep other", "NotFound"),
        ("entry pub drop", "directory"),
        ("linkentry / pub", "Invalid"),
        ("linkentry / l", ">/pub/hidden"),
        ("linkentry deep in", "Invalid"),
        ("linkentry deep x", "NotFound"),
        ("read pub/news", "=public"),
        ("read deep/in/it/g", "=deep"),
        ("read deep/in/it/../../../f", "=home"),
        ("read pub/hidden", "NotFound"),
        ("read deep", "IsDirectory"),
        ("read pub", "IsDirectory"),
        // A link means what it means in its own file system.
        ("read l", "=x"),
        ("read link", "NotFound"),
        ("stat pub/up", "NotFound"),
        ("space deep", "ok"),
        ("space pub/news", "ok"),
        // The folders and the way to them stay.
        ("mkdir deep", "Exists"),
        ("mkdir deep/in/it", "Exists"),
        ("rmdir deep", "Denied"),
        ("rmdir pub", "Denied"),
        ("rm pub", "Denied"),
        ("rmdir deep/in/it", "Denied"),
        ("rmdir /", "Denied"),
        ("mv pub d/pub", "Denied"),
        ("mv deep d/deep", "Denied"),
        ("mv d pub", "Denied"),
        ("mv f deep", "Denied"),
        ("store deep", "IsDirectory"),
        ("unique deep/in", "Exists"),
        ("symlink f deep", "Exists"),
        ("hard f deep", "Exists"),
        ("mkdir deep/new", "NotFound"),
        // Not from one to another.
        ("mv f deep/in/it/f", "CrossDevice"),
        ("mv deep/in/it/g g", "CrossDevice"),
        ("hard f pub/drop/f", "CrossDevice"),
        // Inside they are like any other.
        ("store deep/in/it/n", "ok"),
        ("mv deep/in/it/g deep/in/it/h", "ok"),
        ("mkdir pub/drop/d", "ok"),
        ("store f", "ok"),
        ("chmod deep/in/it/g", "700"),
    ] {
        let site = site();
        assert_eq!(run(&site.files, operation), want, "{operation}");
    }
}

#[test]
fn nothing_changes_in_a_read_only_folder() {
    let site = site();
    let before = dump(&*site.public);
    for operation in [
        "store pub/news",
        "store pub/new",
        "unique pub/new",
        "restart pub/news",
        "append pub/news",
        "update pub/news",
        "mkdir pub/d",
        "rm pub/news",
        "rmdir pub/docs",
        "mv pub/news pub/old",
        "mvkeep pub/news pub/old",
        "hard pub/news pub/other",
        "symlink x pub/l",
        "chmod pub/news",
        "chmod pub",
        "lchmod pub/news",
        "size pub/news 0",
    ] {
        assert_eq!(run(&site.files, operation), "ReadOnly", "{operation}");
    }
    let file = site
        .files
        .open(&path("pub/news"), &OpenOptions::read())
        .unwrap();
    // As SFTP's FSETSTAT on a handle for reading.
    let mut mode = Attributes::default();
    mode.mode = Some(0o777);
    let error = file.set_attributes(&mode).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    let error = file.write_all_at(b"x", 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    let seen = site.files.metadata(&path("pub/news"), Follow::No).unwrap();
    assert_eq!(seen.mode, 0o644);
    assert!(site.files.space(&path("pub")).unwrap().read_only);
    assert!(!site.files.space(&path("/")).unwrap().read_only);
    assert_eq!(dump(&*site.public), before);
    // What lies under the folder is there for those who see the home alone.
    let names = list(&*site.home, &path("pub")).unwrap();
    assert_eq!(names, [b"hidden"]);
}

#[test]
fn a_folder_has_a_path_of_its_own() {
    let memory = || Arc::new(MemoryFs::new());
    let error = Mounts::new(memory()).mount(path("/"), memory());
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Invalid);
    let error = Mounts::new(memory())
        .mount(path("a"), memory())
        .and_then(|files| files.mount(path("a"), memory()));
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Exists);
}
