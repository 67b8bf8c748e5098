//! wharf with programs of other people: clients, launchers, log daemons,
//! service managers and package tools. tests/install-clients.sh installs
//! them; one that is missing is a line `SKIP name`, and a failure with
//! WHARF_NEED_CLIENTS=1.

#[cfg(feature = "acme")]
mod acme;
#[path = "../common/mod.rs"]
mod common;
mod commons_net;
mod filezilla;
mod ftp;
mod ftps;
mod launchers;
mod logs;
mod make_run;
mod packages;
mod services;
mod sftp;
