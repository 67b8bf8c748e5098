//! Open files and directories, modes, times, room.

use std::time::{Duration, UNIX_EPOCH};

use crate::storage::support::{build, dump, on_each, path, read_all, run, write};
use wharf::ErrorKind;
use wharf::storage::{
    Attributes, Create, FileKind, FileSystem, Follow, MemoryFs, OpenOptions, Write,
};

#[test]
fn what_is_written_is_read() {
    on_each(|files, which, _| {
        let options = OpenOptions::write(Write::At, Create::New, 0o640);
        let file = files.open(&path("a"), &options).unwrap();
        file.write_all_at(b"hello", 0).unwrap();
        file.sync().unwrap();
        file.close().unwrap();
        let metadata = files.metadata(&path("a"), Follow::Yes).unwrap();
        assert_eq!((metadata.size, metadata.mode), (5, 0o640), "{which}");
        let file = files.open(&path("a"), &OpenOptions::read()).unwrap();
        assert_eq!(file.metadata_at_open().unwrap(), metadata, "{which}");
        let mut buffer = [0; 9];
        assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 4, "{which}");
        assert_eq!(&buffer[..4], b"ello", "{which}");
        assert_eq!(file.read_at(&mut buffer, 5).unwrap(), 0, "{which}");
        assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0, "{which}");
    });
}

#[test]
fn offsets_past_the_end_leave_holes_and_absurd_ones_are_refused() {
    on_each(|files, which, _| {
        let mut options = OpenOptions::write(Write::At, Create::New, 0o600);
        options.read = true;
        let file = files.open(&path("a"), &options).unwrap();
        // Past 4 GiB.
        file.write_all_at(b"end", 5 << 30).unwrap();
        assert_eq!(file.metadata().unwrap().size, (5 << 30) + 3, "{which}");
        let mut buffer = [1; 4];
        assert_eq!(
            file.read_at(&mut buffer, (5 << 30) - 1).unwrap(),
            4,
            "{which}"
        );
        assert_eq!(&buffer, b"\0end", "{which}");
        for offset in [1 << 63, u64::MAX] {
            let read = file.read_at(&mut buffer, offset).unwrap_err();
            let write = file.write_all_at(b"x", offset).unwrap_err();
            assert_eq!(read.kind(), ErrorKind::BadOffset, "{which}");
            assert_eq!(write.kind(), ErrorKind::BadOffset, "{which}");
        }
        file.write_all_at(b"", u64::MAX).unwrap();
    });
}

#[test]
fn appends_go_to_the_end_whatever_the_offset() {
    on_each(|files, which, _| {
        build(files, "f=abc");
        let options = OpenOptions::write(Write::Append, Create::Never, 0);
        let one = files.open(&path("f"), &options).unwrap();
        let two = files.open(&path("f"), &options).unwrap();
        one.write_all_at(b"1", 0).unwrap();
        two.write_all_at(b"2", 0).unwrap();
        one.write_all_at(b"3", 1).unwrap();
        assert_eq!(dump(files), "f=abc123", "{which}");
    });
}

#[test]
fn a_handle_does_only_what_it_was_opened_for() {
    on_each(|files, which, _| {
        build(files, "f=abc");
        let mut size = Attributes::default();
        size.size = Some(0);
        let reader = files.open(&path("f"), &OpenOptions::read()).unwrap();
        let kinds = [
            reader.write_all_at(b"x", 0).unwrap_err().kind(),
            reader.set_attributes(&size).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [ErrorKind::Denied; 2], "{which}");
        let options = OpenOptions::write(Write::At, Create::Never, 0);
        let writer = files.open(&path("f"), &options).unwrap();
        let error = writer.read_at(&mut [0; 1], 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{which}");
        let mut neither = OpenOptions::read();
        neither.read = false;
        let error = files.open(&path("f"), &neither).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{which}");
        assert_eq!(dump(files), "f=abc", "{which}");
    });
}

#[test]
fn an_open_file_outlives_its_names() {
    on_each(|files, which, _| {
        build(files, "f=abc g=other");
        let mut options = OpenOptions::write(Write::At, Create::Never, 0);
        options.read = true;
        let removed = files.open(&path("f"), &options).unwrap();
        files.remove_file(&path("f")).unwrap();
        removed.write_all_at(b"X", 1).unwrap();
        assert_eq!(read_all(&*removed).unwrap(), b"aXc", "{which}");
        assert_eq!(removed.metadata().unwrap().links, 0, "{which}");
        removed.sync().unwrap();
        let replaced = files.open(&path("g"), &options).unwrap();
        build(files, "n=new");
        assert_eq!(run(files, "mv n g"), "ok");
        assert_eq!(read_all(&*replaced).unwrap(), b"other", "{which}");
        replaced.write_all_at(b"lost", 0).unwrap();
        removed.close().unwrap();
        replaced.close().unwrap();
        assert_eq!(dump(files), "g=new", "{which}");
    });
}

#[test]
fn a_temporary_name_can_be_synced_after_its_rename() {
    on_each(|files, which, _| {
        build(files, "d/");
        let options = OpenOptions::write(Write::At, Create::New, 0o644);
        let file = files.open(&path("d/.in.f"), &options).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        file.sync().unwrap();
        assert_eq!(run(files, "mv d/.in.f d/f"), "ok", "{which}");
        file.sync().unwrap();
        file.close().unwrap();
        assert_eq!(dump(files), "d/ d/f=x", "{which}");
    });
}

#[test]
fn new_files_and_directories_get_exactly_the_mode_asked_for() {
    on_each(|files, which, _| {
        for mode in [0o666, 0o777, 0o600, 0o000, 0o222, 0o1777, 0o2755, 0o4755] {
            let name = format!("f{mode:o}");
            for create in [Create::New, Create::IfMissing] {
                let options = OpenOptions::write(Write::At, create, mode);
                let file = files.open(&path(&name), &options).unwrap();
                assert_eq!(file.metadata().unwrap().mode, mode, "{which} {mode:o}");
                assert_eq!(
                    file.metadata_at_open().unwrap().mode,
                    mode,
                    "{which} {mode:o}"
                );
                files.remove_file(&path(&name)).unwrap();
            }
            let name = path(&format!("d{mode:o}"));
            files.make_dir(&name, mode).unwrap();
            let made = files.metadata(&name, Follow::No).unwrap();
            assert_eq!(made.mode, mode, "{which} {mode:o}");
            files.remove_dir(&name).unwrap();
        }
        // An existing file keeps its own, also behind a link.
        build(files, "f=x l>f");
        for name in ["f", "l"] {
            let options = OpenOptions::write(Write::Truncate, Create::IfMissing, 0o777);
            let file = files.open(&path(name), &options).unwrap();
            assert_eq!(file.metadata().unwrap().mode, 0o644, "{which}");
        }
        // Behind a dangling link it is new.
        build(files, "m>new");
        let options = OpenOptions::write(Write::At, Create::IfMissing, 0o777);
        let file = files.open(&path("m"), &options).unwrap();
        assert_eq!(file.metadata().unwrap().mode, 0o777, "{which}");
    });
}

#[test]
fn modes_are_masked_and_times_kept_on_both_sides_of_1970_and_2038() {
    on_each(|files, which, _| {
        build(files, "f=x l>f d/");
        let times = [
            UNIX_EPOCH,
            UNIX_EPOCH + Duration::new(1_000_000_000, 123_000_000),
            UNIX_EPOCH + Duration::from_secs(5_000_000_000),
            UNIX_EPOCH - Duration::from_millis(1500),
        ];
        let accessed = UNIX_EPOCH + Duration::from_secs(77);
        for time in times {
            for name in ["f", "l", "d", "/"] {
                let mut wanted = Attributes::default();
                wanted.mode = Some(0o100_741);
                wanted.modified = Some(time);
                wanted.accessed = Some(accessed);
                let name = path(name);
                files.set_attributes(&name, &wanted, Follow::Yes).unwrap();
                let seen = files.metadata(&name, Follow::Yes).unwrap();
                assert_eq!(seen.modified, time, "{which} {name}");
                assert_eq!(
                    (seen.mode, seen.accessed),
                    (0o741, accessed),
                    "{which} {name}"
                );
            }
        }
        // One alone leaves the other.
        let mut wanted = Attributes::default();
        wanted.modified = Some(UNIX_EPOCH);
        let file = files.open(&path("f"), &OpenOptions::read()).unwrap();
        file.set_attributes(&wanted).unwrap();
        let seen = file.metadata().unwrap();
        assert_eq!(
            (seen.modified, seen.accessed),
            (UNIX_EPOCH, accessed),
            "{which}"
        );
        // A link has times of its own.
        let before = files.metadata(&path("f"), Follow::No).unwrap();
        let mut wanted = Attributes::default();
        wanted.modified = Some(UNIX_EPOCH + Duration::from_secs(9));
        files
            .set_attributes(&path("l"), &wanted, Follow::No)
            .unwrap();
        let link = files.metadata(&path("l"), Follow::No).unwrap();
        assert_eq!(
            (link.kind, Some(link.modified)),
            (FileKind::Link, wanted.modified),
            "{which}"
        );
        assert_eq!(
            files.metadata(&path("f"), Follow::No).unwrap(),
            before,
            "{which}"
        );
    });
}

#[test]
fn long_listings_come_whole_while_entries_come_and_go() {
    on_each(|files, which, _| {
        build(files, "d/");
        for number in 0..3000 {
            let name = format!("d/{number:0>200}");
            write(files, &name, "").unwrap();
        }
        let mut directory = files.read_dir(&path("d")).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let mut name = Vec::new();
        while directory.next(&mut name).unwrap().is_some() {
            assert!(seen.insert(name.clone()), "{which}: twice");
            files.remove_file(&path("d").join(&name).unwrap()).unwrap();
        }
        assert_eq!(seen.len(), 3000, "{which}");
        assert_eq!(directory.next(&mut name).unwrap(), None, "{which}");
        files.remove_dir(&path("d")).unwrap();
        // A directory that is gone is at its end.
        assert_eq!(directory.next(&mut name).unwrap(), None, "{which}");
        build(files, "e/ e/f=x");
        let mut directory = files.read_dir(&path("e")).unwrap();
        assert_eq!(run(files, "rm e/f"), "ok", "{which}");
        assert_eq!(run(files, "rmdir e"), "ok", "{which}");
        while directory.next(&mut name).unwrap().is_some() {}
    });
}

/// Opening must neither block nor succeed (CVE lists are full of FIFOs in
/// upload directories that hang a server).
#[test]
fn a_directory_that_is_gone_has_no_more_entries() {
    on_each(|files, which, _| {
        build(files, "d d/file=x");
        let mut directory = files.read_dir(&path("d")).unwrap();
        let mut name = Vec::new();
        assert!(directory.next(&mut name).unwrap().is_some(), "{which}");
        files.remove_file(&path("d/file")).unwrap();
        files.remove_dir(&path("d")).unwrap();
        for _ in 0..2 {
            assert_eq!(directory.next(&mut name).unwrap(), None, "{which}");
        }
    });
}

#[test]
fn only_regular_files_are_opened() {
    on_each(|files, which, root| {
        let Some(root) = root else { return };
        let fifo = root.join("fifo");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::Mode::from_raw_mode(0o666),
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        build(files, "l>fifo");
        for name in ["fifo", "socket", "l"] {
            for operation in ["read", "store", "restart", "append", "update"] {
                let answer = run(files, &format!("{operation} {name}"));
                assert_eq!(answer, "Denied", "{which}: {operation} {name}");
            }
            assert_eq!(
                run(files, &format!("size {name} 0")),
                "Denied",
                "{which} {name}"
            );
            assert_eq!(
                run(files, &format!("stat {name}")),
                "other",
                "{which} {name}"
            );
            assert_eq!(
                run(files, &format!("list {name}")),
                "NotDirectory",
                "{which} {name}"
            );
            assert_eq!(
                run(files, &format!("chmod {name}")),
                "700",
                "{which} {name}"
            );
        }
        let mut both = OpenOptions::write(Write::At, Create::Never, 0);
        both.read = true;
        let error = files.open(&path("fifo"), &both).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Denied, "{which}");
        assert_eq!(run(files, "mv fifo fifo2"), "ok", "{which}");
        assert_eq!(run(files, "rm fifo2"), "ok", "{which}");
    });
}

#[test]
fn a_full_file_system_says_so_and_room_comes_back() {
    let now = UNIX_EPOCH + Duration::from_secs(1000);
    let files = MemoryFs::new()
        .with_capacity_limit(10)
        .with_clock(move || now);
    let space = files.space(&path("/")).unwrap();
    assert_eq!((space.available(), space.blocks), (10, 10));
    write(&files, "a", "12345678").unwrap();
    let error = write(&files, "b", "12345").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(dump(&files), "a=12345678 b=12");
    assert_eq!(files.space(&path("/")).unwrap().available(), 0);
    // What is open keeps its room, what is closed gives it back.
    let open = files.open(&path("a"), &OpenOptions::read()).unwrap();
    files.remove_file(&path("a")).unwrap();
    assert_eq!(files.space(&path("/")).unwrap().available(), 0);
    drop(open);
    assert_eq!(files.space(&path("/")).unwrap().available(), 8);
    for name in ["/", "b"] {
        let seen = files.metadata(&path(name), Follow::Yes).unwrap();
        assert_eq!(
            seen.modified,
            UNIX_EPOCH + Duration::from_secs(1000),
            "{name}"
        );
    }
}
