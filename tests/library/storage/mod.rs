//! The same cases on every file system of ours: the jail with `openat2`, the
//! jail with the component walk, and the one in memory must mean the same.

mod cases;
mod files;
mod links;
mod mounts;
mod random;
mod support;
use crate::common as temp;
