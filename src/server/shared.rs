//! What nodes of one service tell each other, by files in a directory on
//! their shared disk: bans, failed logins, and how many sessions each user
//! has.
//!
//! Below the directory, `bans/ADDRESS` is a ban: created exclusively, removed
//! when it is over or lifted; its time of change is the end of the ban.
//! `unbans/ADDRESS` tells for a minute that a ban was lifted. `nodes/NAME` is
//! what one node knows, replaced by rename. Nothing is locked and nothing appended, so NFS will do. All of
//! it happens on a thread of its own: when the share is slow or gone, logins
//! go on with what was known last, for as long as that means anything.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::address::Network;
use crate::error::{Doing, Result, retried};
use crate::session::limits::{OtherNodes, Unban};
use crate::session::{Phase, Services};

/// How often files are read and written.
const EVERY: Duration = Duration::from_secs(1);
/// A node whose file has not changed for so long counts no more. Told by our
/// own clock from when we last saw it change: clocks of nodes may differ.
const DEAD: Duration = Duration::from_secs(15);
/// How long a lifted ban is told: long enough for a node that was away.
const UNBAN_TOLD: Duration = Duration::from_secs(60);
/// Files of each kind that are looked at. Where there are more bans, one that
/// is not seen is not taken for one that was lifted.
const FILES_MAX: usize = 100_000;
/// Longest file of a node.
const NODE_FILE_MAX: u64 = 4 << 20;

/// The shared directory of one node.
pub struct SharedDirectory {
    bans: PathBuf,
    unbans: PathBuf,
    nodes: PathBuf,
    own: String,
    seen: HashMap<String, (SystemTime, u64, Instant)>,
    /// Own bans whose files have been there. One that is gone before its time
    /// has been lifted by another node.
    told: HashSet<Network>,
    /// Lifted bans that this node has heard of, with the times of their files.
    heard: HashMap<String, SystemTime>,
    complained: bool,
}

impl SharedDirectory {
    /// Makes the directory, while that is still allowed, but none above it:
    /// where the disk is not mounted, nodes would each share with themselves.
    ///
    /// # Errors
    /// It can't be made.
    pub fn make(directory: &Path) -> Result<()> {
        fs::create_dir(directory)
            .or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            })
            .doing(format!(
                "making the shared directory {}",
                directory.display()
            ))
    }

    /// Makes the directories below it.
    ///
    /// # Errors
    /// They can't be made.
    pub fn open(directory: &Path, node: &str) -> Result<SharedDirectory> {
        let [bans, unbans, nodes] = ["bans", "unbans", "nodes"].map(|name| directory.join(name));
        for path in [&bans, &unbans, &nodes] {
            SharedDirectory::make(path)?;
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
        Ok(SharedDirectory {
            bans,
            unbans,
            nodes,
            own,
            seen: HashMap::new(),
            told: HashSet::new(),
            heard: HashMap::new(),
            complained: false,
        })
    }

    /// Reads and writes until the server stops.
    pub fn run(mut self, services: &Arc<Services>) {
        while services.phase() != Phase::Stopping && Arc::strong_count(services) > 1 {
            match self.exchange(services) {
                Ok(()) => {
                    if std::mem::take(&mut self.complained) {
                        log::info!("the shared directory {} is back", self.nodes.display());
                    }
                }
                Err(error) if !std::mem::replace(&mut self.complained, true) => {
                    log::error!(
                        "the shared directory {}: {error}; going on without",
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
        let (config, limits) = (services.config(), &services.limits);
        if let Err(error) = self.tell_node(services) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            // Somebody has cleared the disk.
            fs::create_dir_all(&self.nodes)?;
            fs::create_dir_all(&self.bans)?;
            fs::create_dir_all(&self.unbans)?;
            self.tell_node(services)?;
        }
        let unbans = limits.take_unbans();
        if let Err(error) = unbans.iter().try_for_each(|unban| self.tell_unban(*unban)) {
            limits.give_back_unbans(unbans);
            return Err(error);
        }
        self.hear_unbans(services)?;
        let bans = self.read_bans()?;
        let own = limits.own_bans(&config);
        for (network, left) in &own {
            if bans.contains_key(network) {
                self.told.insert(*network);
            } else if bans.len() < FILES_MAX && self.told.remove(network) {
                limits.lift_ban(*network);
            } else {
                self.tell_ban(*network, *left)?;
                self.told.insert(*network);
            }
        }
        self.told
            .retain(|told| own.iter().any(|(network, _)| network == told));
        let mut others = self.read_nodes()?;
        others.bans = bans.into_iter().collect();
        limits.set_elsewhere(others);
        Ok(())
    }

    fn ban_file(&self, network: Network) -> PathBuf {
        self.bans.join(network.to_string().replace('/', "+"))
    }

    /// The first node to ban an address makes its file. Its time is the end
    /// of the ban, by the file server's clock, and is there with its name.
    fn tell_ban(&self, network: Network, left: Duration) -> io::Result<()> {
        let temporary = self.bans.join(format!(".{}.new", self.own));
        let until = self.now()? + left;
        let linked = retried(|| {
            fs::File::create(&temporary)?.set_modified(until)?;
            fs::hard_link(&temporary, self.ban_file(network))
        });
        remove(&temporary)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    fn tell_unban(&mut self, unban: Unban) -> io::Result<()> {
        match unban {
            Unban::One(network) => {
                self.told.remove(&network);
                fs::File::create(self.unban_file(Some(network)))?;
                remove(&self.ban_file(network))
            }
            Unban::All => {
                self.told.clear();
                fs::File::create(self.unban_file(None))?;
                for entry in fs::read_dir(&self.bans)? {
                    let entry = entry?;
                    if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                        remove(&entry.path())?;
                    }
                }
                Ok(())
            }
        }
    }

    fn unban_file(&self, network: Option<Network>) -> PathBuf {
        let name = network.map_or("all".into(), |network| network.to_string());
        self.unbans.join(name.replace('/', "+"))
    }

    /// Lifts what other nodes have lifted. Without it a node that bans by its
    /// own count, and has not told yet, would bring the ban back.
    fn hear_unbans(&mut self, services: &Services) -> io::Result<()> {
        let now = self.now()?;
        for entry in retried(|| fs::read_dir(&self.unbans))?.take(FILES_MAX) {
            let entry = entry?;
            let Ok(at) = entry.metadata().and_then(|metadata| metadata.modified()) else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().replace('+', "/");
            if now.duration_since(at).is_ok_and(|age| age >= UNBAN_TOLD) {
                remove(&entry.path())?;
                self.heard.remove(&name);
                continue;
            }
            if self.heard.get(&name) == Some(&at) {
                continue;
            }
            match name.parse::<Network>() {
                Ok(network) => {
                    services.limits.lift_ban(network);
                    self.told.remove(&network);
                    remove(&self.ban_file(network))?;
                }
                Err(_) if name == "all" => {
                    services.limits.lift_all_bans();
                    // The node that lifts them removes the files it sees; this
                    // node may have made one of its own since.
                    for network in std::mem::take(&mut self.told) {
                        remove(&self.ban_file(network))?;
                    }
                }
                Err(_) => continue,
            }
            self.heard.insert(name, at);
        }
        Ok(())
    }

    /// Bans of all nodes; those that are over are removed.
    fn read_bans(&self) -> io::Result<HashMap<Network, Duration>> {
        let now = self.now()?;
        let mut bans = HashMap::new();
        for entry in retried(|| fs::read_dir(&self.bans))?.take(FILES_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            let Some(network) = name
                .to_str()
                .and_then(|name| Network::read(&name.replace('+', "/")).ok())
            else {
                continue;
            };
            let until = match entry.metadata().and_then(|metadata| metadata.modified()) {
                Ok(until) => until,
                // Another node has removed it meanwhile.
                Err(_) => continue,
            };
            match until.duration_since(now) {
                Err(_) | Ok(Duration::ZERO) => drop(fs::remove_file(entry.path())),
                Ok(left) => drop(bans.insert(network, left)),
            }
        }
        Ok(bans)
    }

    /// The file server's time: that of the file we have just written.
    fn now(&self) -> io::Result<SystemTime> {
        retried(|| fs::metadata(self.nodes.join(&self.own))?.modified())
    }

    /// Lines of `user COUNT NAME` and of `failed COUNT ADDRESS`.
    fn tell_node(&self, services: &Services) -> io::Result<()> {
        let mut text = String::new();
        for (user, count) in services.limits.sessions_by_user() {
            text.push_str(&format!("user {count} {user}\n"));
        }
        for (network, count) in services.limits.failures(&services.config()) {
            text.push_str(&format!("failed {count} {network}\n"));
        }
        let temporary = self.nodes.join(format!(".{}.new", self.own));
        retried(|| {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            drop(file);
            fs::rename(&temporary, self.nodes.join(&self.own))
        })
    }

    /// What the other nodes that are alive have told.
    fn read_nodes(&mut self) -> io::Result<OtherNodes> {
        let mut heard = OtherNodes::default();
        for entry in retried(|| fs::read_dir(&self.nodes))?.take(FILES_MAX) {
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
            if let Ok(text) = retried(|| fs::read_to_string(entry.path())) {
                text.lines().for_each(|line| hear(line, &mut heard));
            }
        }
        self.seen.retain(|_, (_, _, at)| at.elapsed() < DEAD * 4);
        Ok(heard)
    }
}

/// A line of another node's file; what is not understood is left out.
fn hear(line: &str, heard: &mut OtherNodes) {
    let mut words = line.splitn(3, ' ');
    let (Some(kind), Some(Ok(count)), Some(name)) = (
        words.next(),
        words.next().map(str::parse::<u32>),
        words.next(),
    ) else {
        return;
    };
    let sum = match (kind, Network::read(name)) {
        ("user", _) => heard.users.entry(name.to_owned()).or_insert(0),
        ("failed", Ok(network)) => heard.failures.entry(network).or_insert(0),
        _ => return,
    };
    *sum = sum.saturating_add(count);
}

fn remove(path: &Path) -> io::Result<()> {
    match retried(|| fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Authenticator, Credentials, User};
    use crate::config::Config;
    use crate::temp::TempDir;

    struct Nobody;

    impl Authenticator for Nobody {
        fn authenticate(&self, _: &Credentials<'_>) -> Result<User> {
            Err(crate::error::Error::new(
                crate::error::ErrorKind::LoginRefused,
                "logging in",
            ))
        }
    }

    /// The other node looked at the lifted bans just before this one was
    /// lifted, and told its own ban just after.
    #[test]
    fn a_ban_that_crosses_its_lifting_is_removed() {
        let directory = TempDir::new("shared-bans");
        let services = || Arc::new(Services::new(Config::default(), Arc::new(Nobody), vec![]));
        let (lifting, banning) = (services(), services());
        let mut nodes =
            ["lifts", "bans"].map(|name| SharedDirectory::open(directory.path(), name).unwrap());
        let network = Network::read("192.0.2.1").unwrap();
        for unban in [Unban::One(network), Unban::All] {
            nodes[0].exchange(&lifting).unwrap();
            nodes[1].exchange(&banning).unwrap();
            nodes[0].tell_unban(unban).unwrap();
            nodes[1].tell_ban(network, Duration::from_secs(60)).unwrap();
            nodes[1].told.insert(network);
            assert_eq!(nodes[0].read_bans().unwrap().len(), 1);
            nodes[1].exchange(&banning).unwrap();
            assert!(nodes[0].read_bans().unwrap().is_empty(), "{unban:?}");
        }
    }

    #[test]
    fn lines_of_other_nodes_are_added_up() {
        let mut heard = OtherNodes::default();
        for line in [
            "user 2 ann",
            "user 3 ann",
            "user 1 with blanks",
            "failed 4 192.0.2.1",
            "failed 5 192.0.2.1",
            "failed 1 nonsense",
            "user x ann",
            "other 1 thing",
            "user",
            "",
        ] {
            hear(line, &mut heard);
        }
        assert_eq!(heard.users["ann"], 5);
        assert_eq!(heard.users["with blanks"], 1);
        let network = Network::read("192.0.2.1").unwrap();
        assert_eq!(heard.failures[&network], 9);
        assert_eq!((heard.users.len(), heard.failures.len()), (2, 1));
    }
}
