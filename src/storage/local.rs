//! Stub.
/// Stub.
pub struct LocalFs;
