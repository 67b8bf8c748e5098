//! Which files of a metered tree give way: the oldest where there is no more
//! room, and those that are too old.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::FileSystem;
use super::super::clock;
use super::super::oldest::{Candidate, Retire, Retired, oldest};
use super::super::usage::UsageState;
use super::super::used::size;
use super::Metered;
use crate::error::{ErrorKind, Result};
use crate::time::seconds_of;

/// Between two looks for files that are too old.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

impl Metered {
    /// Room for `bytes` and `files` more, where a file is to be `size` bytes
    /// long; whatever gives way for it is gone then. Nothing goes in vain.
    pub(super) fn make_room(
        &self,
        state: &mut UsageState,
        size: u64,
        bytes: u64,
        files: u64,
    ) -> Result<()> {
        let Err(error) = self.usage.room_for(&state.used, bytes, files) else {
            return Ok(());
        };
        let (bytes_max, _) = self.usage.limits();
        let fits = bytes_max == 0 || size <= bytes_max;
        let Some(retire) = self.ring.as_deref().filter(|_| fits) else {
            return Err(error);
        };
        let enough_may_go = |state: &UsageState| {
            let rest = state.used.without(&state.may_go);
            self.usage.room_for(&rest, bytes, files).is_ok()
        };
        if !enough_may_go(state) {
            self.look_for_oldest(state, retire);
        }
        if !enough_may_go(state) {
            return Err(error);
        }
        while let Err(error) = self.usage.room_for(&state.used, bytes, files) {
            if !self.oldest_gives_way(state, retire) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The files, links not followed: nobody leads a deletion elsewhere.
    fn plain(&self) -> Arc<dyn FileSystem> {
        let plain = self.files.without_links();
        plain.unwrap_or_else(|| Arc::clone(&self.files))
    }

    fn oldest_gives_way(&self, state: &mut UsageState, retire: &dyn Retire) -> bool {
        let mut looked = false;
        loop {
            while let Some(candidate) = state.oldest.pop() {
                if self.retire(state, &candidate, retire, Retired::Full) {
                    return true;
                }
            }
            if looked {
                return false;
            }
            looked = true;
            self.look_for_oldest(state, retire);
        }
    }

    fn look_for_oldest(&self, state: &mut UsageState, retire: &dyn Retire) {
        let found = oldest(self.plain().as_ref(), None, &|path, metadata| {
            !state.is_written(metadata.id) && retire.may_retire(path)
        });
        (state.oldest, state.may_go) = found;
    }

    /// Whether the file is gone.
    fn retire(
        &self,
        state: &mut UsageState,
        candidate: &Candidate,
        retire: &dyn Retire,
        why: Retired,
    ) -> bool {
        if !retire.may_retire(&candidate.path) {
            return false;
        }
        let plain = self.plain();
        match candidate.remove(plain.as_ref(), retire, |id| state.is_written(id)) {
            Ok(Some(metadata)) => {
                state.unnamed(&metadata);
                state.may_go.remove(size(&metadata));
                retire.retired(&candidate.path, why);
                true
            }
            Ok(None) => false,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                log::warn!("{} can't be deleted: {error}", candidate.path);
                false
            }
        }
    }

    /// Whether it is time to look for what is too old.
    pub fn is_time_to_retire(&self) -> bool {
        self.retention.as_ref().is_some_and(|(time, _)| {
            let every = LOOK_EVERY.min(*time / 24);
            let looked = self.usage.lock().looked;
            looked.is_none_or(|looked| looked.elapsed() >= every)
        })
    }

    /// Deletes what is too old, if it is time to look for it and the clock is
    /// to be trusted.
    pub fn retire_old(&self) {
        let Some((time, retire)) = &self.retention else {
            return;
        };
        if !self.is_time_to_retire() {
            return;
        }
        self.usage.lock().looked = Some(Instant::now());
        let now = SystemTime::now();
        let Some(before) = now.checked_sub(*time) else {
            return;
        };
        let judge = clock::Judge::new(now);
        loop {
            // Nobody waits while the tree is looked through.
            let (found, _) = oldest(self.plain().as_ref(), Some(before), &|path, metadata| {
                retire.may_retire(path) && judge.has_seen(metadata)
            });
            let Some(first) = found.last() else { return };
            let doubt = judge.doubt(
                seconds_of(before),
                self.plain().as_ref(),
                &first.path.parent(),
            );
            if let Some(doubt) = doubt {
                log::warn!("retention: no file is deleted: {doubt}");
                return;
            }
            let gone = found.iter().rev().filter(|candidate| {
                let Ok(mut state) = self.usage.change() else {
                    return false;
                };
                self.retire(&mut state, candidate, retire.as_ref(), Retired::Old)
            });
            if gone.count() == 0 {
                return;
            }
        }
    }
}
