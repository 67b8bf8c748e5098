//! `tls-required`: what plain text is still good for.

use crate::common::tls::{SecureClient, context, secure};
use crate::common::{Client, server};

/// Whether USER is refused in the clear, and RETR with PROT C.
fn refusals(level: &str) -> (bool, bool) {
    match level {
        "no" => (false, false),
        "login" => (true, false),
        _ => (true, true),
    }
}

fn login(client: &mut Client<impl std::io::Read + std::io::Write>, name: &str) {
    client.login(name, "secret");
    client.expect("TYPE I", 200);
}

#[test]
fn each_level_holds_for_its_own_kind_of_user() {
    for named in ["no", "login", "data"] {
        for anonymous in ["no", "login", "data"] {
            let server = secure(
                server()
                    .set("tls-required", named)
                    .set("tls-required-anonymous", anonymous),
            );
            server.file("file", b"content");
            for (name, level) in [("ann", named), ("anonymous", anonymous), ("FTP", anonymous)] {
                let (login_refused, clear_refused) = refusals(level);
                let what = format!("{name} with {named}/{anonymous}");
                let mut client = server.connect();
                if login_refused {
                    client.expect(&format!("USER {name}"), 530);
                    // No password was asked for, none is taken.
                    client.expect("PASS secret", 503);
                } else {
                    login(&mut client, name);
                    assert_eq!(client.fetch("RETR file"), b"content", "{what}");
                }
                let mut client = server.explicit();
                login(&mut client, name);
                client.keep_session();
                client.expect("PBSZ 0", 200);
                if clear_refused {
                    for line in ["RETR file", "LIST", "NLST", "MLSD", "STOR x", "APPE x"] {
                        client.expect(line, 521);
                    }
                    client.expect("PROT C", 534);
                } else {
                    assert_eq!(client.fetch("RETR file"), b"content", "{what}");
                    client.expect("PROT C", 200);
                }
                client.expect("PROT P", 200);
                assert_eq!(client.fetch_secure("RETR file").0, b"content", "{what}");
            }
        }
    }
}

/// The names of guests say nothing where none are served.
#[test]
fn a_user_called_ftp_needs_tls_like_others() {
    let settings = server().without_guests().user("ftp", "secret", "elr");
    let server = secure(settings.set("tls-required", "login"));
    for name in ["ftp", "FTP", "anonymous"] {
        server.connect().expect(&format!("USER {name}"), 530);
    }
    login(&mut server.explicit(), "ftp");
}

#[test]
fn prot_c_before_the_login_does_not_last_into_it() {
    // Who will log in is not known yet; what PROT C said then is checked when
    // data moves.
    let server = secure(server().set("tls-required", "data"));
    server.file("file", b"content");
    let mut client = server.explicit();
    client.expect("PBSZ 0", 200);
    let _ = client.cmd("PROT C");
    client.login("ann", "secret");
    client.expect("RETR file", 521);
}

#[test]
fn no_password_goes_in_the_clear_after_ccc() {
    let server = secure(server().set("ccc", "yes").set("tls-required", "login"));
    let mut client = server.ready();
    client.expect("CCC", 200);
    let mut client = client.leave();
    client.expect("PWD", 257);
    client.expect("USER ann", 530);
    client.expect("AUTH TLS", 234);
    let mut client = SecureClient::take(client, context(|_| {}));
    client.login("ann", "secret");
}
