//! Start-up in inetd mode: from exec to the client's 220.

use super::{Body, Metric, PLAIN, Row, Sample};
use crate::servers::{self, Kind, Setup};
use crate::{Result, measure};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TIME: Metric = Metric::less("exec to 220", "us");

pub fn rows() -> Vec<Row> {
    let body = Body::Program(Box::new(start));
    let row = Row::new("start", "inetd start-up", &PLAIN, body);
    vec![row.threads(1).without(Kind::Bare)]
}

fn start(kind: Kind, setup: &Setup) -> Result<Sample> {
    let (program, arguments) = servers::command_line(kind, setup, 0, true)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut times = Vec::new();
    for _ in 0..40 {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        client.set_read_timeout(Some(Duration::from_secs(10)))?;
        let (server, _) = listener.accept()?;
        let input = OwnedFd::from(server.try_clone()?);
        let output = OwnedFd::from(server);
        let begin = Instant::now();
        let mut child = Command::new(&program)
            .args(&arguments)
            .env("LD_LIBRARY_PATH", setup.packages.library_path())
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .stderr(Stdio::null())
            .spawn()?;
        let mut greeting = [0; 512];
        let count = client.read(&mut greeting)?;
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        drop(client);
        child.kill()?;
        child.wait()?;
        if !greeting[..count].starts_with(b"220") {
            return Err(format!(
                "greeted with {}",
                String::from_utf8_lossy(&greeting[..count]).trim_end()
            )
            .into());
        }
    }
    Ok(vec![(TIME, measure::median(&times))])
}
