//! AUTH, PBSZ, PROT, CCC, REIN and FEAT: replies as RFC 4217 has them.

use crate::common::client::Data;
use crate::common::tls::{SecureClient, context, secure};
use crate::common::{Client, server};

#[test]
fn replies_are_those_of_rfc_4217() {
    let server = secure(server());
    let mut client = server.connect();
    for (line, code) in [
        ("PBSZ 0", 503),
        ("PROT P", 503),
        ("AUTH", 501),
        ("AUTH GSSAPI", 504),
        ("ADAT xyz", 503),
        ("CCC", 534),
        ("AUTH TLS", 234),
    ] {
        client.expect(line, code);
    }
    let mut client = SecureClient::take(client, context(|_| {}));
    for (line, code) in [
        ("AUTH TLS", 503),
        ("PROT P", 503),
        ("PBSZ", 501),
        ("PBSZ many", 501),
        ("PBSZ -1", 501),
        ("PBSZ 4294967296", 501),
        ("PBSZ 4294967295", 200),
        ("PBSZ 0", 200),
        ("PROT S", 536),
        ("PROT E", 536),
        ("PROT X", 504),
        ("PROT", 501),
        ("PROT P", 200),
        ("PROT C", 200),
        ("prot p", 200),
        ("CCC", 534),
    ] {
        client.expect(line, code);
    }
    // RFC 4217, section 8: TLS needs no buffer, and the server says so.
    assert!(client.expect("PBSZ 16384", 200).text().contains("PBSZ=0"));
}

#[test]
fn without_a_certificate_tls_is_not_offered() {
    let server = server().start();
    let mut client = server.connect();
    client.expect("AUTH TLS", 431);
    let features = client.expect("FEAT", 211).lines.join("\n");
    for word in ["AUTH", "PBSZ", "PROT", "CCC"] {
        assert!(!features.contains(word), "{features}");
    }
    // And the session goes on.
    client.login("ann", "secret");
}

#[test]
fn features_are_told_with_tls() {
    for (ccc, wanted) in [("no", false), ("yes", true)] {
        let server = secure(server().set("ccc", ccc));
        let features = server.connect().expect("FEAT", 211);
        for line in [" AUTH TLS", " PBSZ", " PROT"] {
            assert!(features.lines.iter().any(|found| found == line), "{line}");
        }
        assert_eq!(features.lines.iter().any(|line| line == " CCC"), wanted);
    }
}

#[test]
fn every_word_of_auth_opens_tls() {
    let server = secure(server());
    server.file("file", b"content");
    for (word, private) in [
        ("TLS", false),
        ("TLS-C", false),
        ("tls", false),
        ("SSL", true),
        ("TLS-P", true),
    ] {
        let mut client = server.connect();
        client.expect(&format!("AUTH {word}"), 234);
        let mut client = SecureClient::take(client, context(|_| {}));
        client.login("ann", "secret");
        client.keep_session();
        client.expect("TYPE I", 200);
        // What PROT is before anybody has said it.
        let content = if private {
            client.fetch_secure("RETR file").0
        } else {
            client.fetch("RETR file")
        };
        assert_eq!(content, b"content", "{word}");
    }
}

#[test]
fn data_goes_as_prot_says() {
    let server = secure(server());
    server.file("file", b"content");
    for mut client in [
        server.ready(),
        SecureClient::implicit(server.implicit).ready(),
    ] {
        assert_eq!(client.fetch_secure("RETR file").0, b"content");
        let listing = client.fetch_secure("NLST").0;
        assert!(listing.starts_with(b"file\r\n"));
        let (reply, _) = client.store_secure("STOR new", b"new content");
        assert_eq!(reply.code, 226);
        assert_eq!(server.content("new").unwrap(), b"new content");
        client.expect("PROT C", 200);
        assert_eq!(client.fetch("RETR file"), b"content");
        assert_eq!(client.store("STOR new", b"plain").code, 226);
        client.expect("PROT P", 200);
        assert_eq!(client.fetch_secure("RETR new").0, b"plain");
        // Active mode: the client is still the client of TLS.
        let listener = client.active("EPRT");
        client.send("RETR file");
        let data = Data::accept(&listener);
        let mut data = client.protect(data.0).unwrap();
        client.wait_for(150);
        assert_eq!(data.rest(), b"content");
        client.wait_for(226);
        client.expect("DELE new", 250);
    }
}

#[test]
fn implicit_tls_is_private_from_the_start() {
    let server = secure(server());
    server.file("file", b"content");
    let mut client = SecureClient::implicit(server.implicit);
    client.login("ann", "secret");
    client.expect("TYPE I", 200);
    // No PBSZ, no PROT: that is how implicit FTPS is spoken.
    assert_eq!(client.fetch_secure("RETR file").0, b"content");
    client.expect("AUTH TLS", 503);
    client.expect("QUIT", 221);
    client.closed();
}

#[test]
fn rein_keeps_the_channel_and_its_protection() {
    let server = secure(server());
    server.file("file", b"content");
    let mut client = server.ready();
    client.expect("REIN", 220);
    client.expect("PWD", 530);
    client.expect("AUTH TLS", 503);
    client.login("ann", "secret");
    client.expect("TYPE I", 200);
    // Falling back to the clear would betray what the client protects.
    assert_eq!(client.fetch_secure("RETR file").0, b"content");
}

#[test]
fn auth_ends_a_login_made_in_the_clear() {
    let server = secure(server());
    let mut client = server.ann();
    client.expect("AUTH TLS", 234);
    let mut client = SecureClient::take(client, context(|_| {}));
    client.expect("PWD", 530);
}

#[test]
fn ccc_goes_back_to_the_clear() {
    let server = secure(server().set("ccc", "yes"));
    server.file("file", b"content");
    server.connect().expect("CCC", 533);
    let mut client = server.ready();
    client.expect("CCC", 200);
    let (context, session) = (client.context.clone(), client.session.take());
    let mut client = client.leave();
    client.expect("PWD", 257);
    // Data stays protected, and still resumes.
    let data = client.data();
    client.send("RETR file");
    let data = crate::common::tls::handshake(&context, data.0, session.as_ref());
    let mut data = crate::common::tls::SecureData(data.unwrap());
    client.wait_for(150);
    assert!(data.resumed());
    assert_eq!(data.rest(), b"content");
    client.wait_for(226);
    client.expect("PROT C", 200);
    assert_eq!(client.fetch("RETR file"), b"content");
    // And TLS can be had again.
    client.expect("AUTH TLS", 234);
    let mut client = SecureClient::take(client, context);
    client.expect("PROT P", 503);
    client.expect("PWD", 530);
}

#[test]
fn prot_c_after_an_early_handshake_means_clear() {
    let server = secure(server());
    server.file("file", b"content");
    let mut client = server.ready();
    let data = client.data();
    let early = client.protect(data.0).unwrap();
    client.expect("PROT C", 200);
    // That connection has begun TLS and can't go back: it is gone.
    client.expect("RETR file", 425);
    drop(early);
    assert_eq!(client.fetch("RETR file"), b"content");
}

#[test]
fn what_comes_with_auth_is_never_a_command() {
    // CVE-2011-0411: somebody on the path puts commands behind AUTH; after
    // the handshake they would be the client's.
    let server = secure(server());
    for injected in ["USER ann\r\n", "NOOP\r\nUSER ann\r\nPASS secret\r\n", "US"] {
        let mut client = server.connect();
        client.raw(format!("AUTH TLS\r\n{injected}").as_bytes());
        client.wait_for(234);
        let mut client = SecureClient::take(client, context(|_| {}));
        // The first reply is that of the first command under TLS.
        client.expect("PASS secret", 503);
        client.expect("SYST", 215);
        client.expect("PWD", 530);
    }
}

#[test]
fn what_comes_with_auth_ends_the_handshake_if_it_comes_late() {
    // The same, but behind the 234: the handshake itself finds plain text.
    let server = secure(server());
    let mut client = server.connect();
    client.expect("AUTH TLS", 234);
    client.raw(b"USER ann\r\n");
    client.closed();
    server.ready().expect("PWD", 257);
}

#[test]
fn abor_and_stat_work_under_tls() {
    let server = secure(server());
    let mut client = server.ready();
    client.expect("ABOR", 225);
    let status = client.expect("STAT", 211);
    assert!(status.lines.iter().any(|line| line.contains("ann")));
    let _ = Client::greeted(server.v6);
}
