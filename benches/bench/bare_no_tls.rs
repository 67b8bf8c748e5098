//! Without the feature `ftps` there is no TLS to be bare about.

use crate::Result;
use std::net::TcpStream;
use std::path::Path;

/// There is none.
#[derive(Clone)]
pub enum Acceptor {}

impl Acceptor {
    /// Says so.
    pub fn new(_both: &Path) -> Result<Acceptor> {
        Err("this build has no TLS".into())
    }
}

/// Never called.
pub fn session(_socket: TcpStream, _home: &Path, acceptor: &Acceptor) -> Result<()> {
    match *acceptor {}
}
