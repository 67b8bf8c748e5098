//! Memory: an idle server, an idle session, a session in the middle of a transfer.

use super::bulk::Login;
use super::{Body, Metric, PLAIN, Row, Sample};
use crate::client::Client;
use crate::servers::{Kind, Running, Setup};
use crate::{Result, isolate, measure, project};
use std::io::Write;
use std::time::Duration;

const SERVER: Metric = Metric::less("idle server", "KiB PSS");
const SESSION: Metric = Metric::less("a session", "KiB PSS");
const LEFT: Metric = Metric::less("after 32 sessions", "KiB PSS");

pub fn rows() -> Vec<Row> {
    vec![
        fresh("idle", "200 idle sessions", |server| {
            idle(server, Client::session)
        })
        .threads(256),
        Row::new(
            "idle",
            "small build, 32 threads",
            &[Kind::Wharf],
            Body::Program(Box::new(small)),
        )
        .threads(32),
        fresh("memory", "8 stalled RETR", |server| {
            stalled(server, |client, _| {
                let data = client.passive()?;
                client.send("RETR big-1024\r\n")?;
                client.preliminary("RETR")?;
                Ok(data)
            })
        }),
        fresh("memory", "8 STOR under way", |server| {
            stalled(server, |client, number| {
                let mut data = client.passive()?;
                client.send(&format!("STOR up/slow-{number}\r\n"))?;
                client.preliminary("STOR")?;
                data.write_all(&vec![b'x'; 4 << 20])?;
                Ok(data)
            })
        }),
    ]
}

/// A row whose server is started anew for each sample: threads and heap that an earlier sample has left behind
/// would make the next one look smaller.
pub fn fresh(
    group: &'static str,
    name: &str,
    measure: impl Fn(&Running) -> Result<Sample> + 'static,
) -> Row {
    let body = Body::Program(Box::new(move |kind, setup| {
        measure(&Running::start(kind, setup)?)
    }));
    Row::new(group, name, &PLAIN, body).without(Kind::Bare)
}

/// A router's server before its first session, and when each of its threads has had one.
fn small(kind: Kind, setup: &Setup) -> Result<Sample> {
    let setup = Setup {
        wharfd: project().join("target/small/release/wharfd"),
        ..setup.clone()
    };
    let server = Running::start(kind, &setup)?;
    let before = measure::pss(server.root());
    let clients = (0..setup.threads).map(|_| Client::session(server.port));
    for client in clients.collect::<Result<Vec<_>>>()? {
        client.quit()?;
    }
    std::thread::sleep(Duration::from_millis(1500));
    let left = measure::pss(server.root());
    server.cpu();
    Ok(vec![(SERVER, before), (LEFT, left)])
}

/// What 200 sessions that have logged in and answered once add to the server, each.
pub fn idle(server: &Running, login: Login) -> Result<Sample> {
    const SESSIONS: usize = 200;
    let before = measure::pss(server.root());
    let mut clients = (0..SESSIONS)
        .map(|_| login(server.port))
        .collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        client.command("PWD", 257)?;
    }
    // Idle is who has said nothing for a while.
    std::thread::sleep(Duration::from_millis(1500));
    let after = measure::pss(server.root());
    drop(clients);
    server.cpu();
    Ok(vec![
        (SERVER, before),
        (SESSION, (after - before) / SESSIONS as f64),
    ])
}

fn stalled(
    server: &Running,
    begin: impl Fn(&mut Client, usize) -> Result<std::net::TcpStream>,
) -> Result<Sample> {
    const SESSIONS: usize = 8;
    let before = measure::pss(server.root());
    let mut held = Vec::new();
    for number in 0..SESSIONS {
        let mut client = Client::session(server.port)?;
        let data = begin(&mut client, number)?;
        held.push((client, data));
    }
    std::thread::sleep(Duration::from_millis(200));
    let after = measure::pss(server.root());
    drop(held);
    server.cpu();
    for number in 0..SESSIONS {
        let _ = std::fs::remove_file(isolate::home().join(format!("up/slow-{number}")));
    }
    Ok(vec![(SESSION, (after - before) / SESSIONS as f64)])
}
