//! The handlers, by theme.

pub mod dir;
pub mod file;
pub mod info;
pub mod list;
pub mod login;
pub mod params;
pub mod security;
pub mod site;
pub mod sum;
