//! One client that holds replies against what the model wants.

use std::collections::BTreeSet;

use super::common;
use super::common::client::{Client, Data};
use super::expected::Want;

/// One client, its data connection, and what it has said.
pub struct Dialogue {
    pub client: Client,
    pub data: Option<Data>,
    pub said: Vec<String>,
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the commands:\n  {}", self.said.join("\n  "));
        }
    }
}

impl Dialogue {
    pub fn cmd(&mut self, line: &str) -> common::client::Reply {
        self.said.push(line.to_string());
        let reply = self.client.cmd(line);
        let said = self.said.last_mut().unwrap();
        said.push_str(&format!("   -> {:?}", reply.lines));
        reply
    }

    fn last(&mut self, code: u16) {
        let reply = self.client.reply();
        assert_eq!(reply.code, code, "{:?}", reply.lines);
    }

    pub fn check(&mut self, line: &str, want: Want) {
        let reply = self.cmd(line);
        let what = format!("{line}: {:?}, wanted {want:?}", reply.lines);
        let mut data = match reply.code {
            150 => self.data.take(),
            _ => None,
        };
        match want {
            Want::Code(code) => assert_eq!(reply.code, code, "{what}"),
            Want::Text(code, text) => {
                assert_eq!(reply.code, code, "{what}");
                assert!(reply.text().starts_with(&text), "{what}");
            }
            Want::Failure => assert!((450..=559).contains(&reply.code), "{what}"),
            Want::Send(bytes) => {
                assert_eq!(reply.code, 150, "{what}");
                assert_eq!(data.expect(&what).rest(), bytes, "{what}");
                self.last(226);
            }
            Want::Names(names) => {
                assert_eq!(reply.code, 150, "{what}");
                let listing = data.expect(&what).rest();
                let listing = String::from_utf8(listing).unwrap();
                let found: BTreeSet<String> = listing
                    .lines()
                    .filter(|line| !line.contains("type=cdir") && !line.contains("type=pdir"))
                    .map(|line| {
                        // The name of a file comes as it was given.
                        let line = line.trim_end_matches('/');
                        line.rsplit(['/', ' ']).next().unwrap_or("").to_string()
                    })
                    .collect();
                assert_eq!(found, names, "{what}");
                self.last(226);
            }
            Want::Receive(bytes) => {
                assert_eq!(reply.code, 150, "{what}");
                data.as_mut().expect(&what).send(&bytes);
                drop(data);
                self.last(226);
            }
            Want::Broken(bytes) => {
                let mut last = reply.code;
                if last == 150 {
                    let mut data = data.expect(&what);
                    data.send(&bytes);
                    data.reset();
                    last = self.client.reply().code;
                }
                assert_eq!(last, 426, "{what}");
            }
        }
    }
}
