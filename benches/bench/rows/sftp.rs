//! SFTP: the subsystem on a pipe beside OpenSSH's sftp-server, the server beside sshd with internal-sftp.

use super::{Better, Body, Metric, Row, Sample};
use crate::servers::{self, Kind, Running, Setup};
use crate::sftp::Sftp;
use crate::{Result, isolate, measure};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const THROUGHPUT: Metric = Metric::more("throughput", "MiB/s");
const CPU: Metric = Metric::less("CPU", "s/GiB");
const RATE: Metric = Metric::more("rate", "files/s");
const FILE_CPU: Metric = Metric::less("CPU", "us/file");
const LOGINS: Metric = Metric::more("rate", "logins/s");
const LOGIN_CPU: Metric = Metric::less("CPU", "us/login");
const SESSION: Metric = Metric {
    name: "a session",
    unit: "KiB PSS",
    better: Better::Less,
};

const FILES: usize = 10_000;
const GIB: u64 = 1 << 30;

/// What a row does with a session.
#[derive(Clone, Copy)]
enum Work {
    Get,
    Put,
    GetSmall,
    PutSmall,
}

const ALL: [(Work, &str); 4] = [
    (Work::Get, "get 1 GiB"),
    (Work::Put, "put 1 GiB"),
    (Work::GetSmall, "get 10,000 x 4 KiB"),
    (Work::PutSmall, "put 10,000 x 4 KiB"),
];

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (work, name) in ALL {
        let body = Body::Program(Box::new(move |kind, setup| subsystem(kind, setup, work)));
        rows.push(row(format!("subsystem {name}"), body));
    }
    for (work, name) in ALL {
        let body = Body::Server(Box::new(move |server| over_ssh(server, work)));
        rows.push(row(format!("ssh {name}"), body));
    }
    rows.push(row(
        "ssh logins, ed25519".into(),
        Body::Server(Box::new(logins)),
    ));
    rows.push(row(
        "20 idle SFTP sessions".into(),
        Body::Program(Box::new(|kind, setup| idle(&Running::start(kind, setup)?))),
    ));
    rows
}

fn row(name: String, body: Body) -> Row {
    // One small file after the other is a conversation in lock step.
    let one_core = name.contains("4 KiB");
    let mut row = Row::new("sftp", name, &[Kind::Wharf, Kind::Sshd], body);
    (row.sftp, row.one_core) = (true, one_core);
    if row.name.contains("put 1 GiB") {
        row.upload()
    } else {
        row
    }
}

fn place(name: &str) -> String {
    format!("{}/{name}", isolate::PLACE)
}

/// Host key, user key and authorized keys of the run.
pub fn prepare() -> Result<()> {
    for name in ["host-key", "user-key"] {
        if PathBuf::from(place(name)).exists() {
            continue;
        }
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &place(name)])
            .status()?;
        if !status.success() {
            return Err("ssh-keygen failed".into());
        }
    }
    std::fs::copy(place("user-key.pub"), place("authorized-keys"))?;
    Ok(())
}

fn subsystem(kind: Kind, setup: &Setup, work: Work) -> Result<Sample> {
    let (program, arguments) = match kind {
        Kind::Wharf => (setup.wharfd.clone(), vec!["--sftp-server".to_owned()]),
        _ => (
            setup.packages.file("usr/lib/openssh/sftp-server"),
            Vec::new(),
        ),
    };
    let mut command = servers::reaped(kind, setup, &program, &arguments)?;
    let mut session = Sftp::start(command.current_dir(isolate::home()))?;
    let root = session.pid();
    let before = measure::cpu(root);
    let (amount, elapsed) = perform(&mut session, work)?;
    let spent = (measure::cpu(root) - before).as_secs_f64();
    Ok(sample(work, amount, elapsed, spent))
}

fn over_ssh(server: &Running, work: Work) -> Result<Sample> {
    let mut session = Sftp::start(&mut ssh(server))?;
    let before = measure::cpu(server.root());
    let (amount, elapsed) = perform(&mut session, work)?;
    let spent = (measure::cpu(server.root()) - before).as_secs_f64();
    Ok(sample(work, amount, elapsed, spent))
}

fn sample(work: Work, amount: f64, elapsed: f64, spent: f64) -> Sample {
    match work {
        Work::Get | Work::Put => vec![
            (THROUGHPUT, amount / elapsed),
            (CPU, spent / (amount / 1024.0)),
        ],
        Work::GetSmall | Work::PutSmall => {
            vec![(RATE, amount / elapsed), (FILE_CPU, spent * 1e6 / amount)]
        }
    }
}

/// MiB or files moved, and seconds.
fn perform(session: &mut Sftp, work: Work) -> Result<(f64, f64)> {
    // Relative names: sshd starts in the home that is the root of wharfd's jail.
    let uploads = isolate::home().join("up");
    let start = Instant::now();
    let amount = match work {
        Work::Get => {
            session.get("big-1024", GIB)?;
            1024.0
        }
        Work::Put => {
            session.put("up/big", GIB)?;
            1024.0
        }
        Work::GetSmall => {
            for number in 0..FILES {
                session.get(&format!("small/{number:05}"), 4096)?;
            }
            FILES as f64
        }
        Work::PutSmall => {
            for number in 0..FILES {
                session.put(&format!("up/{number:05}"), 4096)?;
            }
            FILES as f64
        }
    };
    let elapsed = start.elapsed().as_secs_f64();
    match work {
        Work::Put => std::fs::remove_file(uploads.join("big"))?,
        Work::PutSmall => {
            for number in 0..FILES {
                std::fs::remove_file(uploads.join(format!("{number:05}")))?;
            }
        }
        Work::Get | Work::GetSmall => {}
    }
    Ok((amount, elapsed))
}

/// OpenSSH's client, with the cipher and key exchange that both servers have.
fn ssh(server: &Running) -> Command {
    let mut command = Command::new("ssh");
    command.args([
        "-F",
        "none",
        "-i",
        &place("user-key"),
        "-p",
        &server.port.to_string(),
    ]);
    for option in [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        "LogLevel=ERROR",
        "KexAlgorithms=curve25519-sha256",
        "Ciphers=aes128-gcm@openssh.com",
    ] {
        command.args(["-o", option]);
    }
    command
        .arg(format!("{}@127.0.0.1", isolate::USER))
        .args(["-s", "sftp"]);
    command
}

/// Two clients log in with a key, exchange versions and leave, for three seconds.
fn logins(server: &Running) -> Result<Sample> {
    let before = server.cpu();
    let start = Instant::now();
    let until = start + Duration::from_secs(3);
    let counts: Vec<std::result::Result<usize, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while Instant::now() < until {
                        Sftp::start(&mut ssh(server)).map_err(|error| error.to_string())?;
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("a client thread failed".into()))
            })
            .collect()
    });
    let elapsed = start.elapsed().as_secs_f64();
    let count = counts
        .into_iter()
        .sum::<std::result::Result<usize, String>>()?;
    let spent = server.cpu() - before;
    Ok(vec![
        (LOGINS, count as f64 / elapsed),
        (LOGIN_CPU, spent * 1e6 / count as f64),
    ])
}

fn idle(server: &Running) -> Result<Sample> {
    const SESSIONS: usize = 20;
    let before = measure::pss_anonymous(server.root());
    let sessions = (0..SESSIONS)
        .map(|_| Sftp::start(&mut ssh(server)))
        .collect::<Result<Vec<_>>>()?;
    let after = measure::pss_anonymous(server.root());
    drop(sessions);
    server.cpu();
    Ok(vec![(SESSION, (after - before) / SESSIONS as f64)])
}
