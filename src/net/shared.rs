//! What nodes of one service tell each other, by files in a directory on
//! their shared disk: bans, and how many sessions each user has.
//!
//! Below the directory, `bans/ADDRESS` is a ban: created exclusively, removed
//! when it is over. `nodes/NAME` is one node's sessions of users, replaced by
//! rename. Nothing is locked and nothing appended, so NFS will do. All of it
//! happens on a thread of its own: when the share is slow or gone, logins go
//! on with what was known last.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::address::Network;
use crate::error::{Doing, Result};
use crate::session::{Phase, Services};

/// How often files are read and written.
const EVERY: Duration = Duration::from_secs(1);
/// A node whose file has not changed for so long counts no more. Told by our
/// own clock from when we last saw it change: clocks of nodes may differ.
const DEAD: Duration = Duration::from_secs(15);
/// Files of each kind that are looked at.
const FILES_MAX: usize = 10_000;
/// Longest file of a node.
const NODE_FILE_MAX: u64 = 4 << 20;

/// The shared directory of one node.
pub struct Shared {
    bans: PathBuf,
    nodes: PathBuf,
    own: String,
    seen: HashMap<String, (SystemTime, u64, Instant)>,
    complained: bool,
}

impl Shared {
    /// Makes the directories.
    ///
    /// # Errors
    /// They can't be made.
    pub fn open(directory: &Path, node: &str) -> Result<Shared> {
        let (bans, nodes) = (directory.join("bans"), directory.join("nodes"));
        for path in [&bans, &nodes] {
            fs::create_dir_all(path)
                .doing(format!("making the shared directory {}", path.display()))?;
        }
        let own: String = node
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() || letter == '-' {
                    letter
                } else {
                    '_'
                }
            })
            .collect();
        Ok(Shared {
            bans,
            nodes,
            own,
            seen: HashMap::new(),
            complained: false,
        })
    }

    /// Reads and writes until the server stops.
    pub fn run(mut self, services: &Arc<Services>) {
        while services.phase() != Phase::Stopping && Arc::strong_count(services) > 1 {
            match self.exchange(services) {
                Ok(()) => self.complained = false,
                Err(error) if !std::mem::replace(&mut self.complained, true) => {
                    log::error!(
                        "the shared directory {}: {error}; going on with what was known",
                        self.nodes.display()
                    );
                }
                Err(_) => {}
            }
            std::thread::sleep(EVERY);
            if services.phase() == Phase::Draining && services.limits.sessions() == 0 {
                break;
            }
        }
        let _ = fs::remove_file(self.nodes.join(&self.own));
    }

    fn exchange(&mut self, services: &Services) -> io::Result<()> {
        let config = services.config();
        for (network, left) in services.limits.bans(&config) {
            self.tell_ban(network, left)?;
        }
        let bans = self.read_bans(config.ban_time)?;
        self.tell_sessions(&services.limits.sessions_by_user())?;
        let users = self.read_sessions()?;
        services.limits.set_elsewhere(users, bans);
        Ok(())
    }

    /// The first node to ban an address makes its file; its time is the ban's.
    fn tell_ban(&self, network: Network, _left: Duration) -> io::Result<()> {
        let name = network.to_string().replace('/', "+");
        match fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.bans.join(name))
        {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Bans of all nodes; those that are over are removed.
    fn read_bans(&self, ban_time: Duration) -> io::Result<Vec<Network>> {
        let now = self.now()?;
        let mut bans = Vec::new();
        for entry in fs::read_dir(&self.bans)?.take(FILES_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            let Some(network) = name
                .to_str()
                .and_then(|name| Network::parse(&name.replace('+', "/")).ok())
            else {
                continue;
            };
            let since = match entry.metadata().and_then(|metadata| metadata.modified()) {
                Ok(since) => since,
                // Another node has removed it meanwhile.
                Err(_) => continue,
            };
            match now.duration_since(since) {
                Ok(age) if age >= ban_time => drop(fs::remove_file(entry.path())),
                _ => bans.push(network),
            }
        }
        Ok(bans)
    }

    /// The file server's time: that of the file we have just written.
    fn now(&self) -> io::Result<SystemTime> {
        match fs::metadata(self.nodes.join(&self.own)) {
            Ok(metadata) => metadata.modified(),
            Err(_) => Ok(SystemTime::now()),
        }
    }

    fn tell_sessions(&self, users: &[(String, u32)]) -> io::Result<()> {
        let mut text = String::new();
        for (user, count) in users {
            text.push_str(&format!("{count} {user}\n"));
        }
        let temporary = self.nodes.join(format!(".{}.new", self.own));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        drop(file);
        fs::rename(&temporary, self.nodes.join(&self.own))
    }

    /// Sessions of each user on the other nodes that are alive.
    fn read_sessions(&mut self) -> io::Result<HashMap<String, u32>> {
        let mut users = HashMap::new();
        for entry in fs::read_dir(&self.nodes)?.take(FILES_MAX) {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            if name == self.own || name.starts_with('.') {
                continue;
            }
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.len() > NODE_FILE_MAX {
                continue;
            }
            let stamp = (
                metadata.modified()?,
                std::os::unix::fs::MetadataExt::ino(&metadata),
            );
            let seen = self
                .seen
                .entry(name)
                .or_insert((stamp.0, stamp.1, Instant::now()));
            if (seen.0, seen.1) != stamp {
                *seen = (stamp.0, stamp.1, Instant::now());
            }
            if seen.2.elapsed() >= DEAD {
                continue;
            }
            // Replaced while we read: the next time will tell.
            let Ok(text) = fs::read_to_string(entry.path()) else {
                continue;
            };
            for line in text.lines() {
                if let Some((count, user)) = line.split_once(' ')
                    && let Ok(count) = count.parse::<u32>()
                {
                    let sum = users.entry(user.to_owned()).or_insert(0u32);
                    *sum = sum.saturating_add(count);
                }
            }
        }
        self.seen.retain(|_, (_, _, at)| at.elapsed() < DEAD * 4);
        Ok(users)
    }
}
