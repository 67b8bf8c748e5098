//! The connections of a dialogue, and what may lie under them.

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::client::{Client, Data};
use super::server::Builder;

/// Bytes both ways.
pub trait Duplex: Read + Write {}

impl<T: Read + Write> Duplex for T {}

/// A control connection.
pub type Control = Client<Box<dyn Duplex>>;

/// What lies between the dialogue and TCP.
pub trait Layer {
    /// Gives the server what it needs for it.
    fn prepare(&self, settings: Builder) -> Builder;

    /// Connects; the greeting is the first thing to be read.
    fn connect(&self, server: SocketAddr) -> Link;
}

/// A control connection, and how its data connections are made.
pub struct Link {
    pub control: Control,
    pub wrap: Box<dyn Fn(Data) -> Box<dyn Flow>>,
}

impl Link {
    /// Reads the greeting.
    pub fn greeted(mut self) -> Self {
        self.control.wait_for(220);
        self
    }
}

/// A data connection.
pub trait Flow {
    /// Everything until the server ends it.
    fn rest(&mut self) -> (Vec<u8>, End);

    /// Sends all of it.
    fn send(&mut self, content: &[u8]);

    /// Ends it as clients do.
    fn close(self: Box<Self>);
}

/// How the server's data ended.
#[derive(Clone, Copy, PartialEq)]
pub enum End {
    Whole,
    /// In a way that tells the client of it.
    Cut,
}

/// Nothing: all is said in the clear.
pub struct Clear;

impl Layer for Clear {
    fn prepare(&self, settings: Builder) -> Builder {
        settings
    }

    fn connect(&self, server: SocketAddr) -> Link {
        Link {
            control: Client::connect(server).on(|stream| Box::new(stream) as _),
            wrap: Box::new(|data| Box::new(data)),
        }
    }
}

impl Flow for Data {
    fn rest(&mut self) -> (Vec<u8>, End) {
        (Data::rest(self), End::Whole)
    }

    fn send(&mut self, content: &[u8]) {
        Data::send(self, content);
    }

    fn close(self: Box<Self>) {}
}
