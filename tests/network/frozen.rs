//! A process that is stopped for longer than its deadlines: a paused
//! container, a hypervisor that moves it, a disk that hangs. What has come
//! meanwhile is read before anybody is judged.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::common::TempDir;
use crate::common::client::Client;
use crate::common::process::{Process, add_user, has};
use crate::common::tls::{SecureClient, context};
use crate::sftp::Sftp;

const SIZE: usize = 64 << 20;
/// Longer than each deadline below, and than three questions of a keepalive.
/// A client that reads nothing runs into the deadlines while the server runs:
/// what comes between is short beside them on a busy machine, too.
const FROZEN: Duration = Duration::from_secs(9);

fn start(directory: &TempDir) -> (Process, [std::net::SocketAddr; 3]) {
    let home = directory.join("home");
    std::fs::create_dir(&home).unwrap();
    let file = std::fs::File::create(home.join("big")).unwrap();
    file.set_len(SIZE as u64).unwrap();
    let users = directory.join("users");
    add_user(&users, "ann", &home, &[]);
    let key = directory.join("key");
    let state = format!("--state-dir={}", directory.join("state").display());
    let more = [
        "--self-signed",
        &state,
        "--listen-ftps=127.0.0.1:0",
        "--listen-sftp=127.0.0.1:0",
        "--host-key",
        key.to_str().unwrap(),
        "--login-timeout=8",
        "--idle-timeout=8",
        "--stall-timeout=8",
        "--data-connect-timeout=8",
        "--ssh-keepalive=1",
    ];
    let server = Process::for_users(&users, &more);
    let addresses = server.addresses(3);
    (server, addresses.try_into().unwrap())
}

#[test]
fn sessions_outlive_a_stop_that_is_longer_than_their_deadlines() {
    let directory = TempDir::new("frozen");
    let (server, [ftp, ftps, sftp]) = start(&directory);
    let session = || {
        let mut client = Client::greeted(ftp);
        client.login("ann", "secret");
        client.expect("TYPE I", 200);
        client
    };
    let secure = has("sftp").then(|| Sftp::connect(&directory, sftp, None).unwrap());
    let [mut quiet, mut down, mut up, mut late] = [(); 4].map(|()| session());
    for client in [&mut quiet, &mut down, &mut up, &mut late] {
        client.expect("NOOP", 200);
    }
    let mut stranger = Client::greeted(ftp);
    let mut half = Client::greeted(ftp);
    half.expect("AUTH TLS", 234);
    let mut ssh = TcpStream::connect(sftp).unwrap();
    ssh.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut data_down = down.data();
    down.expect("RETR big", 150);
    data_down.0.read_exact(&mut [0; 1000]).unwrap();
    let mut data_up = up.data();
    up.expect("STOR new", 150);
    data_up.send(&[1; 1000]);
    let address = late.epsv();
    late.send("RETR big");

    // Of some the server knows nothing yet, of others no more than that.
    let implicit: Vec<Client> = (0..8).map(|_| Client::connect(ftps)).collect();
    server.signal("STOP");
    quiet.send("NOOP");
    data_up.send(&[2; 1000]);
    let data_late = crate::common::client::Data::connect(address);
    std::thread::sleep(FROZEN);
    server.signal("CONT");
    // Those that download read from now on.
    let downloads =
        [data_down, data_late].map(|mut data| std::thread::spawn(move || data.rest().len()));

    assert_eq!(quiet.reply().code, 200);
    let implicit: Vec<SecureClient> = implicit
        .into_iter()
        .map(|client| SecureClient::take(client, context(|_| {})))
        .collect();
    for mut client in implicit {
        client.wait_for(220);
        client.login("ann", "secret");
    }
    // Who logs in has more to say than one look finds.
    stranger.login("ann", "secret");
    SecureClient::take(half, context(|_| {})).login("ann", "secret");
    ssh.write_all(b"SSH-2.0-x\r\n").unwrap();
    let end = loop {
        match ssh.read(&mut [0; 4096]) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(ErrorKind::WouldBlock), "SSH waits on");
    data_up.0.write_all(&[3; 1000]).unwrap();
    drop(data_up);
    up.wait_for(226);
    late.wait_for(150);
    let sizes = downloads.map(|thread| thread.join().unwrap());
    assert_eq!(sizes, [SIZE - 1000, SIZE]);
    down.wait_for(226);
    late.wait_for(226);
    if let Some(secure) = secure {
        secure.works();
    }
}

/// The server is busy with one session's request for longer than its
/// keepalive: a checksum of a large file.
#[test]
fn a_long_request_is_no_silence_of_the_client() {
    if !has("python3") {
        return;
    }
    let directory = TempDir::new("frozen");
    let (_server, [_, _, sftp]) = start(&directory);
    let home = directory.join("home");
    let file = std::fs::File::options()
        .write(true)
        .open(home.join("big"))
        .unwrap();
    // Some 30 MB/s where nothing is optimized.
    file.set_len(192 << 20).unwrap();
    let script = format!(
        "import paramiko, time\n\
         t = paramiko.Transport(('127.0.0.1', {}))\n\
         t.connect(username='ann', password='secret')\n\
         s = paramiko.SFTPClient.from_transport(t)\n\
         f = s.open('big')\n\
         begin = time.time()\n\
         f.check('sha256', 0, 0, 0)\n\
         print('took', time.time() - begin)\n\
         s.stat('big')\n\
         print('works')\n",
        sftp.port()
    );
    let mut command = std::process::Command::new("/usr/bin/python3");
    let (_, said) = crate::common::process::attempt(command.args(["-c", &script]), "");
    if said.contains("ModuleNotFoundError") {
        assert!(std::env::var_os("WHARF_NEED_CLIENTS").is_none());
        eprintln!("SKIP paramiko");
        return;
    }
    assert!(said.contains("works"), "{said}");
}
