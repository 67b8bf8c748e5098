//! Uploads whose client is lost, and comes again from another address.

use super::Files;
use super::put::Put;
use crate::error::Result;
use crate::session::registry::ENDS_WITHIN;
use crate::session::replacement::replace;
use crate::storage::VirtualPath;

impl Files {
    /// Ends the session that uploads to what another upload would write, if it
    /// is the same user's and its client seems lost. Whether one has ended.
    pub(super) fn take_over(&self, path: &VirtualPath, put: Put) -> Result<bool> {
        let (place, _) = self.may_open(path, put)?;
        let (target, old) = self.end_of_link(&place.path, put)?;
        let owned = self.owned_name(&target, old.as_ref())?;
        let (services, config) = (&self.0.services, &self.0.config);
        let Some(owner) = services.uploads.owner(self.0.live.id, &owned) else {
            return Ok(false);
        };
        let ended = replace(services, config, &self.0.user, |live| live.id == owner);
        if ended {
            let uploads = &services.uploads;
            uploads.wait_for_end(owner, &owned, ENDS_WITHIN);
        }
        Ok(ended)
    }
}
