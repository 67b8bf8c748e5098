//! What clients change, as lines of the log: renames, deletions, directories.
//! Transfers and logins are logged where they happen.

use wharf::events::{Event, Events, Who};

/// Logs what it hears.
pub struct Changes;

impl Events for Changes {
    fn event(&self, _: &Who<'_>, event: &Event<'_>) {
        match event {
            Event::Renamed(from, to) => {
                log::info!(from:% = from, path:% = to; "renamed {from} to {to}");
            }
            Event::Deleted(path) => log::info!(path:% = path; "deleted {path}"),
            Event::DirectoryMade(path) => log::info!(path:% = path; "made the directory {path}"),
            Event::DirectoryRemoved(path) => {
                log::info!(path:% = path; "removed the directory {path}");
            }
            _ => {}
        }
    }
}
