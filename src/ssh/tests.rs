//! What a client may do and what it may not: each broken rule must end with
//! the right reason, in bounded memory and without a panic.

mod certificates;
mod channels;
pub(crate) mod floods;
mod handshake;
mod host_keys;
#[cfg(ossl350)]
mod hybrid;
mod login;
pub(crate) mod peer;
mod sessions;
mod vectors;

use super::Settings;
use super::wire::message;
use peer::Peer;

// Reasons of SSH_MSG_DISCONNECT.
const PROTOCOL_ERROR: u32 = 2;
const KEY_EXCHANGE_FAILED: u32 = 3;
const MAC_ERROR: u32 = 5;
const SERVICE_NOT_AVAILABLE: u32 = 7;
const CONNECTION_LOST: u32 = 10;
const BY_APPLICATION: u32 = 11;
const TOO_MANY_CONNECTIONS: u32 = 12;
const NO_MORE_AUTH_METHODS: u32 = 14;

/// Starts a peer at some stage.
type Stage = fn(Settings) -> Peer;

fn after_versions(settings: Settings) -> Peer {
    let mut peer = Peer::start(settings);
    peer.versions();
    assert_eq!(peer.receive()[0], message::KEXINIT);
    peer
}
