//! Random input against a model or a property, and failures at every step.

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod model;
mod props;
