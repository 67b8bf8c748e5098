//! The sessions of a connection, all on one thread: each subsystem does what it
//! can without waiting for the client, and all wait together.

use std::cell::RefCell;

use super::channel::Connection;
use super::channel_io::SubsystemStream;
use super::fault::Fault;
use super::transport::Transport;
use super::{Handler, Progress, Subsystem};

/// Serves channels until the client leaves.
pub(super) fn run(transport: &mut Transport<'_>, handler: &dyn Handler) -> Result<(), Fault> {
    let connection = RefCell::new(Connection {
        transport,
        channels: Vec::new(),
        fresh: None,
        fault: None,
    });
    let mut running: Vec<(u32, Box<dyn Subsystem + '_>)> = Vec::new();
    loop {
        if running.iter().any(|(_, subsystem)| subsystem.has_work()) {
            connection.borrow_mut().look()?;
        } else {
            connection.borrow_mut().pump()?;
        }
        loop {
            let granted = connection.borrow_mut().start_granted();
            let Some((number, command)) = granted else {
                break;
            };
            let stream = Box::new(SubsystemStream::new(&connection, number));
            let begun = match command {
                Some(line) => handler.command(&line, stream),
                None => Ok(handler.sftp(stream)),
            };
            match begun {
                Ok(subsystem) => running.push((number, subsystem)),
                Err(text) => connection.borrow_mut().refuse(number, text)?,
            }
        }
        // Round after round, so that one busy channel does not keep others
        // from their turn.
        let mut stepped = true;
        while stepped {
            stepped = false;
            let mut at = 0;
            while at < running.len() {
                let (number, subsystem) = &mut running[at];
                let was_stalled = subsystem.is_stalled();
                let goes_on = was_stalled || subsystem.has_work();
                if !goes_on && !connection.borrow_mut().is_ready(*number) {
                    at += 1;
                    continue;
                }
                let progress = if goes_on && connection.borrow().is_closed(*number) {
                    Progress::Ended(1)
                } else {
                    subsystem.step()
                };
                stepped |= !(was_stalled && subsystem.is_stalled() || subsystem.has_work());
                let mut connection = connection.borrow_mut();
                if let Some(fault) = connection.fault.take() {
                    return Err(fault);
                }
                match progress {
                    Progress::Waiting => at += 1,
                    Progress::Ended(status) => {
                        connection.end(*number, status)?;
                        drop(connection);
                        running.remove(at);
                    }
                }
            }
        }
        let busy = running.iter().any(|(_, subsystem)| subsystem.is_busy());
        let transport = &mut connection.borrow_mut().transport;
        transport.set_activity(!running.is_empty(), busy);
    }
}
