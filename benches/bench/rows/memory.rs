//! Memory: an idle server, an idle session, a session in the middle of a transfer.

use super::bulk::Login;
use super::{Body, Metric, PLAIN, Row, Sample};
use crate::client::Client;
use crate::servers::{Kind, Running, Setup};
use crate::{Result, isolate, measure, project};
use std::io::Write;
use std::time::Duration;

const SERVER: Metric = Metric::less("idle server", "KiB PSS");
const ONE: Metric = Metric::less("with one session", "KiB PSS");
const SESSION: Metric = Metric::less("a further session", "KiB PSS");
// What no file stands behind: the kernel can't take it back when others need memory.
const SERVER_OWN: Metric = Metric::less("idle server, its own", "KiB anonymous");
const SESSION_OWN: Metric = Metric::less("a further session, its own", "KiB anonymous");
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
    let before = vec![
        (SERVER, measure::pss(server.root())),
        (SERVER_OWN, measure::pss_anonymous(server.root())),
    ];
    // Idle is who has said nothing for a while.
    let pause = Duration::from_millis(1500);
    let sample = grown(server, 200, pause, |_| {
        let mut client = login(server.port)?;
        client.command("PWD", 257)?;
        Ok(client)
    })?;
    Ok([before, sample].concat())
}

/// PSS with one session that `open` makes, and what each of `more` adds to that: the first one also has the
/// program's code mapped, which is everybody's.
pub fn grown<T>(
    server: &Running,
    more: usize,
    pause: Duration,
    open: impl Fn(usize) -> Result<T>,
) -> Result<Sample> {
    let held = |numbers: std::ops::Range<usize>| -> Result<(Vec<T>, [f64; 2])> {
        let sessions = numbers.map(&open).collect::<Result<_>>()?;
        std::thread::sleep(pause);
        let root = server.root();
        Ok((sessions, [measure::pss(root), measure::pss_anonymous(root)]))
    };
    let (first, one) = held(0..1)?;
    let (others, all) = held(1..1 + more)?;
    drop((first, others));
    server.cpu();
    let [each, each_own] = [0, 1].map(|kind| (all[kind] - one[kind]) / more as f64);
    Ok(vec![
        (ONE, one[0]),
        (SESSION, each),
        (SESSION_OWN, each_own),
    ])
}

fn stalled(
    server: &Running,
    begin: impl Fn(&mut Client, usize) -> Result<std::net::TcpStream>,
) -> Result<Sample> {
    const MORE: usize = 8;
    let sample = grown(server, MORE, Duration::from_millis(200), |number| {
        let mut client = Client::session(server.port)?;
        let data = begin(&mut client, number)?;
        Ok((client, data))
    });
    for number in 0..=MORE {
        let _ = std::fs::remove_file(isolate::home().join(format!("up/slow-{number}")));
    }
    sample
}
