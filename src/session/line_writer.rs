//! Writes lines of a log in a thread of its own, so that a log that blocks (a
//! pipe that nobody reads, a syslogd that hangs, a file on a dead file server)
//! never holds a session. Lines that can't be written are counted, and the
//! count is told when lines can be written again.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::sync::unpoisoned;

/// Bytes that may wait. On top of it each line has a header of some 24 bytes.
const ROOM: usize = 256 * 1024;

/// Where lines go.
pub trait Sink: Send {
    /// Writes one line: the whole of it, or nothing that stays.
    ///
    /// # Errors
    /// Why it is lost.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()>;

    /// Opens the log again by its name, after it was rotated away. What goes
    /// wrong is the sink's to tell.
    fn reopen(&mut self) {}

    /// The first line of a row could not be written.
    fn failed(&mut self, _error: &io::Error) {}

    /// A line was written after `lost` that were not.
    fn recovered(&mut self, lost: u64);
}

/// What has become of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It was handed to the sink, or waits for it.
    Taken,
    /// It waits longer than the patience of whoever has asked.
    Late,
    /// There was no room; the line is counted as lost.
    Lost,
}

/// The queue and its thread. A clone is the same one.
#[derive(Clone)]
pub struct LineWriter(Arc<WriterState>);

struct WriterState {
    /// How long one line may hold up those who log.
    patience: Duration,
    queue: Mutex<Queue>,
    changed: Condvar,
    output: Mutex<Output>,
}

/// The sink, and how many lines it has not written since it last did.
struct Output {
    sink: Box<dyn Sink>,
    lost: u64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Jobs that were ever put in and that are done.
    pushed: u64,
    done: u64,
    /// Lines that found no room since the writer was told last.
    lost: u64,
    /// Nobody waits while the sink is known to block.
    blocked: bool,
    has_thread: bool,
}

enum Job {
    Line(Vec<u8>),
    Reopen,
}

thread_local! {
    /// Whether this is a writer's thread, which must not wait for itself.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

impl LineWriter {
    /// A writer without a thread: each line is written where it is logged.
    pub fn new(sink: impl Sink + 'static, patience: Duration) -> Self {
        LineWriter(Arc::new(WriterState {
            patience,
            queue: Mutex::default(),
            changed: Condvar::new(),
            output: Mutex::new(Output {
                sink: Box::new(sink),
                lost: 0,
            }),
        }))
    }

    /// Starts the thread, if it does not run yet. Call it when the process is
    /// who it will be: a thread has the rights of its beginning. If none can
    /// be started, lines are written where they are logged.
    pub fn start(&self) {
        let mut queue = self.0.queue();
        if queue.has_thread {
            return;
        }
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .stack_size(128 * 1024);
        queue.has_thread = thread.spawn(move || shared.work()).is_ok();
    }

    /// Writes `line` in a while. Waits, for a moment, only while the sink is
    /// slower than those who log.
    pub fn push(&self, line: Vec<u8>) -> Delivery {
        let mut queue = self.0.queue();
        if !queue.has_thread {
            drop(queue);
            self.0.output().run(Job::Line(line), 0);
            return Delivery::Taken;
        }
        if queue.bytes + line.len() > ROOM && !IS_WRITER.get() {
            let full = |queue: &mut Queue| queue.bytes + line.len() > ROOM && !queue.blocked;
            queue = self.0.wait_while(queue, full);
            if queue.bytes + line.len() > ROOM {
                queue.blocked = true;
                queue.lost += 1;
                return Delivery::Lost;
            }
        }
        queue.put(Job::Line(line));
        self.0.changed.notify_all();
        Delivery::Taken
    }

    /// Writes `line`, and waits until it has been written, or for as long as
    /// the patience lasts.
    pub fn push_and_wait(&self, line: Vec<u8>) -> Delivery {
        match self.push(line) {
            Delivery::Taken => self.wait(),
            outcome => outcome,
        }
    }

    /// Opens the log again, after the lines that wait.
    pub fn reopen(&self) {
        let mut queue = self.0.queue();
        if queue.has_thread {
            queue.put(Job::Reopen);
            self.0.changed.notify_all();
        } else {
            drop(queue);
            self.0.output().run(Job::Reopen, 0);
        }
    }

    /// Waits until everything has been written, or for as long as the
    /// patience lasts: at the end of the process.
    pub fn wait(&self) -> Delivery {
        let queue = self.0.queue();
        let until = queue.pushed;
        let waits = |queue: &mut Queue| queue.done < until && !queue.blocked;
        let mut queue = self.0.wait_while(queue, waits);
        if queue.done >= until {
            return Delivery::Taken;
        }
        queue.blocked = true;
        Delivery::Late
    }
}

impl Queue {
    fn put(&mut self, job: Job) {
        if let Job::Line(line) = &job {
            self.bytes += line.len();
        }
        self.jobs.push_back(job);
        self.pushed += 1;
    }
}

impl WriterState {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        unpoisoned(self.queue.lock())
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        unpoisoned(self.output.lock())
    }

    fn wait_while<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        condition: impl FnMut(&mut Queue) -> bool,
    ) -> MutexGuard<'a, Queue> {
        unpoisoned(
            self.changed
                .wait_timeout_while(queue, self.patience, condition),
        )
        .0
    }

    /// Writes lines for ever.
    fn work(&self) {
        IS_WRITER.set(true);
        let mut queue = self.queue();
        loop {
            while let Some(job) = queue.jobs.pop_front() {
                if let Job::Line(line) = &job {
                    queue.bytes -= line.len();
                }
                // Those that found no room came after all that wait.
                let lost = if queue.jobs.is_empty() {
                    std::mem::take(&mut queue.lost)
                } else {
                    0
                };
                drop(queue);
                self.output().run(job, lost);
                queue = self.queue();
                queue.done += 1;
                if queue.bytes < ROOM / 2 {
                    queue.blocked = false;
                }
                self.changed.notify_all();
            }
            queue = unpoisoned(self.changed.wait(queue));
        }
    }
}

impl Output {
    /// Does one job, after which `dropped` lines found no room.
    fn run(&mut self, job: Job, dropped: u64) {
        let written = match job {
            Job::Line(line) => self.sink.write_line(&line),
            Job::Reopen => {
                self.sink.reopen();
                Ok(())
            }
        };
        if let Err(error) = &written {
            if self.lost == 0 {
                self.sink.failed(error);
            }
            self.lost += 1;
        }
        self.lost += dropped;
        if written.is_ok() && self.lost > 0 {
            self.sink.recovered(std::mem::take(&mut self.lost));
        }
    }
}

/// Appends `line` to a file, whole or not at all: what a full disk has taken of
/// it is cut off again, unless another process has written behind it.
///
/// # Errors
/// What writing said.
pub fn append_whole(mut file: &File, line: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < line.len() {
        match file.write(&line[written..]) {
            Ok(0) => return cut(file, written, io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return cut(file, written, error),
        }
    }
    Ok(())
}

/// Takes `written` bytes off the end of the file if they are still the last.
fn cut(mut file: &File, written: usize, error: io::Error) -> io::Result<()> {
    let end = file.stream_position();
    if written > 0
        && let (Ok(end), Ok(metadata)) = (end, file.metadata())
        && metadata.is_file()
        && metadata.len() == end
    {
        file.set_len(end - written as u64)?;
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    /// Hands lines over, each as soon as it may; `None` for one that fails.
    struct Scripted {
        may: Receiver<Option<()>>,
        lines: Sender<String>,
    }

    impl Sink for Scripted {
        fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
            match self.may.recv() {
                Ok(Some(())) => {}
                _ => return Err(io::ErrorKind::StorageFull.into()),
            }
            let _ = self.lines.send(String::from_utf8_lossy(&line[..1]).into());
            Ok(())
        }

        fn reopen(&mut self) {
            let _ = self.lines.send("reopened".into());
        }

        fn failed(&mut self, error: &io::Error) {
            let _ = self.lines.send(format!("failed: {:?}", error.kind()));
        }

        fn recovered(&mut self, lost: u64) {
            let _ = self.lines.send(format!("lost {lost}"));
        }
    }

    fn writer(patience: u64) -> (LineWriter, Sender<Option<()>>, Receiver<String>) {
        let (allow, may) = channel();
        let (lines, written) = channel();
        let writer = LineWriter::new(Scripted { may, lines }, Duration::from_millis(patience));
        writer.start();
        (writer, allow, written)
    }

    fn next(written: &Receiver<String>) -> String {
        written.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn a_sink_that_blocks_holds_nobody_and_what_is_lost_is_told() {
        let (writer, allow, written) = writer(20);
        let large = |letter: u8| vec![letter; ROOM / 2];
        // The first is being written, two fill the queue.
        assert_eq!(writer.push_and_wait(large(b'a')), Delivery::Late);
        for letter in [b'b', b'c'] {
            assert_eq!(writer.push(large(letter)), Delivery::Taken);
        }
        // Whoever comes first waits for a moment; the others don't.
        assert_eq!(writer.push(b"x".to_vec()), Delivery::Lost);
        let before = Instant::now();
        for _ in 0..1000 {
            assert_eq!(writer.push(b"x".to_vec()), Delivery::Lost);
        }
        assert!(before.elapsed() < Duration::from_secs(5));
        // The end of the process does not wait either.
        assert_eq!(writer.wait(), Delivery::Late);
        for _ in 0..4 {
            allow.send(Some(())).unwrap();
        }
        for line in ["a", "b", "c", "lost 1001"] {
            assert_eq!(next(&written), line);
        }
        // It flows again.
        assert_eq!(writer.push(b"d".to_vec()), Delivery::Taken);
        assert_eq!(next(&written), "d");
    }

    #[test]
    fn a_sink_that_fails_says_so_once_and_counts() {
        let (writer, allow, written) = writer(20_000);
        for may in [None, None, Some(()), Some(())] {
            allow.send(may).unwrap();
        }
        for letter in [b'a', b'b', b'c'] {
            assert_eq!(writer.push_and_wait(vec![letter]), Delivery::Taken);
        }
        writer.reopen();
        writer.push(b"d".to_vec());
        for line in ["failed: StorageFull", "c", "lost 2", "reopened", "d"] {
            assert_eq!(next(&written), line);
        }
    }

    #[test]
    fn no_line_is_lost_while_the_sink_works() {
        let (lines, written) = channel();
        struct Slow(Sender<Vec<u8>>);
        impl Sink for Slow {
            fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
                std::thread::yield_now();
                self.0.send(line.into()).map_err(io::Error::other)
            }
            fn recovered(&mut self, _: u64) {}
        }
        let writer = LineWriter::new(Slow(lines), Duration::from_secs(20));
        writer.start();
        let threads: Vec<_> = (0..4u8)
            .map(|thread| {
                let writer = writer.clone();
                std::thread::spawn(move || {
                    for _ in 0..500 {
                        assert_eq!(writer.push(vec![thread; 2000]), Delivery::Taken);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(writer.wait(), Delivery::Taken);
        assert_eq!(written.try_iter().count(), 2000);
    }

    #[test]
    fn what_a_full_disk_has_taken_of_a_line_is_cut_off() {
        let directory = crate::temp::TempDir::new("line_writer");
        let path = directory.path().join("log");
        let open = || {
            File::options()
                .append(true)
                .create(true)
                .open(&path)
                .unwrap()
        };
        let file = open();
        append_whole(&file, b"first\n").unwrap();
        // As if three bytes of a line had found room.
        let mut partial = open();
        partial.write_all(b"hal").unwrap();
        assert!(cut(&partial, 3, io::ErrorKind::StorageFull.into()).is_err());
        append_whole(&file, b"second\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first\nsecond\n");
        // Another process has written behind it: nothing of it is lost.
        partial.write_all(b"hal").unwrap();
        append_whole(&file, b"third\n").unwrap();
        assert!(cut(&partial, 3, io::ErrorKind::StorageFull.into()).is_err());
        assert!(std::fs::read(&path).unwrap().ends_with(b"halthird\n"));
    }
}
