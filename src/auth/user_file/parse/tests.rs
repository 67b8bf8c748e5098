use super::*;
use crate::auth::user_file::encoded;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const HASH: &str = "$6$rounds=1000$roundstoolow$oIV5bgCNA.rU2Q7YjaL7WLTvU1X.dbTXWNrKFqCpWVh01SO02.zNb9Br3ghH5ZLObKkJiRBTLQ4GUEcYCcCWB/";

#[test]
fn lines_become_entries() {
    let text = format!(
        "\u{feff}ann:{HASH}:/srv/ann:read-write:max-sessions=3,dir=/in%2cbox=drop,\r\n\
         # a comment\n\n   \n  # another\n\
         bob:*:/srv/b%3ab:elr\n\
         übel:!:/:: \n\
         net:*:/:none:allow=2001:db8::/32+10.0.0.1"
    );
    let entries = parse(text.replace(":: \n", "::\n").as_bytes()).unwrap();
    assert_eq!(entries.len(), 4);
    assert_eq!(entries[0].name, "ann");
    assert_eq!(entries[0].hash, HASH);
    assert_eq!(entries[0].perms, Some(Perms::ALL));
    assert_eq!(entries[0].options.max_sessions, Some(3));
    assert_eq!(entries[0].options.directories[0].0.as_bytes(), b"/in,box");
    assert_eq!(entries[1].home, Path::new("/srv/b:b"));
    assert_eq!(entries[2].perms, None);
    assert!(entries[2].is_locked() && !entries[1].is_locked());
    assert_eq!(entries[3].options.allow.len(), 2);
}

#[test]
fn mistakes_have_line_column_and_what_was_expected() {
    for (text, line, column, part) in [
        ("# c\nann", 2, 4, "found 1 of these"),
        ("ann:*:/home", 1, 12, "found 3 of these"),
        (":*:/:elr", 1, 1, "expected a name"),
        (" ann:*:/:elr", 1, 1, "blanks"),
        ("ann:secret:/:elr", 1, 5, "wharfd passwd"),
        ("ann::/:elr", 1, 5, "* for no password"),
        ("ann:*:home:elr", 1, 7, "begins with '/'"),
        ("ann:*:/a/../b:elr", 1, 7, "'..'"),
        ("ann:*:/a%zz:elr", 1, 7, "%25"),
        ("ann:*:/a%00:elr", 1, 7, "begins with '/'"),
        ("ann:*:/:elq", 1, 9, "elradfmwMT"),
        ("ann:*:/:elr:colour=red", 1, 13, "unknown option 'colour'"),
        ("ann:*:/:elr:uid=1,gid", 1, 19, "gid=NUMBER"),
        ("ann:*:/:elr:uid=1,gid=x", 1, 23, "number"),
        ("ann:*:/:elr:uid=1", 1, 13, "needs gid="),
        ("ann:*:/:elr:tls=required,tls=optional", 1, 26, "twice"),
        (
            "ann:*:/:elr\nbob:*:/:\nann:*:/:",
            3,
            1,
            "'ann' stands in line 1",
        ),
    ] {
        let mistakes = parse(text.as_bytes()).unwrap_err();
        let mistake = &mistakes[0];
        assert_eq!(
            (mistake.line, mistake.column),
            (line, column),
            "{text}: {mistake}"
        );
        assert!(mistake.message.contains(part), "{text}: {mistake}");
        assert!(!mistake.message.contains("secret"), "{mistake}");
    }
}

#[test]
fn all_mistakes_are_listed_up_to_a_bound() {
    let mistakes = parse(b"a:b:c:q:e=\nf\nok:*:/:\n\xff:*:/:").unwrap_err();
    let lines: Vec<_> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [1, 1, 1, 1, 2, 4]);
    assert_eq!(parse(&b"x\n".repeat(1000)).unwrap_err().len(), MISTAKES_MAX);
    let same = b"a:*:/:\n".repeat(1000);
    assert_eq!(parse(&same).unwrap_err().len(), MISTAKES_MAX);
    let long = [b"a:*:/", [b'x'; LINE_MAX].as_slice(), b":elr"].concat();
    assert!(parse(&long).unwrap_err()[0].message.contains("4096"));
    assert!(parse(&vec![b'\n'; FILE_MAX + 1]).is_err());
}

#[test]
fn any_home_survives_the_way_through_the_file() {
    for byte in 1..=255u8 {
        let home = [b"/srv/", [byte].as_slice(), b"x"].concat();
        let line = [b"ann:*:", encoded(&home).as_slice(), b":elr"].concat();
        let entries = parse(&line).unwrap();
        assert_eq!(entries[0].home.as_os_str().as_bytes(), home);
    }
}

/// A fixed sequence of noise: pieces of valid lines cut, doubled and
/// sprinkled with bytes. Nothing may panic, and what is accepted must be
/// found again by name.
#[test]
fn noise_never_panics_and_what_is_read_is_found() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pieces: [&[u8]; 16] = [
        b"ann",
        b":",
        b"*",
        b"/srv",
        b"elr",
        b"\n",
        b"uid=1",
        b",",
        b"gid=",
        b"%3",
        b"\xff",
        b"dir=/=",
        b"allow=::/0",
        b"@g:*:/%u::",
        b"group=g",
        b"\r\n",
    ];
    for _ in 0..20_000 {
        let mut text = Vec::new();
        for _ in 0..random() % 24 {
            text.extend_from_slice(pieces[(random() % 16) as usize]);
        }
        let Ok(offsets) = scan(&text, |_| {}) else {
            continue;
        };
        for entry in parse(&text).unwrap() {
            let found = find(&text, &offsets, &entry.name);
            assert_eq!(found.as_ref(), Some(&entry));
        }
    }
}
