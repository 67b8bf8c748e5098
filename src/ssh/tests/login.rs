//! Logins: tries, methods, deadlines.

use std::io::Write;
use std::time::Duration;

use super::peer::{Kex, Peer};
use super::*;
use crate::error::ErrorKind;
use crate::ssh::Method;
use crate::ssh::wire::{Put, message};
use crate::ssh_data::Reader;

#[test]
fn channels_wait_for_the_login() {
    for payload in [
        &[message::CHANNEL_OPEN][..],
        &[message::GLOBAL_REQUEST, 0, 0, 0, 1, b'x', 1],
        &[message::USERAUTH_SUCCESS],
        &[message::USERAUTH_REQUEST],
        &[200],
    ] {
        let mut peer = Peer::keyed(Settings::default());
        peer.send(payload);
        peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    }
    let mut peer = Peer::keyed(Settings::default());
    peer.ask_service("ssh-connection");
    peer.must_disconnect(SERVICE_NOT_AVAILABLE, ErrorKind::Protocol);
}

fn at_login(settings: Settings) -> Peer {
    let mut peer = Peer::keyed(settings);
    peer.ask_service("ssh-userauth");
    assert_eq!(peer.receive()[0], message::SERVICE_ACCEPT);
    peer
}

#[test]
fn tries_are_counted_and_none_is_not_one() {
    let mut peer = at_login(Settings::default());
    for (password, want) in [
        ("", message::USERAUTH_FAILURE),
        ("", message::USERAUTH_FAILURE),
        ("wrong", message::USERAUTH_FAILURE),
        ("wrong", message::USERAUTH_FAILURE),
        ("wrong", message::USERAUTH_FAILURE),
        ("wrong", message::USERAUTH_FAILURE),
        ("wrong", message::USERAUTH_FAILURE),
    ] {
        peer.ask_login("tester", password);
        let answer = peer.receive();
        assert_eq!(answer[0], want);
        let mut reader = Reader::new(&answer[1..]);
        assert_eq!(
            reader.text().unwrap(),
            "publickey,password,keyboard-interactive"
        );
    }
    peer.ask_login("tester", "wrong");
    peer.must_disconnect(NO_MORE_AUTH_METHODS, ErrorKind::LoginRefused);

    // Questions are not tries, but they end too.
    let mut peer = at_login(Settings::default());
    for _ in 0..64 {
        peer.ask_login("tester", "");
    }
    peer.must_disconnect(NO_MORE_AUTH_METHODS, ErrorKind::LoginRefused);
}

/// paramiko asks for the service before each of its tries.
#[test]
fn the_service_may_be_asked_for_again() {
    let mut peer = at_login(Settings::default());
    for password in ["wrong", "right"] {
        peer.ask_service("ssh-userauth");
        assert_eq!(peer.receive()[0], message::SERVICE_ACCEPT);
        peer.ask_login("tester", password);
        let want = match password {
            "wrong" => message::USERAUTH_FAILURE,
            _ => message::USERAUTH_SUCCESS,
        };
        assert_eq!(peer.receive()[0], want);
    }
    // Not for ever, and not for another service.
    let mut peer = at_login(Settings::default());
    for _ in 0..128 {
        peer.ask_service("ssh-userauth");
    }
    peer.must_disconnect(NO_MORE_AUTH_METHODS, ErrorKind::LoginRefused);
    let mut peer = at_login(Settings::default());
    peer.ask_service("ssh-connection");
    peer.must_disconnect(SERVICE_NOT_AVAILABLE, ErrorKind::Protocol);
}

/// An agent with twenty keys still logs in; whoever goes on has failed.
#[test]
fn keys_that_are_offered_in_vain_count_at_last() {
    let mut peer = at_login(Settings::default());
    for _ in 0..20 {
        peer.offer_key("tester");
        assert_eq!(peer.receive()[0], message::USERAUTH_FAILURE);
    }
    peer.ask_login("tester", "right");
    assert_eq!(peer.receive()[0], message::USERAUTH_SUCCESS);

    let mut peer = at_login(Settings::default());
    for _ in 0..26 {
        peer.offer_key("tester");
    }
    for _ in 0..25 {
        assert_eq!(peer.receive()[0], message::USERAUTH_FAILURE);
    }
    peer.must_disconnect(NO_MORE_AUTH_METHODS, ErrorKind::LoginRefused);
}

#[test]
fn a_password_answers_the_question_of_keyboard_interactive() {
    let mut peer = at_login(Settings::default());
    for (password, want) in [
        ("wrong", message::USERAUTH_FAILURE),
        ("right", message::USERAUTH_SUCCESS),
    ] {
        let mut request = vec![message::USERAUTH_REQUEST];
        for word in ["tester", "ssh-connection", "keyboard-interactive", "", ""] {
            request.put_string(word.as_bytes());
        }
        peer.send(&request);
        let question = peer.receive();
        assert_eq!(question[0], message::USERAUTH_INFO_REQUEST);
        let mut reader = Reader::new(&question[13..]);
        assert_eq!(reader.u32().unwrap(), 1);
        assert_eq!(reader.text().unwrap(), "Password: ");
        let mut answer = vec![message::USERAUTH_INFO_RESPONSE, 0, 0, 0, 1];
        answer.put_string(password.as_bytes());
        peer.send(&answer);
        assert_eq!(peer.receive()[0], want);
    }
    // An answer that nobody has asked for, or that another try has overtaken.
    for overtaken in [false, true] {
        let mut peer = at_login(Settings::default());
        if overtaken {
            let mut request = vec![message::USERAUTH_REQUEST];
            for word in ["tester", "ssh-connection", "keyboard-interactive", "", ""] {
                request.put_string(word.as_bytes());
            }
            peer.send(&request);
            peer.ask_login("tester", "wrong");
        }
        peer.send(&[message::USERAUTH_INFO_RESPONSE, 0, 0, 0, 0]);
        peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    }
}

/// As sshd: each exchange is work, and nobody who has not logged in needs two.
#[test]
fn a_second_key_exchange_before_the_login_is_refused() {
    for asked in [false, true] {
        let mut peer = Peer::keyed(Settings::default());
        if asked {
            peer.ask_service("ssh-userauth");
            assert_eq!(peer.receive()[0], message::SERVICE_ACCEPT);
        }
        let init = peer.init("aes128-ctr", Kex::STRICT);
        peer.send(&init);
        peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    }
}

#[test]
fn a_login_can_need_nothing_or_be_sent_away() {
    let mut peer = at_login(Settings::default());
    peer.ask_login("free", "");
    assert_eq!(peer.receive()[0], message::USERAUTH_SUCCESS);
    let mut peer = at_login(Settings::default());
    peer.ask_login("tester", "late");
    peer.must_disconnect(TOO_MANY_CONNECTIONS, ErrorKind::TooMany);
    let mut peer = at_login(Settings::default());
    peer.ask_login("tester", "wrong");
    assert_eq!(peer.receive()[0], message::USERAUTH_FAILURE);
    peer.ask_login("other", "right");
    peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
}

#[test]
fn the_banner_comes_once_and_methods_can_be_switched_off() {
    let settings = Settings {
        banner: "Private system.\n".into(),
        methods: vec![Method::PublicKey],
        ..Settings::default()
    };
    let mut peer = at_login(settings);
    peer.ask_login("tester", "");
    let banner = peer.receive();
    assert_eq!(banner[0], message::USERAUTH_BANNER);
    assert!(banner.ends_with(b"Private system.\n\0\0\0\0"));
    assert_eq!(peer.receive()[0], message::USERAUTH_FAILURE);
    peer.ask_login("tester", "right");
    let answer = peer.receive();
    assert_eq!(answer[0], message::USERAUTH_FAILURE);
    assert_eq!(Reader::new(&answer[1..]).text().unwrap(), "publickey");
}

#[test]
fn the_login_deadline_holds_for_silent_and_for_busy_clients() {
    let settings = Settings {
        login_deadline: Duration::from_millis(300),
        ..Settings::default()
    };
    for stage in [Peer::start as Stage, after_versions, Peer::keyed] {
        let peer = stage(settings.clone());
        assert_eq!(peer.ended().unwrap_err().kind(), ErrorKind::Timeout);
    }
    let mut peer = Peer::keyed(settings);
    loop {
        let packet = peer.packet(&[message::IGNORE, 0, 0, 0, 0], None);
        if peer.stream.write_all(&packet).is_err() {
            break;
        }
    }
    assert_eq!(peer.ended().unwrap_err().kind(), ErrorKind::Timeout);
}
