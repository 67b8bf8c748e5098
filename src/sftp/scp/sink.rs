//! `scp -t`: the client sends files and directories.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::handles::Counted;
use super::command::Command;
use super::{Io, Next};
use crate::error::{Error, ErrorKind, Result};
use crate::session::{Put, Readable, Transfer};
use crate::storage::{Attributes, Follow, VirtualPath};
use crate::text::Escaped;

/// Directories within each other: for each one, what it shall have is kept.
const DEEPEST: usize = 1024;

/// Times and a mode that a file or directory shall have.
#[derive(Clone, Copy, Default)]
struct Kept {
    /// Modified and accessed.
    times: Option<(SystemTime, SystemTime)>,
    mode: Option<u32>,
}

/// The file that is being received.
struct Receiving {
    /// `None` once something went wrong: the rest is read and thrown away.
    transfer: Option<Transfer>,
    _counted: Counted,
    error: Option<Error>,
    name: Vec<u8>,
    kept: Kept,
    offset: u64,
    left: u64,
}

pub(super) struct Sink {
    /// What the command line names; `None` where nothing can be received.
    target: Option<VirtualPath>,
    /// Whether the target is a directory.
    into: bool,
    /// Whether the target can only be a directory's.
    slash: bool,
    /// The directory at hand, and what each one above shall have in the end.
    directory: VirtualPath,
    above: Vec<Kept>,
    /// Of the next file or directory.
    times: Option<(SystemTime, SystemTime)>,
    file: Option<Receiving>,
}

impl Sink {
    pub(super) fn new(command: &Command, io: &mut Io<'_>) -> Sink {
        let name = &command.operands[0].bytes;
        let mut sink = Sink {
            target: None,
            into: false,
            slash: name.ends_with(b"/") || name.ends_with(b"/."),
            directory: VirtualPath::root(),
            above: Vec::new(),
            times: None,
            file: None,
        };
        match io.start.join(name) {
            Ok(path) => {
                sink.into = io.is_directory(&path);
                if command.into_directory && !sink.into {
                    let seen = io.files.metadata(&path, Follow::Yes);
                    let error = seen.map_or_else(|error| error, |_| ErrorKind::NotDirectory.into());
                    io.refuse(name, &error);
                } else {
                    sink.target = Some(path);
                    io.acknowledge();
                }
            }
            Err(error) => io.refuse(name, &error),
        }
        sink
    }

    pub(super) fn is_busy(&self) -> bool {
        self.file.is_some()
    }

    /// The client has ended; whether it may do so here. libssh2 leaves without
    /// saying that it could read all of a file.
    pub(super) fn end_of_input(&mut self, io: &mut Io<'_>) -> bool {
        match self.file.take_if(|file| file.left == 0) {
            Some(file) if io.pending().is_empty() => file.finish(io),
            _ => {}
        }
        self.file.is_none() && self.above.is_empty()
    }

    pub(super) fn step(&mut self, io: &mut Io<'_>) -> Next {
        if self.target.is_none() {
            return Next::End;
        }
        match &self.file {
            Some(file) if file.left > 0 => self.data(io),
            Some(_) => self.end_of_file(io),
            None => match io.line() {
                Ok(Some(line)) => self.control(&line, io),
                Ok(None) => Next::Input,
                Err(()) => io.give_up("a line is too long"),
            },
        }
    }

    fn control(&mut self, line: &[u8], io: &mut Io<'_>) -> Next {
        let Some((kind, rest)) = line.split_first() else {
            return io.give_up("an empty line");
        };
        match kind {
            // The client could not read something, and goes on.
            1 => {
                log::debug!("scp of the client: {}", Escaped(rest));
                io.failed = true;
            }
            2 => {
                log::debug!("scp of the client has failed: {}", Escaped(rest));
                io.failed = true;
                return Next::End;
            }
            b'E' => return self.end_of_directory(io),
            b'T' => match times(rest) {
                Some(times) => {
                    self.times = Some(times);
                    io.acknowledge();
                }
                None => return io.give_up("wrong times"),
            },
            b'C' | b'D' => {
                let Some((mode, size, name)) = entry(rest) else {
                    return io.give_up("a mode, a size and a name were expected");
                };
                // SECURITY: a name leads nowhere but into the directory at hand.
                if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
                    return io.give_up("unexpected file name");
                }
                if name.contains(&0) {
                    return io.give_up("unexpected file name");
                }
                let times = self.times.take();
                let kept = Kept {
                    times: times.filter(|_| io.preserves),
                    mode: io.preserves.then_some(mode),
                };
                let begun = match (kind, io.recursive) {
                    (b'C', _) => self.begin_file(name, size, (mode, kept), io),
                    (_, true) => self.begin_directory(name, (mode, kept), io),
                    _ => return io.give_up("a directory without -r"),
                };
                match begun {
                    Ok(()) => io.acknowledge(),
                    Err(error) => io.refuse(name, &error),
                }
            }
            _ => return io.give_up("an unknown line"),
        }
        Next::Step
    }

    /// Where an entry of this name goes.
    fn place(&self, name: &[u8]) -> Result<VirtualPath> {
        match (&self.target, self.above.is_empty()) {
            (Some(target), true) if self.into => target.join(name),
            (Some(target), true) => Ok(target.clone()),
            _ => self.directory.join(name),
        }
    }

    fn begin_file(
        &mut self,
        name: &[u8],
        size: u64,
        (mode, kept): (u32, Kept),
        io: &Io<'_>,
    ) -> Result<()> {
        if self.slash && self.above.is_empty() && !self.into {
            return Err(ErrorKind::NotDirectory.into());
        }
        let path = self.place(name)?;
        let files = io.files;
        let counted = Counted::new(&io.shared)?;
        let transfer = files.put(&path, Put::Replace, Readable::No, Some(mode))?;
        self.file = Some(Receiving {
            transfer: Some(transfer),
            _counted: counted,
            error: None,
            name: name.to_vec(),
            kept,
            offset: 0,
            left: size,
        });
        Ok(())
    }

    fn begin_directory(
        &mut self,
        name: &[u8],
        (mode, kept): (u32, Kept),
        io: &Io<'_>,
    ) -> Result<()> {
        if self.above.len() >= DEEPEST {
            let error = Error::new(ErrorKind::TooMany, "directories within each other");
            return Err(error.telling("too many directories within each other"));
        }
        let path = self.place(name)?;
        if !io.is_directory(&path) {
            // Its files are still to come, whatever the mode says.
            io.files.make_dir(&path, Some(mode | 0o700))?;
        }
        self.directory = path;
        self.above.push(kept);
        Ok(())
    }

    fn end_of_directory(&mut self, io: &mut Io<'_>) -> Next {
        let Some(kept) = self.above.pop() else {
            return io.give_up("the end of a directory that has not begun");
        };
        let path = std::mem::take(&mut self.directory);
        self.directory = path.parent();
        match kept.attributes() {
            Some(attributes) => {
                let set = io.files.set_attributes(&path, &attributes, Follow::Yes);
                match set {
                    Ok(()) => io.acknowledge(),
                    Err(error) => io.refuse(path.name(), &error),
                }
            }
            None => io.acknowledge(),
        }
        Next::Step
    }

    fn data(&mut self, io: &mut Io<'_>) -> Next {
        let Some(file) = &mut self.file else {
            return Next::Step;
        };
        let most = usize::try_from(file.left).unwrap_or(usize::MAX);
        let data = &io.input[io.read..];
        let data = &data[..data.len().min(most)];
        if data.is_empty() {
            return Next::Input;
        }
        let count = data.len();
        if let Some(transfer) = &mut file.transfer {
            match transfer.write_all_at(data, file.offset) {
                Ok(()) if transfer.is_paced() => io.owed = transfer.pace(count as u64),
                Ok(()) => {}
                // SECURITY: what is not whole does not look whole.
                Err(error) => {
                    file.transfer = None;
                    file.error = Some(error);
                }
            }
        }
        io.read += count;
        file.offset += count as u64;
        file.left -= count as u64;
        Next::Step
    }

    /// Behind its data the client says whether it could read all of them.
    fn end_of_file(&mut self, io: &mut Io<'_>) -> Next {
        match io.pending().first() {
            None => return Next::Input,
            Some(0) => io.read += 1,
            Some(1 | 2) => match io.line() {
                Ok(Some(line)) => {
                    log::debug!("scp of the client: {}", Escaped(&line[1..]));
                    io.failed = true;
                    if let Some(file) = &mut self.file {
                        // Broken off.
                        file.transfer = None;
                    }
                }
                Ok(None) => return Next::Input,
                Err(()) => return io.give_up("a line is too long"),
            },
            Some(_) => return io.give_up("the end of a file was expected"),
        }
        if let Some(file) = self.file.take() {
            file.finish(io);
        }
        Next::Step
    }
}

impl Receiving {
    /// The end of the file, told to the client.
    fn finish(self, io: &mut Io<'_>) {
        let outcome = match (self.transfer, self.error) {
            (Some(transfer), _) => {
                let set = match self.kept.attributes() {
                    Some(attributes) => transfer.set_attributes(&attributes),
                    None => Ok(()),
                };
                transfer.finish().and(set)
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(()),
        };
        match outcome {
            Ok(()) => io.acknowledge(),
            Err(error) => io.refuse(&self.name, &error),
        }
    }
}

impl Kept {
    fn attributes(self) -> Option<Attributes> {
        (self.times.is_some() || self.mode.is_some()).then(|| Attributes {
            mode: self.mode,
            modified: self.times.map(|times| times.0),
            accessed: self.times.map(|times| times.1),
            ..Attributes::default()
        })
    }
}

/// `MODE SIZE NAME`
fn entry(rest: &[u8]) -> Option<(u32, u64, &[u8])> {
    let (mode, rest) = rest.split_at_checked(4)?;
    let mode = std::str::from_utf8(mode).ok()?;
    if !mode.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return None;
    }
    let rest = rest.strip_prefix(b" ")?;
    let end = rest.iter().position(|byte| *byte == b' ')?;
    let size = number(&rest[..end])?;
    // What a file can't be is told here, not after as many bytes.
    let size = u64::try_from(i64::try_from(size).ok()?).ok()?;
    Some((u32::from_str_radix(mode, 8).ok()?, size, &rest[end + 1..]))
}

/// `MODIFIED MICROSECONDS ACCESSED MICROSECONDS`
fn times(rest: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let mut numbers = rest.split(|byte| *byte == b' ').map(number);
    let mut time = || {
        let seconds = Duration::from_secs(numbers.next()??);
        let micros = numbers.next()??;
        let fraction = Duration::from_micros((micros < 1_000_000).then_some(micros)?);
        UNIX_EPOCH.checked_add(seconds)?.checked_add(fraction)
    };
    let times = (time()?, time()?);
    numbers.next().is_none().then_some(times)
}

/// Digits alone, without the `+` that Rust allows.
fn number(digits: &[u8]) -> Option<u64> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all_digits);
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_strictly() {
        for (line, want) in [
            ("0644 3 a", Some((0o644, 3, "a"))),
            ("0644 3 a b", Some((0o644, 3, "a b"))),
            (
                "7777 9223372036854775807 x",
                Some((0o7777, i64::MAX as u64, "x")),
            ),
            ("0644 3 ", Some((0o644, 3, ""))),
            ("0644 9223372036854775808 x", None),
            ("0644 99999999999999999999 x", None),
            ("0644 -1 x", None),
            ("0644 +1 x", None),
            ("0644  1 x", None),
            ("0844 1 x", None),
            ("644 1 x", None),
            ("00644 1 x", None),
            ("0644 1", None),
            ("", None),
        ] {
            let got = entry(line.as_bytes());
            let want = want.map(|(mode, size, name)| (mode, size, name.as_bytes()));
            assert_eq!(got, want, "{line}");
        }
        for (line, good) in [
            ("1 0 2 0", true),
            ("1 999999 2 0", true),
            ("1 1000000 2 0", false),
            ("1 0 2", false),
            ("1 0 2 0 3", false),
            ("-1 0 2 0", false),
            ("18446744073709551615 0 2 0", false),
        ] {
            assert_eq!(times(line.as_bytes()).is_some(), good, "{line}");
        }
    }
}
