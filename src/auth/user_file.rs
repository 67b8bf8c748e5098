//! Stub.
/// Stub.
pub struct UserFile;
