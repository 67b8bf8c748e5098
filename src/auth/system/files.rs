//! The account files of /etc, read by our own parser: a static binary has no
//! NSS, and glibc's calls would load modules into the server. Pure: text in,
//! facts out. A line that makes no sense is passed over, as getpwent does.

/// A line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PasswdLine<'a> {
    pub(super) password: &'a [u8],
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: &'a [u8],
    pub(super) shell: &'a [u8],
}

/// A line of shadow(5); days count from 1970-01-01, empty fields are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shadow<'a> {
    pub(super) hash: &'a str,
    pub(super) changed: Option<i64>,
    pub(super) longest: Option<i64>,
    pub(super) expires: Option<i64>,
}

/// The account of `name`.
pub(super) fn account<'a>(passwd: &'a [u8], name: &str) -> Option<PasswdLine<'a>> {
    let [_, password, uid, gid, _, home, shell] = find(passwd, name)?;
    Some(PasswdLine {
        password,
        uid: number(uid)?,
        gid: number(gid)?,
        home,
        // Empty stands for the usual shell.
        shell: if shell.is_empty() { b"/bin/sh" } else { shell },
    })
}

/// The password of `name`.
pub(super) fn shadow<'a>(shadow: &'a [u8], name: &str) -> Option<Shadow<'a>> {
    let [_, hash, changed, _, longest, _, _, expires, _] = find(shadow, name)?;
    let hash = std::str::from_utf8(hash).ok()?;
    Some(Shadow {
        hash,
        changed: day(changed)?,
        longest: day(longest)?,
        expires: day(expires)?,
    })
}

/// All hashes.
pub(super) fn hashes(shadow: &[u8]) -> impl Iterator<Item = &str> {
    lines(shadow)
        .filter_map(|line| line.split(|&byte| byte == b':').nth(1))
        .filter_map(|hash| std::str::from_utf8(hash).ok())
}

/// The groups that list `name`, and `main`, each once.
pub(super) fn groups(group: &[u8], name: &str, main: u32) -> Vec<u32> {
    let mut groups = vec![main];
    for line in lines(group) {
        let Some([_, _, gid, members]) = fields(line) else {
            continue;
        };
        let mut members = members.split(|&byte| byte == b',');
        if members.any(|member| member == name.as_bytes())
            && let Some(gid) = number(gid)
            && !groups.contains(&gid)
        {
            groups.push(gid);
        }
    }
    groups
}

/// Whether one of `numbers` is the number of a group that `names` lists.
pub(super) fn is_in(group: &[u8], numbers: &[u32], names: &[String]) -> bool {
    names.iter().any(|name| {
        find(group, name)
            .and_then(|[_, _, gid, _]| number(gid))
            .is_some_and(|gid| numbers.contains(&gid))
    })
}

/// Whether a list, one entry a line with `#` comments, has `word`.
pub(super) fn lists(text: &[u8], word: &[u8]) -> bool {
    lines(text).any(|line| {
        let end = line.iter().position(|&byte| byte == b'#');
        line[..end.unwrap_or(line.len())].trim_ascii() == word
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

/// The fields of the first line that begins with `name:` and has N of them.
fn find<'a, const N: usize>(text: &'a [u8], name: &str) -> Option<[&'a [u8]; N]> {
    // `+` and `-` begin lines that mean NIS. SECURITY: with a colon inside,
    // `ann:x` would be another name for ann, which no list of names has.
    if name.is_empty() || name.contains(':') || name.starts_with(['+', '-', '#']) {
        return None;
    }
    lines(text)
        .filter(|line| {
            line.strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b':'))
        })
        .find_map(fields)
}

/// Exactly N fields.
fn fields<const N: usize>(line: &[u8]) -> Option<[&[u8]; N]> {
    let mut fields = line.split(|&byte| byte == b':');
    let mut found = [&b""[..]; N];
    for field in &mut found {
        *field = fields.next()?;
    }
    fields.next().is_none().then_some(found)
}

fn number(field: &[u8]) -> Option<u32> {
    let digits = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    let text = digits.then(|| std::str::from_utf8(field).ok()).flatten()?;
    // The highest number means "no change" to the kernel.
    text.parse().ok().filter(|number| *number != u32::MAX)
}

/// `None` for what is no day; `Some(None)` for an empty field and -1.
fn day(field: &[u8]) -> Option<Option<i64>> {
    match std::str::from_utf8(field).ok()? {
        "" => Some(None),
        text => text
            .parse()
            .ok()
            .map(|day: i64| Some(day).filter(|day| *day >= 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        +nis:x:1:1::/:/bin/sh\n\
        short:x:5\n\
        neg:x:-1:5::/:/bin/sh\n\
        max:x:4294967295:5::/:/bin/sh\n\
        annabel:x:7:7::/home/annabel:\n\
        ann:x:1000:100:Ann:/home/ann:\n\
        ann:x:0:0:again:/:/bin/sh";

    #[test]
    fn accounts_are_found_whole_or_not_at_all() {
        let ann = account(PASSWD, "ann").unwrap();
        assert_eq!((ann.uid, ann.gid), (1000, 100));
        assert_eq!((ann.home, ann.shell), (&b"/home/ann"[..], &b"/bin/sh"[..]));
        for name in ["", "an", "+nis", "short", "neg", "max", "ann:x", "nobody"] {
            assert_eq!(account(PASSWD, name), None, "{name}");
        }
    }

    #[test]
    fn shadow_days_are_read() {
        let text = b"ann:$6$a:19000:0:99999:7:::\n\
            bob:!::::::20000:\n\
            cid:*:0:0:30:7:-1:-1:\n\
            bad:*:x:0:30:7:::\n\
            few:*:1:2:3";
        let ann = shadow(text, "ann").unwrap();
        assert_eq!(
            (ann.hash, ann.changed, ann.longest, ann.expires),
            ("$6$a", Some(19000), Some(99999), None)
        );
        assert_eq!(shadow(text, "bob").unwrap().expires, Some(20000));
        let cid = shadow(text, "cid").unwrap();
        assert_eq!((cid.changed, cid.expires), (Some(0), None));
        assert_eq!(shadow(text, "bad"), None);
        assert_eq!(shadow(text, "few"), None);
        assert_eq!(
            hashes(text).collect::<Vec<_>>(),
            ["$6$a", "!", "*", "*", "*"]
        );
    }

    #[test]
    fn groups_and_lists_match_whole_words() {
        let text = b"a:x:1:ann,bob\nb:x:2:annabel\nc:x:3:bob,ann\nd:x:100:ann\nbroken:x:4\n";
        assert_eq!(groups(text, "ann", 100), [100, 1, 3]);
        assert_eq!(groups(text, "cid", 5), [5]);
        let shells = b"# shells\n/bin/sh\n  /bin/bash # usual\n";
        for (shell, want) in [
            ("/bin/sh", true),
            ("/bin/bash", true),
            ("/bin/s", false),
            ("# shells", false),
        ] {
            assert_eq!(lists(shells, shell.as_bytes()), want, "{shell}");
        }
    }
}
