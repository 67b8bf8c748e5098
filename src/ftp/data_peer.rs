//! Whose a data connection is (RFC 2577, sections 3 and 4; wharf-security(7),
//! attacks 2 and 3), also when a balancer has made it.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use super::data_port::Proof;
use super::state::Interpreter;
use crate::address::Network;
use crate::config::{DataPeer, ProxyData};
use crate::net::passive::{PassivePort, ToldBy};
use crate::net::proxy_protocol;
use crate::net::socket::Socket;
use crate::session::log_context::tell_once;

impl Interpreter {
    /// Whether a data connection may be with `address`.
    pub fn may_be_data_peer(&self, address: IpAddr) -> bool {
        let config = self.session.config();
        let peer = self.session.peer().ip().to_canonical();
        let address = address.to_canonical();
        let related = match config.data_peer {
            DataPeer::SameAddress => address == peer,
            DataPeer::SameNetwork => Network::around(peer, 24, 64).contains(address),
            DataPeer::Any => true,
        };
        related
            || config
                .data_peer_allow
                .iter()
                .any(|network| network.contains(address))
    }

    /// The address that connections to a shared port will be known by.
    pub fn passive_claimant(&self) -> IpAddr {
        let client = self.session.peer().ip();
        match self.session.config().proxy_data {
            ProxyData::Header => client,
            ProxyData::Tls => self.session.via().unwrap_or(client),
        }
    }

    /// Takes the next connection of a passive port; `None` for one that is not
    /// served, so that whoever guessed the port does not keep the client out.
    pub fn accept_peer(&mut self, listener: &PassivePort) -> io::Result<Option<Socket>> {
        let arrival = match listener.accept() {
            Ok(arrival) => arrival,
            Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => return Ok(None),
            Err(error) => return Err(error),
        };
        let from = arrival.from.to_canonical();
        let socket = arrival.socket;
        let config = self.session.config();
        let by_balancer = config.proxy_from.iter().any(|one| one.contains(from));
        let by_header = by_balancer && config.proxy_data == ProxyData::Header;
        let peer = match (by_header, arrival.named) {
            (false, _) => from,
            (true, Some(named)) => named,
            (true, None) => {
                // The balancer's first packet: nobody else makes us wait here.
                match proxy_protocol::read(&socket, Instant::now() + proxy_protocol::DEADLINE) {
                    Ok(named) => named.map_or(from, |named| named.client.ip().to_canonical()),
                    Err(error) => {
                        self.refuse_peer(from, &format!("{error}; see proxy-data"));
                        return Ok(None);
                    }
                }
            }
        };
        if self.may_be_data_peer(peer) {
            self.parameters.data_proof = match arrival.told_by {
                ToldBy::Place => Proof::Address,
                ToldBy::TlsSession => Proof::OwesTlsSession,
            };
            return Ok(Some(socket));
        }
        // SECURITY: everybody's data connections come from the balancer; its
        // address alone says nothing about whose this one is.
        let same_balancer = self.session.via() == Some(from);
        if by_balancer && config.proxy_data == ProxyData::Tls && same_balancer {
            self.parameters.data_proof = Proof::OwesTlsSession;
            return Ok(Some(socket));
        }
        self.refuse_peer(peer, "it is not the client's");
        Ok(None)
    }

    fn refuse_peer(&mut self, peer: IpAddr, why: &str) {
        let reason = "refused a data connection";
        tell_once(
            log::Level::Warn,
            reason,
            &format_args!("from {peer}: {why}"),
        );
    }
}
