//! Quotas of a user: no way to use more, and none counted that is not used.

use crate::common;

use common::server;

#[test]
fn attack_23_no_way_leads_past_a_quota() {
    for atomic in ["no", "yes"] {
        let running = server()
            .user("ann", "secret", "elradfmwMT")
            .limits(|limits| {
                limits.quota_bytes = Some(1000);
                limits.quota_files = Some(3);
            })
            .set("atomic-uploads", atomic)
            .start();
        let mut client = running.login("ann", "secret");
        let mut other = running.login("ann", "secret");
        client.expect("TYPE I", 200);
        other.expect("TYPE I", 200);
        let quota = |client: &mut common::Client, text: &str| {
            let reply = client.expect("SITE QUOTA", 200);
            assert_eq!(reply.text(), text, "atomic-uploads {atomic}");
        };
        quota(&mut client, "0 bytes of 1000, 0 files of 3.");
        assert_eq!(client.store("STOR a", &[1; 600]).code, 226);
        // Both sessions count together.
        quota(&mut other, "600 bytes of 1000, 1 files of 3.");
        assert_eq!(other.store("APPE a", &[1; 300]).code, 226);
        client.expect("REST 800", 350);
        assert_eq!(client.store("STOR a", &[1; 200]).code, 226);
        quota(&mut client, "1000 bytes of 1000, 1 files of 3.");
        assert_eq!(client.store("APPE a", &[1; 1]).code, 552);
        client.expect("DELE a", 250);
        quota(&mut client, "0 bytes of 1000, 0 files of 3.");
        for name in ["a", "b", "c"] {
            assert_eq!(client.store(&format!("STOR {name}"), &[1; 10]).code, 226);
        }
        client.data();
        client.expect("STOR d", 552);
        client.expect("RNFR a", 350);
        client.expect("RNTO b", 250);
        quota(&mut client, "20 bytes of 1000, 2 files of 3.");
        // What is too much at once leaves nothing that is not counted.
        let code = client.store("STOR a", &vec![1; 100_000]).code;
        assert!(code == 552 || code == 426, "{code}");
        client.cmd("DELE a");
        quota(&mut client, "20 bytes of 1000, 2 files of 3.");
    }
}

#[test]
fn without_a_quota_none_is_shown() {
    let running = server().start();
    let mut client = running.login("ann", "secret");
    assert_eq!(
        client.expect("SITE QUOTA", 200).text(),
        "There is no quota."
    );
}
