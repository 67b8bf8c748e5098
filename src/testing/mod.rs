//! A test kit for file systems of one's own (feature `testing`): the dialogues
//! that wharf's own file systems are tested with.
//!
//! ```
//! use std::sync::Arc;
//! use wharf::storage::MemoryFs;
//!
//! # // In a program: #[test]
//! fn my_files_serve_ftp_clients() {
//!     // Instead of MemoryFs, yours.
//!     wharf::testing::conformance(|| Arc::new(MemoryFs::new()));
//! }
//! # my_files_serve_ftp_clients();
//! ```

mod dialogues;
#[allow(dead_code)]
mod kit;

use std::sync::Arc;

use dialogues::DIALOGUES;
use kit::transcript::{difference, play, store};

use crate::error::ErrorKind;
use crate::storage::FileSystem;

/// Plays about a hundred dialogues of FTP clients, each against a server in
/// this process with files from `make`, which must be empty and may be
/// written. A dialogue whose files can't be made, such as links where there
/// are none ([`ErrorKind::Unsupported`]), is passed over and named on standard
/// error.
///
/// # Panics
/// A server answered otherwise than the dialogues say: the text is the
/// dialogues, with what was expected and what came.
pub fn conformance(make: impl Fn() -> Arc<dyn FileSystem>) {
    let mut wrong = String::new();
    for (name, text) in DIALOGUES {
        if store(text).is_some() {
            continue;
        }
        match play(text, make()) {
            Ok(lines) => {
                if let Some(difference) = difference(&lines) {
                    wrong += &format!("--- {name}\n{difference}");
                }
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                eprintln!("passed over {name}: {error}");
            }
            Err(error) => wrong += &format!("--- {name}: {error}\n"),
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
