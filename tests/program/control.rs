//! Looking at a running wharfd: who, status, bans, metrics.

use crate::common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use common::client::DEADLINE;
use common::process::{Process, has, program, soon, wharfd};
use common::{Client, TempDir};

fn ask(socket: &Path, words: &[&str]) -> (i32, String) {
    let output = wharfd()
        .args(words)
        .args(["--control-socket", socket.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

#[test]
fn who_shows_users_files_and_progress() {
    let directory = TempDir::new("control");
    let socket = directory.join("socket");
    let root = directory.join("root");
    std::fs::create_dir(&root).unwrap();
    let big = std::fs::File::create(root.join("big file")).unwrap();
    big.set_len(64_000_000).unwrap();
    let server = Process::serve(&root, &["--control-socket", socket.to_str().unwrap()]);
    let mut client = Client::greeted(server.address());
    let metadata = std::fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let (_, table) = ask(&socket, &["who"]);
    assert!(
        table.contains("(login)") && table.contains("idle"),
        "{table}"
    );
    client.login("anonymous", "x@");
    client.expect("TYPE I", 200);
    let mut data = client.data();
    client.send("RETR big file");
    client.wait_for(150);
    // An eighth, so that the bar has a mark whatever the sockets hold.
    data.0.read_exact(&mut vec![0; 8_000_000]).unwrap();
    let shown = |words: &[&str], parts: &[&str]| {
        let (code, text) = ask(&socket, words);
        assert_eq!(code, 0, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    shown(
        &["who"],
        &[
            "anonymous",
            "127.0.0.1",
            "ftp",
            "RETR",
            "[",
            "#",
            " %",
            "/big file",
        ],
    );
    shown(
        &["who", "--json"],
        &[
            "\"user\":\"anonymous\"",
            "\"file\":\"/big file\"",
            "\"size\":64000000",
            "\"percent\":",
        ],
    );
    // A firewall at the client.
    let mut active = Client::greeted(server.address());
    active.login("anonymous", "x@");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    active.expect(&format!("EPRT |1|127.0.0.1|{port}|"), 200);
    active.expect("LIST", 425);
    active.expect("QUIT", 221);
    active.closed();
    shown(
        &["status"],
        &[
            "sessions            1\n",
            "transfers           1\n",
            "phase               running\n",
            "data-never-came     0\n",
        ],
    );
    shown(
        &["status", "--json"],
        &["\"sessions\":1,", "\"version\":\"", "\"data-refused\":1"],
    );
    assert_eq!(data.rest().len(), 64_000_000 - 8_000_000);
    client.wait_for(226);
    client.expect("QUIT", 221);
    assert!(soon(|| ask(&socket, &["who"]).1.lines().count() == 1));

    // A second one does not take the socket away; one that was killed leaves
    // one that can be taken.
    let mut second = Process::serve(&root, &["--control-socket", socket.to_str().unwrap()]);
    assert_eq!(second.wait().code(), Some(111));
    drop(server);
    let mut third = Process::serve(&root, &["--control-socket", socket.to_str().unwrap()]);
    third.address();
    assert_eq!(ask(&socket, &["status"]).0, 0);
    third.signal("TERM");
    assert_eq!(third.wait().code(), Some(0));
    assert!(!socket.exists());
    let (code, text) = ask(&socket, &["status"]);
    assert_eq!(code, 111);
    assert!(text.contains("--control-socket"), "{text}");
}

#[test]
fn bans_can_be_seen_and_lifted() {
    let directory = TempDir::new("control");
    let socket = directory.join("socket");
    let server = Process::serve(
        Path::new("/"),
        &[
            "--control-socket",
            socket.to_str().unwrap(),
            "--ban-after",
            "1",
            "--login-delay",
            "0",
        ],
    );
    let fail = || {
        let mut client = Client::greeted(server.address());
        client.expect("USER root", 331);
        client.expect("PASS x", 530);
        client.expect("QUIT", 221);
    };
    for address in ["127.0.0.1", "all"] {
        fail();
        Client::connect(server.address()).wait_for(421);
        let (_, bans) = ask(&socket, &["status", "--bans"]);
        assert!(
            bans.starts_with("127.0.0.1 ") && bans.contains("seconds left"),
            "{bans}"
        );
        assert_eq!(ask(&socket, &["unban", address]), (0, String::new()));
        assert_eq!(ask(&socket, &["status", "--bans"]).1, "");
        Client::greeted(server.address()).expect("QUIT", 221);
    }
    assert_eq!(ask(&socket, &["unban", "nonsense"]).0, 100);
    assert_eq!(ask(&socket, &["unban"]).0, 100);
}

#[test]
fn sessions_are_ended_and_addresses_banned_by_hand() {
    let directory = TempDir::new("control");
    let socket = directory.join("socket");
    let big = std::fs::File::create(directory.join("big")).unwrap();
    big.set_len(1 << 30).unwrap();
    let arguments = ["--ban-exempt=127.0.0.5", "--control-socket"];
    let arguments = [&arguments[..], &[socket.to_str().unwrap()]].concat();
    let server = Process::serve(directory.path(), &arguments);
    let logged_in = || {
        let mut client = Client::greeted(server.address());
        client.login("anonymous", "x@");
        client
    };
    let kicked = |mut client: Client| {
        let reply = client.reply();
        assert_eq!(reply.code, 421);
        client.closed();
    };
    // By number: one that waits is told why, its neighbour goes on.
    let (first, mut second) = (logged_in(), logged_in());
    assert_eq!(ask(&socket, &["kick", "1"]), (0, String::new()));
    kicked(first);
    let line = server.log.wait_for("session 1: the session of 127.0.0.1");
    assert!(line.contains("ended by the administrator"), "{line}");
    second.expect("NOOP", 200);
    // By user: a transfer in the middle is cut off, and so is one that stands.
    let mut third = logged_in();
    third.expect("TYPE I", 200);
    let mut data = third.data();
    third.send("RETR big");
    third.wait_for(150);
    let mut fourth = logged_in();
    let unread = fourth.data();
    fourth.send("RETR big");
    fourth.wait_for(150);
    assert_eq!(ask(&socket, &["kick", "anonymous"]), (0, String::new()));
    kicked(second);
    assert!(data.rest().len() < 1 << 30);
    assert!(soon(|| ask(&socket, &["who"]).1.lines().count() == 1));
    drop((unread, third, fourth));
    let (code, text) = ask(&socket, &["kick", "anonymous"]);
    assert!(code == 100 && text.contains("wharfd who"), "{text}");

    let fifth = logged_in();
    assert_eq!(ask(&socket, &["ban", "127.0.0.0/24"]), (0, String::new()));
    kicked(fifth);
    Client::connect(server.address()).wait_for(421);
    Client::connect_from([127, 0, 0, 5].into(), server.address()).wait_for(220);
    let (_, bans) = ask(&socket, &["status", "--bans"]);
    assert!(bans.starts_with("127.0.0.0/24 "), "{bans}");
    assert_eq!(ask(&socket, &["unban", "127.0.0.0/24"]), (0, String::new()));
    logged_in().expect("QUIT", 221);
    for wrong in [
        &["kick"][..],
        &["ban"],
        &["ban", "ann"],
        &["kick", "7", "8"],
    ] {
        assert_eq!(ask(&socket, wrong).0, 100, "{wrong:?}");
    }
}

#[test]
fn prometheus_reads_file_and_port() {
    let directory = TempDir::new("metrics");
    let file = directory.join("wharf.prom");
    // A free port, found by binding it before: nobody else binds in between
    // on an address of our own.
    let address = "127.93.17.4:0";
    let probe = std::net::TcpListener::bind(address).unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let server = Process::serve(
        directory.path(),
        &[
            "--metrics-file",
            file.to_str().unwrap(),
            "--listen-metrics",
            &address.to_string(),
        ],
    );
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    let get = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let text = get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, page) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    assert!(
        page.contains("\nwharf_sessions{protocol=\"ftp\"} 1\n"),
        "{page}"
    );
    assert!(page.contains("\nwharf_logins_total 1\n"), "{page}");
    assert!(get("GET /other HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 404 "));
    assert!(get("POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 405 "));
    assert!(soon(|| file.exists()));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("\nwharf_build_info{version=\""));
    if has("promtool") {
        for page in [page, &written] {
            let mut promtool = program("promtool")
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut input = promtool.stdin.take().unwrap();
            input.write_all(page.as_bytes()).unwrap();
            drop(input);
            let output = promtool.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{said}{page}");
        }
    }
}

/// Four at a time, however many there are to run, and no session waits.
#[test]
fn hooks_are_bounded_in_number() {
    let directory = TempDir::new("hooks");
    let (root, running) = (directory.join("root"), directory.join("running"));
    let (done, go) = (directory.join("done"), directory.join("go"));
    for made in [&root, &running, &done] {
        std::fs::create_dir(made).unwrap();
    }
    let script = directory.join("hook");
    let text = format!(
        "#!/bin/sh\nset -e\n: > {0}/$$\nwhile [ ! -e {2} ]; do sleep 0.05; done\nmv {0}/$$ {1}/$$\n",
        running.display(),
        done.display(),
        go.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let server = Process::serve(
        &root,
        &[
            "--anonymous-rights",
            "elradfmw",
            "--on-upload",
            script.to_str().unwrap(),
        ],
    );
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    let count = |place: &Path| std::fs::read_dir(place).unwrap().count();
    for number in 0..10 {
        assert_eq!(client.store(&format!("STOR {number}"), b"1").code, 226);
        assert!(count(&running) <= 4);
    }
    assert!(soon(|| count(&running) == 4));
    assert_eq!(client.store("STOR last", b"1").code, 226);
    assert_eq!((count(&running), count(&done)), (4, 0));
    std::fs::write(&go, "").unwrap();
    assert!(soon(|| count(&done) == 11));
}

#[test]
fn who_can_be_watched() {
    let directory = TempDir::new("control");
    let socket = directory.join("socket");
    let socket = socket.to_str().unwrap();
    let server = Process::serve(directory.path(), &["--control-socket", socket]);
    let mut client = Client::greeted(server.address());
    let mut command = wharfd();
    command.args(["who", "--watch", "--control-socket", socket]);
    let watch = Process::start(&mut command);
    watch.out.wait_for("(login)");
    // It is asked again, and what has changed meanwhile is shown.
    client.login("anonymous", "x@");
    watch.out.wait_for("anonymous");
}

#[test]
fn hooks_run_without_a_shell_and_out_of_the_way() {
    let directory = TempDir::new("hooks");
    let root = directory.join("root");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    let record = directory.join("record");
    let script = directory.join("hook");
    let text = format!(
        "#!/bin/sh\nprintf '%s|%s|%s|%s|%s\\n' \"$#\" \"$1\" \"$2\" \"$WHARF_USER\" \"$WHARF_BYTES\" >> {0}\n\
         env | grep -c SECRET >> {0}.secret\n[ \"$1\" != delete ] || sleep 1000\n",
        record.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let hook = script.to_str().unwrap();
    let mut command = wharfd();
    command.env("SECRET", "x").args([
        "--listen",
        "127.0.0.1:0",
        "--print-port",
        "--anonymous-rights",
        "elradfmw",
        "--on-upload",
        hook,
        "--on-login",
        hook,
        "--on-delete",
        hook,
        "--on-download",
        hook,
        "--on-rename",
        hook,
        "--hook-timeout",
        "0.3",
    ]);
    let mut server = Process::start(command.arg(&root));
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    let name = "$(touch x) ;'\" `id`";
    assert_eq!(client.store(&format!("STOR {name}"), b"12345").code, 226);
    assert_eq!(client.fetch(&format!("RETR {name}")), b"12345");
    client.expect("RNFR sub", 350);
    client.expect("RNTO sub2", 250);
    client.expect(&format!("DELE {name}"), 250);
    server.log.wait_for("ended after 0 seconds");
    server.log.wait_for(" renamed /sub to /sub2");
    server.log.wait_for(" deleted /$(touch");
    client.expect("QUIT", 221);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let text = std::fs::read_to_string(&record).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let upload = format!("2|upload|/{name}|anonymous|5");
    let delete = format!("2|delete|/{name}|anonymous|");
    let download = format!("2|download|/{name}|anonymous|5");
    let rename = "3|rename|/sub|anonymous|";
    let want = ["1|login||anonymous|", &delete, &download, &upload, rename];
    assert_eq!(lines, want);
    let secrets = std::fs::read_to_string(directory.join("record.secret")).unwrap();
    assert!(secrets.lines().all(|line| line == "0"), "{secrets}");
}

#[test]
fn the_session_of_a_user_who_is_locked_or_gone_ends() {
    let place = TempDir::new("barred");
    let users = place.join("users");
    std::fs::create_dir(&users).unwrap();
    let home = place.join("home");
    std::fs::create_dir(&home).unwrap();
    let hash = wharf::auth::password::hash(b"secret").unwrap();
    let write = |name: &str, mark: &str| {
        let line = format!("{mark}{hash}:{}:read-write\n", home.display());
        std::fs::write(users.join(name), line).unwrap();
    };
    let server = Process::for_users(&users, &[]);
    let mut clients = ["ann", "bob", "cid"].map(|name| {
        write(name, "");
        let mut client = Client::greeted(server.address());
        client.login(name, "secret");
        client
    });
    // In the middle of an upload.
    let upload = clients[0].data();
    clients[0].send("STOR endless");
    clients[0].wait_for(150);
    write("ann", "!");
    std::fs::remove_file(users.join("bob")).unwrap();
    let line = server.log.wait_for("the user is locked, expired or gone");
    assert!(line.contains("session"), "{line}");
    let [mut uploads, mut idles, mut stays] = clients;
    assert_eq!(idles.reply().code, 421);
    idles.closed();
    // A transfer is cut off, and its session with it.
    uploads.closed();
    drop(upload);
    stays.expect("NOOP", 200);
}
