//! Power cuts. A file system in memory records what is written, named and
//! synced, and the recording is cut at every point; and a real ext4 on a loop
//! device is stopped in the middle as a power cut stops it. With
//! `fsync-uploads`, whatever was answered 226 is whole after the cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use wharf::Result;
use wharf::storage::{
    Attributes, Create, Directory, Existing, File, FileSystem, Follow, MemoryFs, Metadata,
    OpenOptions, VirtualPath, Write,
};

use super::common::{TestServer, put_file, server};

/// What happens to a disk, in the order in which it was asked for.
#[derive(Debug, Clone)]
enum Step {
    Create(Vec<u8>, u64),
    Write(u64, u64, Vec<u8>),
    Size(u64, u64),
    Rename(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    /// The file's content and the names of its directory.
    Sync(u64),
    /// The names of a directory.
    SyncNames(Vec<u8>),
}

#[derive(Default)]
struct Record {
    steps: Mutex<Vec<Step>>,
    /// Numbers of the files by their names.
    names: Mutex<BTreeMap<Vec<u8>, u64>>,
}

impl Record {
    fn push(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }
}

/// Files in memory, recorded.
struct Recorded {
    files: MemoryFs,
    record: Arc<Record>,
}

struct Open {
    inner: Box<dyn File>,
    record: Arc<Record>,
    number: u64,
    appends: bool,
}

impl FileSystem for Recorded {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        self.files.metadata(path, follow)
    }
    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        let name = path.as_bytes().to_vec();
        let inner = self.files.open(path, options)?;
        let mut names = self.record.names.lock().unwrap();
        let number = match names.get(&name) {
            Some(number) => *number,
            None => {
                assert_ne!(options.create, Create::Never);
                let number = self.record.steps.lock().unwrap().len() as u64 + 1000;
                names.insert(name.clone(), number);
                self.record.push(Step::Create(name, number));
                number
            }
        };
        if options.write == Write::Truncate {
            self.record.push(Step::Size(number, 0));
        }
        Ok(Box::new(Open {
            inner,
            record: Arc::clone(&self.record),
            number,
            appends: options.write == Write::Append,
        }))
    }
    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        self.files.read_dir(path)
    }
    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        self.files.make_dir(path, mode)?;
        let number = self.record.steps.lock().unwrap().len() as u64 + 1000;
        let name = path.as_bytes().to_vec();
        self.record
            .names
            .lock()
            .unwrap()
            .insert(name.clone(), number);
        self.record.push(Step::Create(name, number));
        Ok(())
    }
    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        self.files.remove_dir(path)?;
        let name = path.as_bytes().to_vec();
        self.record.names.lock().unwrap().remove(&name);
        self.record.push(Step::Remove(name));
        Ok(())
    }
    fn sync_dir(&self, path: &VirtualPath) -> Result<()> {
        self.record.push(Step::SyncNames(path.as_bytes().to_vec()));
        Ok(())
    }
    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        self.files.remove_file(path)?;
        let name = path.as_bytes().to_vec();
        self.record.names.lock().unwrap().remove(&name);
        self.record.push(Step::Remove(name));
        Ok(())
    }
    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        self.files.rename(from, to, existing)?;
        let (from, to) = (from.as_bytes().to_vec(), to.as_bytes().to_vec());
        let mut names = self.record.names.lock().unwrap();
        let number = names.remove(&from).unwrap();
        names.insert(to.clone(), number);
        self.record.push(Step::Rename(from, to));
        Ok(())
    }
    fn set_attributes(&self, path: &VirtualPath, to: &Attributes, follow: Follow) -> Result<()> {
        self.files.set_attributes(path, to, follow)
    }
}

impl File for Open {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.inner.read_at(buffer, offset)
    }
    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let offset = if self.appends {
            self.inner.metadata()?.size
        } else {
            offset
        };
        self.inner.write_all_at(data, offset)?;
        let step = Step::Write(self.number, offset, data.to_vec());
        self.record.push(step);
        Ok(())
    }
    fn metadata(&self) -> Result<Metadata> {
        self.inner.metadata()
    }
    fn set_attributes(&self, attributes: &Attributes) -> Result<()> {
        self.inner.set_attributes(attributes)?;
        if let Some(size) = attributes.size {
            self.record.push(Step::Size(self.number, size));
        }
        Ok(())
    }
    fn sync(&self) -> Result<()> {
        self.inner.sync()?;
        self.record.push(Step::Sync(self.number));
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.inner.close()
    }
}

/// What a disk does with what nobody has synced.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Disk {
    /// Nothing of it arrives.
    Lazy,
    /// Everything does.
    Eager,
    /// Names do and contents do not, as with `data=writeback`.
    NamesFirst,
    /// Contents do and names do not.
    ContentsFirst,
}

const DISKS: [Disk; 4] = [
    Disk::Lazy,
    Disk::Eager,
    Disk::NamesFirst,
    Disk::ContentsFirst,
];

/// Names and contents, as far as they matter to a power cut.
#[derive(Default, Clone)]
struct State {
    names: BTreeMap<Vec<u8>, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
}

impl State {
    fn change_names(&mut self, step: &Step) {
        match step {
            Step::Create(name, number) => {
                self.names.insert(name.clone(), *number);
            }
            Step::Rename(from, to) => {
                if let Some(number) = self.names.remove(from) {
                    self.names.insert(to.clone(), number);
                }
            }
            Step::Remove(name) => {
                self.names.remove(name);
            }
            _ => {}
        }
    }

    /// The names of a directory as they are in another state.
    fn take_names(&mut self, now: &State, directory: &[u8]) {
        self.names.retain(|name, _| above(name) != directory);
        let there = now
            .names
            .iter()
            .filter(|(name, _)| above(name) == directory);
        self.names
            .extend(there.map(|(name, file)| (name.clone(), *file)));
    }

    fn change_contents(&mut self, step: &Step) {
        match step {
            Step::Write(number, offset, data) => {
                let content = self.contents.entry(*number).or_default();
                let (start, end) = (*offset as usize, *offset as usize + data.len());
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(data);
            }
            Step::Size(number, size) => {
                let content = self.contents.entry(*number).or_default();
                content.resize(*size as usize, 0);
            }
            _ => {}
        }
    }
}

/// What is there after a power cut behind these steps.
fn after_cut(before: &State, steps: &[Step], disk: Disk) -> BTreeMap<String, Vec<u8>> {
    let (mut now, mut lasting) = (before.clone(), before.clone());
    for step in steps {
        now.change_names(step);
        now.change_contents(step);
        match step {
            Step::Sync(number) => {
                let content = now.contents.get(number).cloned().unwrap_or_default();
                lasting.contents.insert(*number, content);
                let named = now.names.iter().find(|(_, file)| *file == number);
                if let Some((name, _)) = named {
                    lasting.take_names(&now, above(name));
                }
            }
            Step::SyncNames(directory) => lasting.take_names(&now, directory),
            _ => {}
        }
    }
    if matches!(disk, Disk::Eager | Disk::NamesFirst) {
        lasting.names = now.names;
    }
    if matches!(disk, Disk::Eager | Disk::ContentsFirst) {
        lasting.contents = now.contents;
    }
    // What lies in a directory that is not there is not there.
    let reached = |name: &[u8]| {
        let mut above = above(name);
        while !matches!(above, b"/" | b"/d") && lasting.names.contains_key(above) {
            above = self::above(above);
        }
        matches!(above, b"/" | b"/d")
    };
    let names = lasting.names.iter().filter(|(name, _)| reached(name));
    let found = names.map(|(name, number)| {
        let content = lasting.contents.get(number).cloned().unwrap_or_default();
        (String::from_utf8(name.clone()).unwrap(), content)
    });
    found.collect()
}

/// The directory that holds a name.
fn above(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|byte| *byte == b'/') {
        Some(0) | None => b"/",
        Some(at) => &name[..at],
    }
}

const OLD: &[u8] = b"the old contents";

/// The server and its disk as they are before an upload.
fn start(atomic: &str) -> (TestServer, Arc<Record>, State) {
    let memory = MemoryFs::new();
    put_file(&memory, b"old", OLD);
    put_file(&memory, b"d/other", b"other");
    let record = Arc::new(Record::default());
    let mut before = State::default();
    for (number, name, content) in [(1, "/old", OLD), (2, "/d/other", b"other")] {
        let name = name.as_bytes().to_vec();
        record.names.lock().unwrap().insert(name.clone(), number);
        before.names.insert(name, number);
        before.contents.insert(number, content.to_vec());
    }
    let files = Recorded {
        files: memory,
        record: Arc::clone(&record),
    };
    let server = server()
        .files(Arc::new(files))
        .set("atomic-uploads", atomic)
        .set("fsync-uploads", "yes")
        .start();
    (server, record, before)
}

fn cut_everywhere(atomic: &str, before_it: &str, line: &str, wanted: &[u8], data: &[u8]) {
    let (server, record, before) = start(atomic);
    let mut client = server.ann();
    if !before_it.is_empty() {
        client.expect(before_it, 350);
    }
    let known: BTreeSet<Vec<u8>> = before.names.keys().cloned().collect();
    assert_eq!(client.store(line, data).code, 226, "{line}");
    // All that was done before the 226 reached us.
    let acknowledged = record.steps.lock().unwrap().len();
    client.expect("QUIT", 221);
    client.closed();
    let steps = record.steps.lock().unwrap().clone();
    let name = match line.split_once(' ') {
        Some((_, name)) => format!("/{name}"),
        None => {
            let now = record.names.lock().unwrap();
            let new = now.keys().find(|name| !known.contains(*name)).unwrap();
            String::from_utf8(new.clone()).unwrap()
        }
    };
    let new_upload = before_it.is_empty() && !line.starts_with("APPE");
    for cut in 0..=steps.len() {
        for disk in DISKS {
            let of = steps.len();
            let what = format!("{line}, atomic {atomic}, {disk:?}, after {cut} of {of}");
            let found = after_cut(&before, &steps[..cut], disk);
            assert_eq!(found["/d/other"], b"other", "{what}");
            if cut >= acknowledged {
                let whole = found.get(&name).is_some_and(|content| content == wanted);
                assert!(whole, "{what}");
            } else if atomic == "yes" && new_upload {
                // The old one, or none, or the new one: never a part.
                let old = (name == "/old").then_some(OLD);
                let here = found.get(&name).map(Vec::as_slice);
                assert!(here == old || here == Some(wanted), "{what}");
            }
            // What else is there can be told from files.
            for other in found.keys().filter(|other| **other != name) {
                let expected = other == "/d/other" || other == "/old" && name != "/old";
                let leftover = other.rsplit('/').next().unwrap();
                assert!(
                    expected || leftover.starts_with(".wharf-upload-"),
                    "{what}: {other}"
                );
            }
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_cut_at_every_point() {
    let new = vec![b'n'; 700_000];
    for atomic in ["no", "yes"] {
        for line in ["STOR new", "STOR old", "STOR d/new", "STOU", "APPE new"] {
            cut_everywhere(atomic, "", line, &new, &new);
        }
        let appended = [OLD, &new].concat();
        cut_everywhere(atomic, "", "APPE old", &appended, &new);
        let resumed = [&OLD[..5], &new].concat();
        cut_everywhere(atomic, "REST 5", "STOR old", &resumed, &new);
        // Nothing at all is a file, too.
        cut_everywhere(atomic, "", "STOR empty", b"", b"");
    }
}

/// The test above can fail: without the syncs, a lazy disk loses the file.
#[test]
fn without_syncs_it_would_not() {
    let (server, record, before) = start("yes");
    let data = vec![b'n'; 1000];
    assert_eq!(server.ann().store("STOR new", &data).code, 226);
    let steps = record.steps.lock().unwrap().clone();
    let lost = |keep: &dyn Fn(usize, &Step) -> bool| {
        let steps: Vec<Step> = steps
            .iter()
            .enumerate()
            .filter(|(at, step)| keep(*at, step))
            .map(|(_, step)| step.clone())
            .collect();
        DISKS
            .iter()
            .any(|disk| after_cut(&before, &steps, *disk).get("/new") != Some(&data))
    };
    assert!(!lost(&|_, _| true));
    assert!(lost(&|_, step| !matches!(step, Step::Sync(_))));
    let syncs: Vec<usize> = (0..steps.len())
        .filter(|at| matches!(steps[*at], Step::Sync(_)))
        .collect();
    assert_eq!(syncs.len(), 2, "{steps:?}");
    assert!(lost(&|at, _| at != syncs[1]), "the name is not synced");
}

/// Directories that were made, renames and deletions are as they were
/// acknowledged, and so is what was uploaded to a new directory.
#[test]
fn names_survive_a_cut_behind_every_reply() {
    for atomic in ["no", "yes"] {
        let (server, record, before) = start(atomic);
        let mut client = server.ann();
        let mut wanted: BTreeMap<String, Vec<u8>> = after_cut(&before, &[], Disk::Lazy);
        type Change = fn(&mut BTreeMap<String, Vec<u8>>);
        let history: [(&[&str], Change); 8] = [
            (&["MKD new"], |wanted| {
                wanted.insert("/new".into(), Vec::new());
            }),
            (&["MKD new/sub"], |wanted| {
                wanted.insert("/new/sub".into(), Vec::new());
            }),
            (&["STOR new/sub/f"], |wanted| {
                wanted.insert("/new/sub/f".into(), b"data".to_vec());
            }),
            (&["RNFR old", "RNTO new/old"], |wanted| {
                let old = wanted.remove("/old").unwrap();
                wanted.insert("/new/old".into(), old);
            }),
            (&["RNFR new/old", "RNTO new/other"], |wanted| {
                let old = wanted.remove("/new/old").unwrap();
                wanted.insert("/new/other".into(), old);
            }),
            (&["DELE new/sub/f"], |wanted| {
                wanted.remove("/new/sub/f");
            }),
            (&["RMD new/sub"], |wanted| {
                wanted.remove("/new/sub");
            }),
            (&["SITE MKDIR a/b"], |wanted| {
                wanted.insert("/a".into(), Vec::new());
                wanted.insert("/a/b".into(), Vec::new());
            }),
        ];
        for (lines, change) in history {
            for line in lines {
                if line.starts_with("STOR") {
                    assert_eq!(client.store(line, b"data").code, 226)
                } else {
                    assert!(client.cmd(line).code < 400, "{line}")
                }
            }
            change(&mut wanted);
            let steps = record.steps.lock().unwrap().clone();
            for disk in DISKS {
                let found = after_cut(&before, &steps, disk);
                assert_eq!(found, wanted, "{lines:?}, atomic {atomic}, {disk:?}");
            }
        }
    }
}
