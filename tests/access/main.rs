//! Who may do what: rights, quotas, limits and the jail, over both protocols.

#[path = "../common/mod.rs"]
mod common;
mod jail;
mod limits;
mod mounts;
mod oracle;
mod parity;
mod quota;
mod rates;
mod rights;
mod ring;
