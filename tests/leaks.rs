//! Nothing is left behind: descriptors and threads after many sessions of
//! every kind. One test, because both are counted for the whole process.

mod common;

use std::time::Duration;

use common::client::{Data, connect_from};
use common::{Client, TempDir, server};

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}"))
        .unwrap()
        .count()
}

fn sessions_of_every_kind(server: &common::TestServer) {
    let mut client = server.ann();
    assert_eq!(client.store("STOR f", b"content").code, 226);
    assert_eq!(client.fetch("RETR f"), b"content");
    client.fetch("LIST -R");
    client.fetch("MLSD");
    client.expect("HASH f", 213);
    client.expect("SITE COPY f g", 250);
    // Ports that nobody uses, and one that a stranger uses.
    client.epsv();
    let port = client.epsv();
    let thief = connect_from([127, 0, 0, 2].into(), port).unwrap();
    client.expect("ABOR", 226);
    drop(thief);
    // Transfers that break off on either side.
    let mut data = client.data();
    client.expect("STOR half", 150);
    data.send(b"ha");
    client.send("ABOR");
    client.wait_for(426);
    client.wait_for(226);
    drop(data);
    let data = client.data();
    client.expect("STOR half", 150);
    data.reset();
    assert!(matches!(client.reply().code, 226 | 426));
    let listener = client.active("PORT");
    drop(listener);
    client.expect("RETR f", 425);
    // Ends of sessions.
    let mut killed = server.ann();
    let data: Data = killed.data();
    killed.expect("STOR killed", 150);
    drop(killed);
    drop(data);
    let mut refused = Client::connect(server.v4);
    refused.raw(b"GET / HTTP/1.1\r\n\r\n");
    drop(refused);
    client.expect("QUIT", 221);
}

#[test]
fn no_descriptor_and_no_thread_is_left() {
    let directory = TempDir::new("leaks");
    let (descriptors, threads) = (count("fd"), count("task"));
    for atomic in ["no", "yes"] {
        let server = server()
            .directory(directory.path())
            .set("atomic-uploads", atomic)
            .set("delete-broken-uploads", "yes")
            .start();
        sessions_of_every_kind(&server);
        server.until("quiet", |server| server.sessions() == 0);
        let idle = count("fd");
        for _ in 0..20 {
            sessions_of_every_kind(&server);
        }
        server.until("quiet", |server| server.sessions() == 0);
        // While it runs: sessions leave no descriptor.
        common::until("the descriptors of sessions", || count("fd") <= idle);
        assert!(server.stop(Duration::from_secs(5)));
    }
    common::until("the server's descriptors", || count("fd") <= descriptors);
    common::until("the server's threads", || count("task") <= threads);
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !matches!(name.as_str(), "f" | "g" | "half"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}
