//! Every message that a client may send: those after which a connection goes on
//! have a form here, which the tests of a whole server send without end
//! (src/server/tests.rs).

use std::io::Write;

use super::peer::Peer;
use super::*;
use crate::ssh::wire::{Put, message};

fn strings(number: u8, before: &[u8], words: &[&str], after: &[u8]) -> Vec<u8> {
    let mut message = vec![number];
    message.put_bytes(before);
    for word in words {
        message.put_string(word.as_bytes());
    }
    message.put_bytes(after);
    message
}

/// Messages after the login, each of which asks for an answer or for room, and
/// may be sent again and again. The client keeps within its windows: what does
/// not would end the connection.
pub(crate) fn messages() -> Vec<Vec<u8>> {
    let channel = [0; 4];
    let open = [0, 0, 0, 42, 0, 16, 0, 0, 0, 0, 128, 0];
    let on_channel = |number: u8| [&[number][..], &channel, &[0; 4]].concat();
    vec![
        strings(message::IGNORE, &[], &["x"], &[]),
        vec![message::UNIMPLEMENTED, 0, 0, 0, 9],
        strings(message::DEBUG, &[1], &["x", ""], &[]),
        vec![message::EXT_INFO, 0, 0, 0, 0],
        strings(
            message::USERAUTH_REQUEST,
            &[],
            &["ann", "ssh-connection", "none"],
            &[],
        ),
        // Numbers that mean nothing after the login.
        vec![message::USERAUTH_INFO_REQUEST, 0, 0, 0, 0],
        vec![message::USERAUTH_INFO_RESPONSE, 0, 0, 0, 0],
        vec![192, 1, 2],
        strings(
            message::GLOBAL_REQUEST,
            &[],
            &["keepalive@openssh.com"],
            &[1],
        ),
        strings(
            message::GLOBAL_REQUEST,
            &[],
            &["tcpip-forward"],
            &[1, 0, 0, 0, 0, 0, 0, 0, 9],
        ),
        vec![message::REQUEST_SUCCESS],
        vec![message::REQUEST_FAILURE],
        strings(message::CHANNEL_OPEN, &[], &["direct-tcpip"], &open),
        strings(message::CHANNEL_OPEN, &[], &["no-such"], &open),
        strings(message::CHANNEL_OPEN, &[], &["session"], &open),
        on_channel(message::CHANNEL_WINDOW_ADJUST),
        on_channel(message::CHANNEL_DATA),
        [&on_channel(message::CHANNEL_EXTENDED_DATA)[..], &[0; 4]].concat(),
        [&[message::CHANNEL_EOF][..], &channel].concat(),
        strings(
            message::CHANNEL_REQUEST,
            &channel,
            &["subsystem"],
            &[1, 0, 0, 0, 4, b's', b'f', b't', b'p'],
        ),
        strings(
            message::CHANNEL_REQUEST,
            &channel,
            &["exec"],
            &[1, 0, 0, 0, 0],
        ),
        strings(message::CHANNEL_REQUEST, &channel, &["env"], &[1]),
        strings(message::CHANNEL_REQUEST, &channel, &["shell"], &[1]),
        [&[message::CHANNEL_SUCCESS][..], &channel].concat(),
        [&[message::CHANNEL_FAILURE][..], &channel].concat(),
    ]
}

/// A message that is taken from clients and has no form above would be one that
/// no flood tries.
#[test]
fn a_message_without_a_form_ends_the_connection() {
    let known: Vec<u8> = messages().iter().map(|message| message[0]).collect();
    for (name, number) in message::ALL {
        if known.contains(number) {
            continue;
        }
        let mut peer = Peer::running(Settings::default());
        // A channel is closed once.
        for _ in 0..2 {
            let message = [&[*number][..], &[0; 64]].concat();
            let packet = peer.packet(&message, None);
            let _ = peer.stream.write_all(&packet);
        }
        let ended = loop {
            match peer.try_receive() {
                Ok(payload) if payload[0] == message::DISCONNECT => break true,
                Ok(payload) if payload[0] == message::CHANNEL_CLOSE => {}
                // Of a key exchange, which is finished or ends the connection.
                Ok(payload) if payload[0] == message::KEXINIT => {}
                Ok(payload) => panic!("{name} is answered by {payload:?}"),
                Err(error) => break error.kind() == std::io::ErrorKind::UnexpectedEof,
            }
        };
        assert!(ended, "say how {name} looks");
    }
}

#[test]
fn a_message_with_a_form_may_be_sent_again() {
    for message in messages() {
        let mut peer = Peer::running(Settings::default());
        for _ in 0..20 {
            peer.send(&message);
        }
        peer.send(&strings(message::GLOBAL_REQUEST, &[], &["x"], &[1]));
        // It lives.
        let mut answer = peer.receive();
        while answer != [message::REQUEST_FAILURE] {
            assert_ne!(answer[0], message::DISCONNECT, "after {message:?}");
            answer = peer.receive();
        }
    }
}
