//! A virtual file system: `report.txt` is written anew for each download,
//! and what is uploaded to `inbox` stays in memory. Three methods are enough
//! for files that are only read; everything else answers "not supported".
//!
//! `cargo run --example reports`, then `curl ftp://127.0.0.1:2121/report.txt`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use wharf::storage::{Attributes, Directory, Entry, FileKind, Follow, Mounts, OpenOptions, Write};
use wharf::{Anonymous, Config, ErrorKind, Perms, Result, Running, Server};
use wharf::{File, FileSystem, MemoryFs, Metadata, VirtualPath};

const NAME: &[u8] = b"report.txt";

/// A directory with one file that is made when somebody asks for it.
#[derive(Default)]
struct Reports {
    made: AtomicU32,
}

impl Reports {
    fn report(&self) -> String {
        format!("Report {} of this server.\n", self.made.load(Relaxed) + 1)
    }
}

impl FileSystem for Reports {
    fn metadata(&self, path: &VirtualPath, _: Follow) -> Result<Metadata> {
        match path.as_bytes() {
            b"/" => Ok(Metadata::new(FileKind::Directory, 0)),
            b"/report.txt" => Ok(Metadata::new(FileKind::File, self.report().len() as u64)),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        if self.metadata(path, Follow::Yes)?.is_dir() {
            return Err(ErrorKind::IsDirectory.into());
        }
        if options.write != Write::No {
            return Err(ErrorKind::ReadOnly.into());
        }
        let report = self.report();
        self.made.fetch_add(1, Relaxed);
        Ok(Box::new(Report(report.into_bytes())))
    }

    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        if path.is_root() {
            Ok(Box::new(Listing {
                told: false,
                size: self.report().len() as u64,
            }))
        } else {
            Err(ErrorKind::NotDirectory.into())
        }
    }
}

/// One report, as long as it is open.
struct Report(Vec<u8>);

impl File for Report {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> Result<()> {
        Err(ErrorKind::ReadOnly.into())
    }

    fn metadata(&self) -> Result<Metadata> {
        Ok(Metadata::new(FileKind::File, self.0.len() as u64))
    }

    fn set_attributes(&self, _: &Attributes) -> Result<()> {
        Err(ErrorKind::ReadOnly.into())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The listing of the directory.
struct Listing {
    told: bool,
    size: u64,
}

impl Directory for Listing {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        name.clear();
        if std::mem::replace(&mut self.told, true) {
            return Ok(None);
        }
        name.extend_from_slice(NAME);
        Ok(Some(FileKind::File.into()))
    }

    fn metadata(&self, name: &[u8], _: Follow) -> Result<Metadata> {
        match name {
            NAME => Ok(Metadata::new(FileKind::File, self.size)),
            b"." | b".." => Ok(Metadata::new(FileKind::Directory, 0)),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn read_link(&self, _: &[u8]) -> Result<Vec<u8>> {
        Err(ErrorKind::Invalid.into())
    }
}

/// Serves at `address` until the result is dropped.
pub fn start(address: &str) -> Result<Running> {
    let inbox = VirtualPath::root().join(b"inbox")?;
    let files = Mounts::new(Arc::new(Reports::default()));
    let files = files.mount(inbox, Arc::new(MemoryFs::new()))?;
    let guests = Anonymous::new(Arc::new(files), Perms::ALL);
    let mut config = Config::default();
    config.listen.push(address.parse()?);
    Server::new(config, Arc::new(guests)).bind()?.start()
}

fn main() -> Result<()> {
    let running = start("127.0.0.1:2121")?;
    for (address, _) in running.addresses() {
        println!("ftp://{address}/");
    }
    loop {
        std::thread::park();
    }
}
