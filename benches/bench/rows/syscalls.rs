//! System calls of one small passive RETR, counted by strace.

use super::{Metric, Row, Sample};
use crate::client::Client;
use crate::servers::Running;
use crate::{Result, isolate, measure};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const CALLS: Metric = Metric::less("system calls", "calls/file");
const FILES: usize = 200;

pub fn rows() -> Vec<Row> {
    vec![
        Row::plain("syscalls", "RETR 4 KiB", |server| {
            count(server, "RETR", |client, number| {
                client.fetch(&format!("RETR small/{number:05}")).map(drop)
            })
        }),
        Row::plain("syscalls", "STOR 4 KiB", |server| {
            let source = crate::client::Source::new(4096)?;
            let sample = count(server, "STOR", |client, _| {
                client.store("STOR up/strace", &source, 4096)
            });
            // The next server may run as another user.
            let _ = std::fs::remove_file(isolate::home().join("up/strace"));
            sample
        }),
    ]
}

fn count(
    server: &Running,
    verb: &str,
    one: impl Fn(&mut Client, usize) -> Result<()>,
) -> Result<Sample> {
    let mut client = Client::session(server.port)?;
    one(&mut client, 0)?;
    let summary = format!(
        "{}/strace-{}-{verb}",
        isolate::PLACE,
        server.kind.name().replace(' ', "-")
    );
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-U", "calls,name", "-o", &summary]);
    let processes = measure::tree(server.root());
    for pid in &processes[1..] {
        command.args(["-p", &pid.to_string()]);
    }
    let mut strace = command
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    let errors = strace.stderr.take().ok_or("no standard error")?;
    let mut attached = 0;
    let mut lines = BufReader::new(errors).lines();
    while attached < processes.len() - 1 {
        match lines.next() {
            Some(line) => attached += usize::from(line?.contains(" attached")),
            None => return Err("strace could not attach".into()),
        }
    }
    for number in 0..FILES {
        one(&mut client, number)?;
    }
    let pid = rustix::process::Pid::from_child(&strace);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    strace.wait()?;
    let calls = total(Path::new(&summary))?;
    if let Ok(directory) = std::env::var("STRACE_KEEP") {
        std::fs::copy(
            &summary,
            Path::new(&directory).join(Path::new(&summary).file_name().unwrap_or_default()),
        )?;
    }
    Ok(vec![(CALLS, calls / FILES as f64)])
}

/// The last line of a summary: `12345 total`.
fn total(path: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(path)?;
    let line = text
        .lines()
        .find(|line| line.ends_with(" total"))
        .ok_or("strace wrote no total")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}
