//! An upload gateway: each file that has arrived whole goes to a channel and
//! vanishes from the server. A file that was cut off never shows up: uploads
//! are atomic, and `complete` says how each ended.
//!
//! `cargo run --example upload_gateway`, then
//! `curl -T FILE ftp://127.0.0.1:2121/`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use wharf::events::Who;
use wharf::storage::OpenOptions;
use wharf::{Anonymous, Config, Perms, Result, Running, Server};
use wharf::{Event, Events, File, FileSystem, MemoryFs, VirtualPath};

/// A file that somebody has sent.
#[derive(Debug)]
pub struct Arrived {
    pub name: String,
    pub content: Vec<u8>,
}

struct Gateway {
    files: Arc<MemoryFs>,
    out: Sender<Arrived>,
}

impl Gateway {
    fn take(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        let content = read(&*self.files.open(path, &OpenOptions::read())?)?;
        self.files.remove_file(path)?;
        Ok(content)
    }
}

impl Events for Gateway {
    fn event(&self, _: &Who<'_>, event: &Event<'_>) {
        let Event::Upload(upload) = event else { return };
        if !upload.complete {
            return;
        }
        match self.take(upload.path) {
            Ok(content) => {
                let name = String::from_utf8_lossy(upload.path.name()).into_owned();
                // Nobody listens any more: the server is about to end.
                let _ = self.out.send(Arrived { name, content });
            }
            Err(error) => eprintln!("{}: {error}", upload.path),
        }
    }
}

fn read(file: &dyn File) -> Result<Vec<u8>> {
    let mut content = vec![0; file.metadata()?.size as usize];
    let mut filled = 0;
    while filled < content.len() {
        match file.read_at(&mut content[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    content.truncate(filled);
    Ok(content)
}

/// Serves at `address` until the server is dropped; files come out of the
/// receiver.
pub fn start(address: &str) -> Result<(Running, Receiver<Arrived>)> {
    let files = Arc::new(MemoryFs::new());
    let (out, arrived) = channel();
    let guests = Anonymous::new(Arc::clone(&files) as _, Perms::DROP);
    let mut config = Config::default();
    config.listen.push(address.parse()?);
    config.atomic_uploads = true;
    let server = Server::new(config, Arc::new(guests));
    let server = server.with_events(Arc::new(Gateway { files, out }));
    Ok((server.bind()?.start()?, arrived))
}

fn main() -> Result<()> {
    let (running, arrived) = start("127.0.0.1:2121")?;
    for (address, _) in running.addresses() {
        println!("ftp://{address}/");
    }
    for file in arrived {
        println!("{}: {} bytes", file.name, file.content.len());
    }
    Ok(())
}
