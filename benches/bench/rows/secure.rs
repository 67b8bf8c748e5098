//! The rows under TLS: AUTH TLS and PROT P, one version and one cipher for all of a row.

use super::Row;

#[cfg(not(feature = "ftps"))]
pub fn rows() -> Vec<Row> {
    Vec::new()
}

#[cfg(feature = "ftps")]
pub fn rows() -> Vec<Row> {
    use super::bulk::Login;
    use super::{Metric, bulk, memory, small};
    use crate::client::Client;
    use crate::tls::Manner;

    const RESUMED: Metric = Metric::more("resumed", "of 100");
    const FILES: usize = 1000;
    let login = |port| Client::secure_session(port, Manner::Tls12);
    let mut rows = Vec::new();
    for (sessions, size) in [(1, 1024), (4, 512)] {
        rows.push(Row::plain(
            "tls",
            format!("RETR {size} MiB x {sessions} PROT P"),
            move |server| bulk::retrieve(server, login, sessions, size),
        ));
        rows.push(
            Row::plain(
                "tls",
                format!("STOR {size} MiB x {sessions} PROT P"),
                move |server| bulk::store(server, login, sessions, size),
            )
            .upload(),
        );
    }
    let manners: [(&str, Login); 4] = [
        ("", login),
        (", TLS 1.3", |port| {
            Client::secure_session(port, Manner::Tls13)
        }),
        (", Nagle", |port| {
            Client::secure_session(port, Manner::Tls12Nagle)
        }),
        (", TLS 1.3, Nagle", |port| {
            Client::secure_session(port, Manner::Tls13Nagle)
        }),
    ];
    for (manner, login) in manners {
        // A client that only reads has nothing that could wait.
        if !manner.ends_with("Nagle") {
            rows.push(Row::plain(
                "tls",
                format!("RETR 1,000 x 4 KiB PROT P{manner}"),
                move |server| {
                    let mut sample = small::retrieve(server, login, FILES)?;
                    let mut client = login(server.port)?;
                    for number in 0..100 {
                        client.fetch(&format!("RETR small/{number:05}"))?;
                    }
                    sample.push((RESUMED, client.resumed() as f64));
                    Ok(sample)
                },
            ));
        }
        rows.push(Row::plain(
            "tls",
            format!("STOR 1,000 x 4 KiB PROT P{manner}"),
            move |server| small::store(server, login, FILES),
        ));
    }
    let idle = memory::fresh("tls", "200 idle TLS sessions", move |server| {
        memory::idle(server, login)
    });
    rows.push(idle.threads(256));
    for row in &mut rows {
        row.tls = true;
    }
    rows
}
