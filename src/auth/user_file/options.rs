//! The options of a line in the users' file: one table, which the parser,
//! the messages and the man page wharfd-users(5) are made from.

use std::path::PathBuf;
use std::time::Duration;

use super::value::{
    Mount, date, directory, file, id, mode, mount, network, number, size, text, time, uid,
};
use crate::address::Network;
use crate::auth::{Identity, Perms, Proofs, QuotaFull, totp};
use crate::storage::VirtualPath;

/// One option: a row of [`OPTIONS`].
pub struct OptionRow {
    /// The word before the `=`.
    pub key: &'static str,
    /// What stands after it, for messages and the man page.
    pub takes: &'static str,
    /// What it does, one sentence.
    pub help: &'static str,
    /// Whether it may stand several times.
    pub repeat: Repeat,
    set: fn(&mut Options, &[u8]) -> Result<(), String>,
}

impl OptionRow {
    /// Sets the option from its value; the error says what was expected.
    pub(super) fn apply(&self, options: &mut Options, value: &[u8]) -> Result<(), String> {
        (self.set)(options, value)
    }
}

/// How often an option may stand in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Once.
    Once,
    /// Each one adds to those before.
    Adds,
}

/// What the options of a line say; `None` and empty where they say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// `group=`
    pub group: Option<String>,
    /// `uid=`
    pub uid: Option<u32>,
    /// `gid=`
    pub gid: Option<u32>,
    /// `groups=`
    pub groups: Vec<u32>,
    /// `max-sessions=`
    pub max_sessions: Option<u32>,
    /// `rate-down=`, bytes a second
    pub rate_down: Option<u64>,
    /// `rate-up=`, bytes a second
    pub rate_up: Option<u64>,
    /// `quota-bytes=`
    pub quota_bytes: Option<u64>,
    /// `quota-files=`
    pub quota_files: Option<u64>,
    /// `quota-full=`
    pub quota_full: Option<QuotaFull>,
    /// `retention=`
    pub retention: Option<Duration>,
    /// `keys=`
    pub keys: Option<PathBuf>,
    /// `totp=`, the secret
    pub totp: Option<Vec<u8>>,
    /// `require=`
    pub require: Proofs,
    /// `certificate=`
    pub certificates: Vec<String>,
    /// `create-home=`
    pub create_home: bool,
    /// `allow=`
    pub allow: Vec<Network>,
    /// `deny=`
    pub deny: Vec<Network>,
    /// `expires=`, as days since 1970-01-01
    pub expires: Option<i64>,
    /// `tls=required`
    pub tls_required: bool,
    /// `file-mode=`
    pub file_mode: Option<u32>,
    /// `dir-mode=`
    pub dir_mode: Option<u32>,
    /// `dir=`
    pub directories: Vec<(VirtualPath, Perms)>,
    /// `mount=`
    pub mounts: Vec<Mount>,
}

impl Options {
    /// Whom the session acts as, if the line says it.
    pub fn identity(&self) -> Option<Identity> {
        let (uid, gid) = (self.uid?, self.gid?);
        Some(Identity {
            uid,
            gid,
            groups: self.groups.clone(),
        })
    }

    /// What is wrong with the options as a whole.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        match (self.uid, self.gid) {
            (Some(_), None) => Some("uid= needs gid= beside it"),
            (None, Some(_)) => Some("gid= needs uid= beside it"),
            (None, None) if !self.groups.is_empty() => Some("groups= needs uid= and gid="),
            _ => None,
        }
    }
}

/// All options, in the order of the man page.
pub const OPTIONS: &[OptionRow] = &[
    OptionRow {
        key: "group",
        takes: "NAME",
        help: "begin with what the line of @NAME says",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.group, text(value, "the name of a group")),
    },
    OptionRow {
        key: "uid",
        takes: "NUMBER",
        help: "act as this user number on files; needs gid= and a server started as root",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.uid, uid(value)),
    },
    OptionRow {
        key: "gid",
        takes: "NUMBER",
        help: "act as this group number on files; needs uid=",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.gid, id(value)),
    },
    OptionRow {
        key: "groups",
        takes: "NUMBER[+NUMBER...]",
        help: "further group numbers of the user",
        repeat: Repeat::Adds,
        set: |options, value| add(&mut options.groups, value, id),
    },
    OptionRow {
        key: "max-sessions",
        takes: "NUMBER",
        help: "sessions at the same time, 0 for no limit",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.max_sessions, number(value)),
    },
    OptionRow {
        key: "rate-down",
        takes: "BYTES[K|M|G|T]",
        help: "bytes a second to all clients of the user, 0 for no limit",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.rate_down, size(value)),
    },
    OptionRow {
        key: "rate-up",
        takes: "BYTES[K|M|G|T]",
        help: "bytes a second from all clients of the user, 0 for no limit",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.rate_up, size(value)),
    },
    OptionRow {
        key: "quota-bytes",
        takes: "BYTES[K|M|G|T]",
        help: "bytes that all files of the home may take, 0 for no limit",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.quota_bytes, size(value)),
    },
    OptionRow {
        key: "quota-files",
        takes: "NUMBER",
        help: "files that the home may hold, 0 for no limit",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.quota_files, number(value)),
    },
    OptionRow {
        key: "quota-full",
        takes: "refuse|delete-oldest",
        help: "what happens when the quota is full",
        repeat: Repeat::Once,
        set: |options, value| {
            options.quota_full = Some(match value {
                b"refuse" => QuotaFull::Refuse,
                b"delete-oldest" => QuotaFull::DeleteOldest,
                _ => return Err("expected refuse or delete-oldest".into()),
            });
            Ok(())
        },
    },
    OptionRow {
        key: "retention",
        takes: "SECONDS[m|h|d]",
        help: "delete files that have not changed for so long, 0 keeps them",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.retention, time(value)),
    },
    OptionRow {
        key: "keys",
        takes: "FILE",
        help: "public keys for SFTP in the format of authorized_keys; a relative name \
               is looked for beside the users' file",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.keys, file(value)),
    },
    OptionRow {
        key: "totp",
        takes: "SECRET",
        help: "a code goes with the password; the secret in base 32, as apps take it",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.totp, totp::secret(value)),
    },
    OptionRow {
        key: "require",
        takes: "publickey|password[+...]",
        help: "what must be shown to log in, all of it",
        repeat: Repeat::Once,
        set: |options, value| {
            for kind in value.split(|byte| *byte == b'+') {
                options.require = options.require.and(match kind {
                    b"publickey" => Proofs::PUBLIC_KEY,
                    b"password" => Proofs::PASSWORD,
                    _ => return Err("expected publickey, password or publickey+password".into()),
                });
            }
            Ok(())
        },
    },
    OptionRow {
        key: "certificate",
        takes: "SUBJECT",
        help: "subject or common name of a TLS client certificate that is proof enough",
        repeat: Repeat::Adds,
        set: |options, value| {
            options.certificates.push(text(value, "a subject")?);
            Ok(())
        },
    },
    OptionRow {
        key: "create-home",
        takes: "yes|no",
        help: "make the home at the first login; the directory above it must exist",
        repeat: Repeat::Once,
        set: |options, value| {
            options.create_home = match value {
                b"yes" => true,
                b"no" => false,
                _ => return Err("expected yes or no".into()),
            };
            Ok(())
        },
    },
    OptionRow {
        key: "allow",
        takes: "NETWORK[+NETWORK...]",
        help: "log in only from these networks, such as 192.168.0.0/16",
        repeat: Repeat::Adds,
        set: |options, value| add(&mut options.allow, value, network),
    },
    OptionRow {
        key: "deny",
        takes: "NETWORK[+NETWORK...]",
        help: "never log in from these networks, whatever allow= says",
        repeat: Repeat::Adds,
        set: |options, value| add(&mut options.deny, value, network),
    },
    OptionRow {
        key: "expires",
        takes: "YYYY-MM-DD",
        help: "from this day on (UTC) the user can't log in",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.expires, date(value)),
    },
    OptionRow {
        key: "tls",
        takes: "required|optional",
        help: "whether the user may log in on encrypted connections only",
        repeat: Repeat::Once,
        set: |options, value| {
            options.tls_required = match value {
                b"required" => true,
                b"optional" => false,
                _ => return Err("expected required or optional".into()),
            };
            Ok(())
        },
    },
    OptionRow {
        key: "file-mode",
        takes: "OCTAL",
        help: "permission bits of new files, instead of the server's",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.file_mode, mode(value)),
    },
    OptionRow {
        key: "dir-mode",
        takes: "OCTAL",
        help: "permission bits of new directories, instead of the server's",
        repeat: Repeat::Once,
        set: |options, value| set(&mut options.dir_mode, mode(value)),
    },
    OptionRow {
        key: "dir",
        takes: "/PATH=RIGHTS",
        help: "other rights in this directory and all below it; the longest path counts",
        repeat: Repeat::Adds,
        set: |options, value| {
            options.directories.push(directory(value)?);
            Ok(())
        },
    },
    OptionRow {
        key: "mount",
        takes: "/PATH=DIR[:RIGHTS]",
        help: "show a directory of the machine as a folder of the home",
        repeat: Repeat::Adds,
        set: |options, value| {
            options.mounts.push(mount(value)?);
            Ok(())
        },
    },
];

fn set<T>(field: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *field = Some(value?);
    Ok(())
}

/// Adds what stands between the `+` signs.
fn add<T>(
    field: &mut Vec<T>,
    value: &[u8],
    read: fn(&[u8]) -> Result<T, String>,
) -> Result<(), String> {
    for part in value.split(|&byte| byte == b'+') {
        field.push(read(part)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(key: &str, value: &str) -> Result<Options, String> {
        let mut options = Options::default();
        let row = OPTIONS.iter().find(|row| row.key == key).unwrap();
        row.apply(&mut options, value.as_bytes())?;
        Ok(options)
    }

    #[test]
    fn values_are_read_or_refused_with_what_was_expected() {
        for (key, value, want) in [
            ("uid", "1000", None),
            ("uid", "0", Some("root")),
            ("uid", "4294967295", Some("number")),
            ("uid", "+1", Some("number")),
            ("groups", "10+20", None),
            ("groups", "10++20", Some("number")),
            ("rate-down", "500K", None),
            ("rate-down", "500X", Some("500M")),
            ("rate-up", "99999999999999G", Some("500M")),
            ("quota-bytes", "", Some("500M")),
            ("quota-files", "-1", Some("number")),
            ("quota-full", "delete-oldest", None),
            ("quota-full", "ring", Some("refuse")),
            ("retention", "30d", None),
            ("retention", "30w", Some("30d")),
            ("retention", "99999999d", Some("30d")),
            ("allow", "10.0.0.0/8+::1", None),
            ("allow", "10.0.0.0/33", Some("network")),
            ("expires", "2024-02-29", None),
            ("expires", "2023-02-29", Some("date")),
            ("expires", "2023-00-10", Some("date")),
            ("expires", "23-01-10", Some("date")),
            ("file-mode", "0640", None),
            ("file-mode", "10000", Some("octal")),
            ("file-mode", "0x1", Some("octal")),
            ("dir", "/incoming=drop", None),
            ("dir", "incoming=drop", Some("directory")),
            ("dir", "/incoming", Some("directory")),
            ("dir", "/incoming=dropp", Some("rights")),
            ("mount", "/shared=/srv/shared:read-only", None),
            ("mount", "/shared=/srv/shared", None),
            ("mount", "shared=/srv/shared", Some("/srv/shared")),
            ("mount", "/=/srv/shared", Some("below the home")),
            ("mount", "/shared=srv", Some("/srv/shared")),
            ("mount", "/shared=/srv/../etc", Some("/srv/shared")),
            ("mount", "/shared=/srv:sure", Some("rights")),
            ("create-home", "maybe", Some("yes or no")),
            ("tls", "yes", Some("required")),
            ("keys", "", Some("file")),
            ("require", "publickey+password", None),
            ("require", "publickey+", Some("password")),
            (
                "totp",
                "not base 32",
                Some(if cfg!(any(feature = "ftps", feature = "sftp")) {
                    "base 32"
                } else {
                    "no SHA-1"
                }),
            ),
        ] {
            match (apply(key, value), want) {
                (Ok(_), None) => {}
                (Err(message), Some(part)) => assert!(message.contains(part), "{message}"),
                (got, want) => panic!("{key}={value}: {got:?}, want {want:?}"),
            }
        }
        assert_eq!(apply("rate-up", "2M").unwrap().rate_up, Some(2 << 20));
        assert_eq!(apply("groups", "1+2").unwrap().groups, [1, 2]);
    }

    #[test]
    fn dates_become_days() {
        for (text, want) in [
            ("1970-01-01", 0),
            ("1970-03-01", 59),
            ("2000-02-29", 11016),
            ("2000-03-01", 11017),
            ("2026-12-31", 20818),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(date(text.as_bytes()), Ok(want), "{text}");
        }
    }

    #[test]
    fn every_row_is_complete_and_once() {
        for (at, row) in OPTIONS.iter().enumerate() {
            assert!(!row.takes.is_empty() && !row.help.is_empty());
            assert!(OPTIONS[..at].iter().all(|other| other.key != row.key));
        }
    }
}
