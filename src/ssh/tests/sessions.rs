//! Several channels of a connection.

use super::channels::{END, to_the_end};
use super::peer::Peer;
use super::*;
use crate::ssh::wire::message;
use crate::ssh_data::Reader;

/// Ten at once, each for itself; the place of one is free as soon as the server
/// has closed it, whatever the client has still to say about it.
#[test]
fn channels_run_side_by_side() {
    let mut peer = Peer::logged_in(Settings::default());
    let numbers: Vec<u32> = (0..10).map(|_| peer.open_session()).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<u32>>());
    peer.open_channel("session", 1 << 20, 1 << 15);
    assert_eq!(peer.receive()[0], message::CHANNEL_OPEN_FAILURE);
    for number in &numbers {
        peer.request_on(*number, "subsystem", Some("sftp"));
        assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
    }
    for round in 0..3_u8 {
        for number in &numbers {
            peer.data_on(*number, &[round, *number as u8]);
        }
        for number in &numbers {
            assert_eq!(peer.receive()[9..], [round, *number as u8]);
        }
    }
    for number in [3, 7] {
        peer.send(&[message::CHANNEL_EOF, 0, 0, 0, number]);
        assert_eq!(to_the_end(&mut peer).1, END);
        // The client's CLOSE is still to come.
        assert_eq!(peer.open_session(), 10 + u32::from(number == 7));
    }
    peer.send(&[message::CHANNEL_CLOSE, 0, 0, 0, 3]);
    peer.send(&[message::CHANNEL_CLOSE, 0, 0, 0, 4]);
    assert_eq!(to_the_end(&mut peer).1, END[2..]);
    peer.data_on(9, b"alive");
    assert_eq!(&peer.receive()[9..], b"alive");
}

/// paramiko: `exec_command`, which is refused, then `open_sftp`.
#[test]
fn a_refused_command_leaves_its_place_at_once() {
    let settings = Settings {
        max_channels: 1,
        ..Settings::default()
    };
    let mut peer = Peer::logged_in(settings);
    let mut places = 0;
    loop {
        peer.open_channel("session", 1 << 20, 1 << 15);
        let answer = peer.receive();
        if answer[0] == message::CHANNEL_OPEN_FAILURE {
            break;
        }
        let number = Reader::new(&answer[5..]).u32().unwrap();
        assert_eq!(number, places);
        places += 1;
        peer.request_on(number, "exec", Some("hostname"));
        assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
        assert_eq!(peer.receive()[0], message::CHANNEL_EXTENDED_DATA);
        assert_eq!(to_the_end(&mut peer).1, END);
    }
    // What the client never closes is not kept without end.
    assert_eq!(places, 64);
    peer.channel_message(message::CHANNEL_CLOSE);
    let number = peer.open_session();
    peer.request_on(number, "subsystem", Some("sftp"));
    assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
}

/// One channel whose client takes no data does not hold up another.
#[test]
fn a_channel_that_is_stuck_holds_up_nobody() {
    let mut peer = Peer::logged_in(Settings::default());
    peer.open_channel("session", 0, 1 << 15);
    assert_eq!(peer.receive()[0], message::CHANNEL_OPEN_CONFIRMATION);
    let other = peer.open_session();
    for number in [0, other] {
        peer.request_on(number, "subsystem", Some("sftp"));
        assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
    }
    peer.data_on(0, b"waits");
    for _ in 0..3 {
        peer.data_on(other, b"goes on");
        assert_eq!(&peer.receive()[9..], b"goes on");
    }
    peer.adjust(5);
    assert_eq!(&peer.receive()[9..], b"waits");
}

/// One that has work whatever its client does leaves the others their turn, and
/// ends when its client closes it.
#[test]
fn a_channel_that_works_holds_up_nobody() {
    let mut peer = Peer::logged_in(Settings::default());
    let busy = peer.open_session();
    peer.request_on(busy, "exec", Some("work"));
    assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
    for _ in 0..3 {
        let other = peer.open_session();
        peer.request_on(other, "subsystem", Some("sftp"));
        assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
        peer.data_on(other, b"goes on");
        assert_eq!(&peer.receive()[9..], b"goes on");
    }
    peer.send(&[message::CHANNEL_CLOSE, 0, 0, 0, busy as u8]);
    assert_eq!(to_the_end(&mut peer).1, END[2..]);
}
