//! A bug in a file system ends one session, never the server.

use std::sync::Arc;

use wharf::storage::{FileSystem, MemoryFs};

use super::common::{put_file, server};
use super::faulty::{Faulty, PANIC};

#[test]
fn a_panic_ends_one_session() {
    let memory = MemoryFs::new();
    put_file(&memory, b"f", b"contents");
    let faulty = Arc::new(Faulty::new(memory));
    let server = server()
        .files(Arc::clone(&faulty) as Arc<dyn FileSystem>)
        .set("atomic-uploads", "yes")
        .start();
    let mut other = server.ann();
    for (command, number) in [("SIZE f", 1), ("RETR f", 2), ("STOR f", 4), ("MLSD", 3)] {
        let mut client = server.ann();
        let data = client.data();
        faulty.plan.fail(number, PANIC);
        client.send(command);
        // Perhaps a 150, then the end, at once.
        loop {
            match client.try_line() {
                Ok(Some(line)) => assert!(line.starts_with(b"150"), "{command}: {line:?}"),
                Ok(None) => break,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{command}: {error}"),
            }
            drop(
                data.0
                    .try_clone()
                    .map(|data| data.shutdown(std::net::Shutdown::Both)),
            );
        }
        assert!(faulty.plan.heal(), "{command}: {:?}", faulty.plan.done());
        server.until("its place is free", |server| server.sessions() == 1);
        assert_eq!(faulty.plan.open(), 0, "{command}");
        other.expect("NOOP", 200);
        assert_eq!(other.fetch("RETR f"), b"contents");
    }
    assert_eq!(server.names("/"), ["f"]);
}
