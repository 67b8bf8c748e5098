//! What all sessions of one user share: how much room the files in the home
//! take, and how fast they all together may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::Services;
use super::events::Event;
use super::names::TEMPORARY_PREFIX;
use super::places;
use super::rate::Bucket;
use super::registry::SessionInfo;
use crate::auth::{QuotaFull, Right, User};
use crate::config::Config;
use crate::error::Result;
use crate::storage::{
    FileSystem, Follow, Metered, Mounts, Retire, Retired, Sided, Usage, VirtualPath,
};
use crate::sync::unpoisoned;

/// How long a login waits until the files of a home are counted. Until they
/// are, what would change the count is refused as busy.
const COUNTING_MAX: Duration = Duration::from_secs(1);

/// What is counted together: a home, by its limits and by device and inode, for
/// several users may have one; by name where a back-end tells no device, or
/// where the user's old files are deleted.
#[derive(PartialEq, Eq, Hash)]
struct Counted {
    quota: (u64, u64),
    home: (u64, u64),
    user: Option<String>,
}

/// What is known of users who are logged in, by name.
#[derive(Default)]
pub(super) struct Homes {
    usages: Mutex<HashMap<Counted, Weak<Usage>>>,
    rates: Mutex<HashMap<String, Weak<Rates>>>,
}

/// The rates of a user, for all sessions together.
pub(super) struct Rates {
    pub(super) down: Bucket,
    pub(super) up: Bucket,
}

impl Homes {
    /// The rates that the sessions of a user share; what the users file says
    /// now holds for all of them.
    pub(super) fn rates(&self, user: &User) -> Arc<Rates> {
        let mut rates = unpoisoned(self.rates.lock());
        rates.retain(|_, rates| rates.strong_count() > 0);
        let known = rates.get(&user.name).and_then(Weak::upgrade);
        let shared = known.unwrap_or_else(|| {
            let fresh = Arc::new(Rates {
                down: Bucket::new(0),
                up: Bucket::new(0),
            });
            rates.insert(user.name.clone(), Arc::downgrade(&fresh));
            fresh
        });
        shared.down.set_rate(user.limits.rate_down);
        shared.up.set_rate(user.limits.rate_up);
        shared
    }

    /// Has a user with a quota, or whose files grow too old, metered together
    /// with all other sessions in the home. The first of them has the tree
    /// looked through, and waits for that no longer than `COUNTING_MAX`.
    pub(super) fn meter(
        &self,
        user: &mut User,
        config: &Config,
        services: &Arc<Services>,
        live: &Arc<SessionInfo>,
    ) {
        let limits = user.limits;
        let quota = (
            limits.quota_bytes.unwrap_or(config.quota_bytes),
            limits.quota_files.unwrap_or(config.quota_files),
        );
        let retention = limits.retention.unwrap_or(config.retention);
        if quota == (0, 0) && retention.is_zero() {
            return;
        }
        let root = user.file_system.metadata(&VirtualPath::root(), Follow::Yes);
        let home = root.map_or((0, 0), |root| root.id);
        let counted = Counted {
            quota,
            home,
            // Old files go by each user's own time and rights.
            user: (home.0 == 0 || !retention.is_zero()).then(|| user.name.clone()),
        };
        let mut usages = unpoisoned(self.usages.lock());
        usages.retain(|_, usage| usage.strong_count() > 0);
        let known = usages.get(&counted).and_then(Weak::upgrade);
        let usage = known.unwrap_or_else(|| {
            let usage = Arc::new(Usage::new(quota.0, quota.1));
            usages.insert(counted, Arc::downgrade(&usage));
            usage
        });
        drop(usages);
        let files = Arc::clone(&user.file_system);
        let mut metered = Metered::new(Arc::clone(&files), Arc::clone(&usage));
        let policy = Arc::new(RetirePolicy {
            services: Arc::clone(services),
            live: Arc::clone(live),
            user: user.clone(),
            retention,
        });
        let full = limits.quota_full.unwrap_or(config.quota_full);
        if full == QuotaFull::DeleteOldest {
            metered = metered.with_ring(Arc::clone(&policy) as Arc<dyn Retire>);
        }
        if !retention.is_zero() {
            metered = metered.with_retention(retention, policy);
        }
        in_background(metered.clone(), files, Arc::clone(&usage));
        if quota != (0, 0) {
            usage.wait(COUNTING_MAX);
        }
        user.file_system = Arc::new(metered);
        if quota != (0, 0) {
            user.usage = Some(usage);
        }
    }
}

/// Puts the user's folders into their files.
pub(super) fn mount(user: &mut User) -> Result<()> {
    if user.mounts.is_empty() {
        return Ok(());
    }
    let mut files = Mounts::new(Arc::clone(&user.file_system));
    for (at, folder) in std::mem::take(&mut user.mounts) {
        files = files.mount(at, Arc::new(Sided::new(folder)))?;
    }
    user.file_system = Arc::new(files);
    Ok(())
}

/// Looks through a tree where that is due: what its files take, and which are
/// too old. A slow or hung home delays nobody; the thread has the identity of
/// the session that started it.
fn in_background(metered: Metered, files: Arc<dyn FileSystem>, usage: Arc<Usage>) {
    let count = usage.limits() != (0, 0) && usage.is_due();
    if !count && !metered.is_time_to_retire() {
        return;
    }
    let look = move || {
        if count {
            usage.count(files.as_ref());
        }
        metered.retire_old();
    };
    let thread = std::thread::Builder::new().name("look".into());
    if let Err(error) = thread.spawn(look.clone()) {
        log::warn!("a thread that counts files can't be started: {error}");
        look();
    }
}

/// Says which files of a user may go, and tells everybody what has gone.
struct RetirePolicy {
    services: Arc<Services>,
    live: Arc<SessionInfo>,
    user: User,
    retention: Duration,
}

impl Retire for RetirePolicy {
    /// What the user can't store stays: a tree that is only read, a directory
    /// of the administrator. So does what is not a whole file yet.
    fn may_retire(&self, path: &VirtualPath) -> bool {
        let begun = |name: &[u8]| name.starts_with(TEMPORARY_PREFIX);
        let perms = if self.user.directories.is_empty() {
            Ok(self.user.perms)
        } else {
            self.user
                .file_system
                .resolve(path, Follow::No)
                .map(|place| places::rights(&self.user, &place))
        };
        perms.is_ok_and(|perms| perms.has(Right::Write)) && !path.components().any(begun)
    }

    fn may_remove_dir(&self, path: &VirtualPath) -> bool {
        let id = self.user.file_system.metadata(path, Follow::No);
        let id = id.ok().map(|metadata| metadata.id).filter(places::is_known);
        places::leads_to_rule(&self.user, path, id).is_none()
    }

    fn retired(&self, path: &VirtualPath, why: Retired) {
        let why = match why {
            Retired::Full => "the quota is full".to_owned(),
            Retired::Old => format!("older than {} seconds", self.retention.as_secs()),
        };
        log::info!("deleted {path}: {why}");
        let who = self.live.who(Some(&self.user));
        self.services.emit(&who, &Event::Deleted(path));
    }
}
