//! What must fit together in the settings, whatever the machine is like: the
//! start, a reload and `--check` ask the same.

use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::net::passive;

/// # Errors
/// What does not fit, and the name of its option.
pub fn consistent(config: &Config) -> Result<()> {
    if let Some(None) = config.node.map(|node| node.slice(config.passive_ports)) {
        return Err(Error::new(
            ErrorKind::Invalid,
            "passive-ports has fewer ports than there are nodes",
        ));
    }
    if config.shared_data_ports {
        passive::shareable(config)?;
    }
    Ok(())
}
