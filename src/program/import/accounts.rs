//! Files of users: pureftpd.passwd, and the passwd format of ProFTPD's
//! AuthUserFile.

use wharf::daemon::user_file;

use super::{Found, Note, NoteKind};

/// One user as the other server has them.
struct Row<'a> {
    number: usize,
    name: &'a str,
    hash: &'a str,
    uid: &'a str,
    gid: &'a str,
    home: &'a str,
    options: Vec<String>,
    /// Restrictions that have no equivalent: the user is not let in.
    restricted: bool,
}

/// pureftpd.passwd; `None` if the text is something else.
pub(super) fn pure_ftpd(text: &str) -> Option<Found> {
    // Name, hash, uid, gid, gecos, home, up, down, ratios, sessions, files,
    // bytes, local and client addresses, allowed and not, times.
    let lines = lines(text, 18..=18)?;
    let mut found = Found::default();
    let accounts = lines.into_iter().map(|(number, fields)| {
        let mut options = Vec::new();
        let mut limit = |key: &str, value: &str| {
            if !matches!(value, "" | "0") {
                options.push(format!("{key}={value}"));
            }
        };
        limit("rate-up", fields[6]);
        limit("rate-down", fields[7]);
        limit("max-sessions", fields[10]);
        limit("quota-files", fields[11]);
        limit("quota-bytes", fields[12]);
        limit("allow", &fields[15].replace(',', "+"));
        limit("deny", &fields[16].replace(',', "+"));
        let addresses = "logins at some addresses of the server only are not supported; \
                         the line is a comment";
        let times = "logins at some times of the day only are not supported; the line is a comment";
        let mut restricted = false;
        for (what, why, kind) in [
            (fields[8], "ratios are not supported", NoteKind::Other),
            (fields[9], "ratios are not supported", NoteKind::Other),
            (fields[13], addresses, NoteKind::Restriction),
            (fields[14], addresses, NoteKind::Restriction),
            (fields[17], times, NoteKind::Restriction),
        ] {
            if !matches!(what, "" | "0") {
                restricted |= kind == NoteKind::Restriction;
                found.notes.push(Note {
                    line: number,
                    said: format!("{}: {what}", fields[0]),
                    why: why.into(),
                    kind,
                });
            }
        }
        Row {
            number,
            name: fields[0],
            hash: fields[1],
            uid: fields[2],
            gid: fields[3],
            home: fields[5],
            options,
            restricted,
        }
    });
    let accounts: Vec<_> = accounts.collect();
    add(&mut found, accounts);
    Some(found)
}

/// The format of passwd(5); `None` if the text is something else.
pub(super) fn passwd(text: &str) -> Option<Found> {
    let lines = lines(text, 7..=7)?;
    let accounts = lines.into_iter().map(|(number, fields)| Row {
        number,
        name: fields[0],
        hash: fields[1],
        uid: fields[2],
        gid: fields[3],
        home: fields[5],
        options: Vec::new(),
        restricted: false,
    });
    let mut found = Found::default();
    add(&mut found, accounts.collect());
    Some(found)
}

/// The fields of all lines, if each has as many and the third and fourth are
/// numbers.
fn lines(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<Vec<(usize, Vec<&str>)>> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(':').collect();
        let number = |at: usize| {
            fields
                .get(at)
                .is_some_and(|field| field.parse::<u32>().is_ok())
        };
        if !count.contains(&fields.len()) || !number(2) || !number(3) {
            return None;
        }
        found.push((at + 1, fields));
    }
    (!found.is_empty()).then_some(found)
}

fn add(found: &mut Found, accounts: Vec<Row<'_>>) {
    let ids = |account: &Row<'_>| (account.uid.to_string(), account.gid.to_string());
    let first = accounts.first().map(ids);
    let same = accounts.iter().all(|account| Some(ids(account)) == first);
    if let Some((uid, gid)) = first.filter(|_| same) {
        let line = format!("# All had the uid {uid} and the gid {gid}: run wharfd as that user.");
        found.users.push(line);
    }
    for account in accounts {
        let mut options = account.options;
        if !same {
            options.push(format!("uid={}", account.uid));
            options.push(format!("gid={}", account.gid));
        }
        let mut note = |why: &str| {
            found.notes.push(Note {
                line: account.number,
                said: account.name.into(),
                why: why.into(),
                kind: NoteKind::Other,
            });
        };
        let hash = match account.hash {
            "" => {
                note("had no password; none fits now");
                "*"
            }
            hash if wharf::daemon::check_hash(hash).is_err() => {
                note("has a hash of another kind; give a new password with wharfd passwd");
                "*"
            }
            hash => hash,
        };
        // "/home/./ann" is where Pure-FTPd changes root to and begins.
        let home = account.home.trim_end_matches("/.").trim_end_matches("/./");
        if home.contains("/./") {
            note("began below the root of the home; sessions begin at the root here");
        }
        let home = home.split("/./").next().unwrap_or(home);
        let home = match home.trim_end_matches('/') {
            "" => "/",
            home => home,
        };
        let home = user_file::encoded(home.as_bytes());
        let line = format!(
            "{}{}:{hash}:{}:read-write:{}",
            if account.restricted { "# " } else { "" },
            account.name,
            String::from_utf8_lossy(&home),
            options.join(",")
        );
        found.users.push(line.trim_end_matches(':').to_string());
    }
    let text = found.users.join("\n");
    if let Err(mistakes) = user_file::parse(text.as_bytes()) {
        for mistake in mistakes {
            // Line 1 is our comment, if there is one.
            let line = found.users.get(mistake.line - 1);
            let name = line.and_then(|line| line.split(':').next());
            let name = name.unwrap_or("?").to_owned();
            let why = format!("wharfd will refuse it: {}", mistake.message);
            found.note_on_file(NoteKind::Other, &name, &why);
        }
    }
}
