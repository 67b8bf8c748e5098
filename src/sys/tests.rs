use super::*;

#[test]
fn what_is_on_the_stack_stays_when_the_rest_is_released() {
    #[inline(never)]
    fn deep(level: usize) -> usize {
        let filled = std::hint::black_box([level as u8; 3000]);
        release_stack();
        let below = match level {
            0 => 0,
            level => deep(level - 1),
        };
        release_stack();
        assert!(filled.iter().all(|byte| *byte == level as u8));
        below + 1
    }
    let thread = std::thread::Builder::new().stack_size(512 * 1024);
    let depth = thread.spawn(|| deep(60)).unwrap().join().unwrap();
    assert_eq!(depth, 61);
}

#[test]
fn a_round_trip_on_one_machine_is_short_and_a_pipe_has_none() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(round_trip(&client).is_none_or(|time| time.as_secs() < 10));
    let (one, _two) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(round_trip(&one), None);
}

/// What bind(2) does not reserve, connect(2) can share between destinations.
#[test]
fn binding_an_address_reserves_no_port() {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let address: std::net::SocketAddr = address.parse().unwrap();
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket(family, SocketType::STREAM, None).unwrap();
        bind_address_without_port(&socket).unwrap();
        bind(&socket, &address).unwrap();
        let bound: std::net::SocketAddr = getsockname(&socket).unwrap().try_into().unwrap();
        assert_eq!(bound, address);
    }
}

#[test]
fn what_the_peer_has_not_taken_is_known() {
    let (one, mut two) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(unacknowledged(&one), Some(0));
    std::io::Write::write_all(&mut &one, b"some").unwrap();
    assert!(unacknowledged(&one).unwrap() >= 4);
    std::io::Read::read_exact(&mut two, &mut [0; 4]).unwrap();
    assert_eq!(unacknowledged(&one), Some(0));
}
