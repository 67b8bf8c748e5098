//! Stub.
/// Stub.
pub struct MemoryFs;
