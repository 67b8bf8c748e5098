//! Names of users and groups by their numbers, for `ls -l` lines and
//! `users-groups-by-id@openssh.com`.

use std::collections::HashMap;

/// Names by number, as the lines of passwd(5) and group(5) give them.
///
/// A server of virtual users has none: it would tell strangers who has an
/// account on the machine.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    users: HashMap<u32, Owner>,
    groups: HashMap<u32, String>,
}

#[derive(Debug, Clone)]
struct Owner {
    name: String,
    home: String,
}

impl Owners {
    /// Reads the text of a passwd and of a group file; lines that are not as
    /// they should be are left out, and of several names the first counts.
    pub fn parse(passwd: &str, group: &str) -> Self {
        let mut owners = Owners::default();
        for fields in passwd.lines().map(fields) {
            if let [name, _, uid, _, _, home, ..] = fields[..]
                && let Some(uid) = number(name, uid)
            {
                owners.users.entry(uid).or_insert_with(|| Owner {
                    name: name.into(),
                    home: home.into(),
                });
            }
        }
        for fields in group.lines().map(fields) {
            if let [name, _, gid, ..] = fields[..]
                && let Some(gid) = number(name, gid)
            {
                owners.groups.entry(gid).or_insert_with(|| name.into());
            }
        }
        owners
    }

    /// The name of a user.
    pub fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(|account| account.name.as_str())
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }

    /// The home of a user.
    pub fn home(&self, name: &str) -> Option<&str> {
        self.users
            .values()
            .find(|account| account.name == name)
            .map(|account| account.home.as_str())
    }
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

/// The number of a line, unless the name would break a listing.
fn number(name: &str, number: &str) -> Option<u32> {
    let plain =
        !name.is_empty() && !name.contains(|letter: char| letter.is_control() || letter == ' ');
    number.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_wrong_ones_left_out() {
        let owners = Owners::parse(
            "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:\nbad\n:x:7:7::/:\ntoor:x:0:0::/:\n",
            "root:x:0:\nstaff:x:50:ann,bob\n#x:1\n",
        );
        for (uid, want) in [(0, Some("root")), (1000, Some("ann")), (7, None), (1, None)] {
            assert_eq!(owners.user(uid), want);
        }
        assert_eq!(owners.group(50), Some("staff"));
        assert_eq!(owners.home("ann"), Some("/home/ann"));
        assert_eq!(owners.home("nobody"), None);
    }
}
