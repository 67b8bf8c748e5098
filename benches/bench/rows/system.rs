//! Users of the system: what it costs that a process of theirs opens their files. The other rows of wharfd have users
//! of the users file, whose files the server opens itself; the peers have users of the system in all rows.

use super::memory::{fresh, grown};
use super::{Metric, Row, bulk, control, small};
use crate::client::Client;
use crate::isolate;
use std::time::{Duration, Instant};

const FIRST: Metric = Metric::less("first login of each", "ms");

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::plain("system", "system user, RETR 10,000 x 4 KiB", |server| {
            small::retrieve(server, Client::session, 10_000)
        }),
        Row::plain("system", "system user, STOR 10,000 x 4 KiB", |server| {
            small::store(server, Client::session, 10_000)
        }),
        Row::plain("system", "system user, RETR 1024 MiB x 1", |server| {
            bulk::retrieve(server, Client::session, 1, 1024)
        })
        .one_core(),
        Row::plain("system", "system user, STOR 1024 MiB x 1", |server| {
            bulk::store(server, Client::session, 1, 1024)
        })
        .one_core()
        .upload(),
        Row::plain("system", "system user, logins ($6$)", |server| {
            control::logins(server, isolate::USER, isolate::PASSWORD)
        }),
        fresh("system", "20 system users", |server| {
            let pause = Duration::from_millis(1500);
            let waited = std::cell::Cell::new(Duration::ZERO);
            let mut sample = grown(server, 20, pause, |number| {
                let mut client = Client::connect(server.port)?;
                let began = Instant::now();
                let name = format!("{}{}", isolate::USER, number + 1);
                client.login(&name, isolate::PASSWORD)?;
                waited.set(waited.get() + began.elapsed());
                client.command("PWD", 257)?;
                Ok(client)
            })?;
            sample.push((FIRST, waited.get().as_secs_f64() * 1e3 / 21.0));
            Ok(sample)
        }),
    ];
    for row in &mut rows {
        row.system = true;
    }
    rows
}
