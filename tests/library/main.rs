//! The library as other programs use it: its public face, its examples, and
//! its file systems.

mod api;
#[path = "../common/mod.rs"]
mod common;
mod examples;
mod storage;
