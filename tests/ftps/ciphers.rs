//! The order of ciphers is the server's, by what the processor is good at;
//! only clients that have no AES instructions are given their way.
#![cfg(all(feature = "tls13", target_arch = "x86_64"))]

use openssl::ssl::SslVersion;

use crate::common::server;
use crate::common::tls::{SecureClient, context, secure};

#[test]
fn aes_comes_first_where_the_processor_has_it() {
    let server = secure(server());
    let aes = std::arch::is_x86_feature_detected!("aes");
    let best = if aes { "AES128" } else { "CHACHA20" };
    let middle = "ECDHE+AES256+AESGCM:ECDHE+CHACHA20:ECDHE+AES128+AESGCM";
    let middle_13 = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
    // That of a phone without AES instructions.
    let chacha = "ECDHE+CHACHA20:ECDHE+AES128+AESGCM";
    let chacha_13 = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
    for (version, order, want) in [
        (SslVersion::TLS1_2, middle, best),
        (SslVersion::TLS1_3, middle_13, best),
        (SslVersion::TLS1_2, chacha, "CHACHA20"),
        (SslVersion::TLS1_3, chacha_13, "CHACHA20"),
    ] {
        let context = context(|builder| {
            builder.set_max_proto_version(Some(version)).unwrap();
            match version {
                SslVersion::TLS1_3 => builder.set_ciphersuites(order).unwrap(),
                _ => builder.set_cipher_list(order).unwrap(),
            }
        });
        let client = SecureClient::explicit_with(server.v4, context);
        let cipher = client.stream.ssl().current_cipher().unwrap().name();
        let short = cipher.replace("AES_", "AES");
        assert!(short.contains(want), "{cipher} for {order}");
    }
}
