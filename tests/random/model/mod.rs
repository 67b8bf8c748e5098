//! Random sequences of commands against a model of what an FTP server must
//! answer and of what the tree must be. A failure prints the commands so far;
//! `WHARF_SEED` repeats the run, `WHARF_SEQUENCES` sets how many there are, and
//! `WHARF_SECONDS` how long several sessions are tried together.

mod commands;
use crate::common;
mod dialogue;
mod expected;
mod others;
#[allow(dead_code)]
use crate::common::packets;
mod sessions;

use std::sync::{Arc, Mutex};

use commands::{contents, one_line};
use common::client::{Client, Data, extended_port};
use common::rng::Rng;
use dialogue::Dialogue;
use expected::{Model, Tree};
use wharf::auth::{Authenticator, Credentials, User};
use wharf::config::{Config, Endpoint};
use wharf::storage::{FileKind, FileSystem, Follow, MemoryFs, OpenOptions, VirtualPath};
use wharf::{Running, Server};

/// Gives whoever logs in the file system that stands ready.
struct LetIn(Mutex<MemoryFs>);

impl Authenticator for LetIn {
    fn authenticate(&self, _: &Credentials<'_>) -> wharf::Result<User> {
        let files = self.0.lock().unwrap().clone();
        Ok(User::new("ann", Arc::new(files)))
    }
}

fn sequence(users: &LetIn, server: &Running, rng: &mut Rng, atomic: bool) {
    let files = MemoryFs::new();
    *users.0.lock().unwrap() = files.clone();
    let mut dialogue = Dialogue {
        client: Client::greeted(server.addresses()[0].0),
        data: None,
        said: Vec::new(),
    };
    dialogue.client.login("ann", "x");
    dialogue.cmd("TYPE I");
    let mut model = Model::new(atomic);
    let most = rng.below(191);
    for _ in 0..10 + rng.below(most + 1) {
        if dialogue.data.is_none() && rng.below(4) > 0 {
            let reply = dialogue.cmd("EPSV");
            let port = extended_port(reply.text()).unwrap();
            let address = (server.addresses()[0].0.ip(), port).into();
            dialogue.data = Some(Data::connect(address));
        }
        let (verb, argument) = one_line(rng);
        let data = contents(rng);
        let want = model.run(verb, &argument, dialogue.data.is_some(), &data);
        let line = if argument.is_empty() {
            verb.to_string()
        } else {
            format!("{verb} {argument}")
        };
        dialogue.check(&line, want);
        if verb == "REIN" {
            dialogue.data = None;
            dialogue.client.login("ann", "x");
        }
    }
    assert_eq!(tree(&files), model.tree);
    dialogue.client.expect("QUIT", 221);
    dialogue.client.closed();
}

/// All that is in a file system.
fn tree(files: &MemoryFs) -> Tree {
    let mut found = Tree::new();
    let mut waiting = vec![VirtualPath::root()];
    while let Some(path) = waiting.pop() {
        let name = String::from_utf8(path.as_bytes().to_vec()).unwrap();
        let metadata = files.metadata(&path, Follow::No).unwrap();
        if metadata.kind == FileKind::File {
            let file = files.open(&path, &OpenOptions::read()).unwrap();
            let mut content = vec![0; metadata.size as usize];
            assert_eq!(file.read_at(&mut content, 0).unwrap(), content.len());
            found.insert(name, Some(content));
            continue;
        }
        found.insert(name, None);
        let mut directory = files.read_dir(&path).unwrap();
        let mut name = Vec::new();
        while directory.next(&mut name).unwrap().is_some() {
            waiting.push(path.join(&name).unwrap());
        }
    }
    found
}

fn sequences(atomic: bool) {
    let count: usize = std::env::var("WHARF_SEQUENCES").map_or(2500, |text| {
        text.parse().expect("WHARF_SEQUENCES is a number")
    });
    let users = Arc::new(LetIn(Mutex::new(MemoryFs::new())));
    let mut config = Config::default();
    config.listen = vec![Endpoint {
        host: "127.0.0.1".into(),
        port: 0,
    }];
    config.atomic_uploads = atomic;
    let server = Server::new(config, Arc::clone(&users) as Arc<dyn Authenticator>);
    let server = server.bind().unwrap().start().unwrap();
    let mut rng = Rng::new();
    for _ in 0..count {
        sequence(&users, &server, &mut rng, atomic);
    }
    assert!(server.stop(std::time::Duration::ZERO));
}

#[test]
fn a_server_does_what_the_model_does() {
    sequences(false);
}

#[test]
fn so_does_one_with_atomic_uploads() {
    sequences(true);
}
