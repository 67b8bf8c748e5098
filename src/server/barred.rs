//! Ends the sessions of users who are locked, expired or gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Standing;
use crate::session::registry::End;
use crate::session::{Phase, Services};

/// How often users are looked at again.
const EVERY: Duration = Duration::from_secs(8);

/// Looks at all users who are logged in until the server stops.
pub(super) fn end_sessions(services: &Arc<Services>) {
    while services.phase() == Phase::Running && Arc::strong_count(services) > 1 {
        std::thread::sleep(EVERY);
        let authenticator = services.authenticator();
        let mut known: HashMap<Arc<String>, Option<Standing>> = HashMap::new();
        for session in services.registry.all() {
            let user = session.user.load();
            if user.is_empty() {
                continue;
            }
            let standing = match known.get(&user) {
                Some(known) => *known,
                None => authenticator.standing(&user),
            };
            if matches!(standing, Some(Standing::Barred | Standing::Absent)) {
                session.end(End::Revoked);
            }
            known.insert(user, standing);
        }
    }
}
