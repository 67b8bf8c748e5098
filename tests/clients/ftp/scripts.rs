//! Libraries of languages, each by a short script: ftputil, Ruby's net/ftp,
//! PHP's functions and its URL wrapper; and mc's file system.

use super::common::process::{attempt, has};
use super::{Place, large};

/// Runs a script with the port, if `probe` shows that its library is there.
fn script(place: &Place, program: &str, probe: &str, flag: &str, text: &str) {
    if !has(program) {
        return;
    }
    let (installed, said) = attempt(place.command(program).args([flag, probe]), "");
    if !installed {
        assert!(
            std::env::var_os("WHARF_NEED_CLIENTS").is_none(),
            "{probe} fails; tests/install-clients.sh installs what it needs:\n{said}"
        );
        return eprintln!("SKIP {probe}");
    }
    let port = place.server.v4.port().to_string();
    let output = place.run(program, &[flag, text, &port]);
    assert!(output.lines().any(|line| line == "done"), "{output}");
}

#[test]
fn ftputil() {
    let place = Place::new("ftputil");
    place.remote("large", &large());
    let text = r#"
import os, sys, ftplib, ftputil, ftputil.session
factory = ftputil.session.session_factory(base_class=ftplib.FTP, port=int(sys.argv[1]))
with ftputil.FTPHost("127.0.0.1", "ann", "secret", session_factory=factory) as host:
    host.makedirs("a/b/c", exist_ok=True)
    host.synchronize_times()
    with host.open("a/b/text", "w", encoding="utf-8") as file:
        file.write("one\ntwo\n")
    with host.open("a/b/text", encoding="utf-8") as file:
        assert file.read() == "one\ntwo\n"
    host.download("large", "large")
    # Listings tell minutes: a copy of this minute is newer in no way.
    os.utime("large", (1e9, 1e9))
    assert host.upload_if_newer("large", "a/large") is True
    assert host.upload_if_newer("large", "a/large") is False
    assert host.path.getsize("a/large") == host.path.getsize("large")
    assert sorted(name for _, _, names in host.walk("a") for name in names) == ["large", "text"]
    host.rename("a/b/text", "a/text")
    host.rmtree("a")
    assert host.listdir(".") == ["large"]
print("done")
"#;
    // Debian's: another one before it in PATH has not its libraries.
    script(&place, "/usr/bin/python3", "import ftputil", "-c", text);
}

#[test]
fn ruby() {
    let place = Place::new("ruby");
    place.remote("large", &large());
    let text = r#"
require "net/ftp"
Net::FTP.open("127.0.0.1", port: ARGV[0].to_i, username: "ann", password: "secret") do |ftp|
  ftp.getbinaryfile("large")
  ftp.mkdir("d")
  ftp.chdir("d")
  ftp.putbinaryfile("large")
  raise "size" unless ftp.size("large") == File.size("large")
  ftp.resume = true
  File.truncate("large", 77_777)
  ftp.getbinaryfile("large")
  raise "resume" unless ftp.size("large") == File.size("large")
  raise "time" unless (Time.now - ftp.mtime("large")).abs < 3600
  raise "mlsd" unless ftp.mlsd.any? { |entry| entry.pathname == "large" && entry.file? }
  raise "list" unless ftp.list.length == 1
  ftp.rename("large", "other")
  raise "nlst" unless ftp.nlst == ["other"]
  ftp.delete("other")
  ftp.chdir("..")
  ftp.rmdir("d")
end
puts "done"
"#;
    script(&place, "ruby", "require 'net/ftp'", "-e", text);
}

#[test]
fn php() {
    let place = Place::new("php");
    place.remote("large", &large());
    let text = r#"
error_reporting(E_ALL);
set_error_handler(function ($number, $text) { fwrite(STDERR, $text . "\n"); exit(1); });
$port = (int)$argv[1];
$ftp = ftp_connect("127.0.0.1", $port);
ftp_login($ftp, "ann", "secret");
ftp_pasv($ftp, true);
ftp_get($ftp, "large", "large");
ftp_mkdir($ftp, "d");
ftp_chdir($ftp, "d");
ftp_put($ftp, "large", "large");
if (ftp_size($ftp, "large") != filesize("large")) { exit(2); }
if (abs(time() - ftp_mdtm($ftp, "large")) > 3600) { exit(3); }
if (ftp_nlist($ftp, ".") != ["large"]) { exit(4); }
if (count(ftp_rawlist($ftp, ".")) != 1) { exit(5); }
if (count(ftp_mlsd($ftp, ".")) < 1) { exit(6); }
ftp_rename($ftp, "large", "other");
ftp_delete($ftp, "other");
ftp_cdup($ftp);
ftp_rmdir($ftp, "d");
ftp_pasv($ftp, false);
ftp_get($ftp, "active", "large");
ftp_close($ftp);
$url = "ftp://ann:secret@127.0.0.1:$port/";
file_put_contents($url . "new", "wrapped");
if (file_get_contents($url . "new") != "wrapped") { exit(7); }
if (file_get_contents($url . "large") != file_get_contents("active")) { exit(8); }
$over = stream_context_create(["ftp" => ["overwrite" => true]]);
file_put_contents($url . "new", "again", 0, $over);
mkdir($url . "made");
rename($url . "new", $url . "made/moved");
if (scandir($url . "made") != ["moved"]) { exit(9); }
if (!is_dir($url . "made") || filesize($url . "made/moved") != 5) { exit(10); }
unlink($url . "made/moved");
rmdir($url . "made");
echo "done\n";
"#;
    script(&place, "php", "ftp_connect(...);", "-r", text);
}

/// mc has no commands for a script: its viewer shows a file on a terminal.
#[test]
fn mc_views_a_file() {
    if !(has("mcview") && has("python3")) {
        return;
    }
    let place = Place::new("mc");
    std::fs::create_dir_all(place.remote.join("d")).unwrap();
    place.remote("d/page", b"seen by midnight commander\n");
    let text = r#"
import os, pty, select, sys, time
child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "xterm"
    url = "ftp://ann:secret@127.0.0.1:%s/d/page" % sys.argv[1]
    os.execvp("mcview", ["mcview", url])
seen, until = b"", time.time() + 30
while b"seen by midnight commander" not in seen and time.time() < until:
    if select.select([terminal], [], [], 1)[0]:
        seen += os.read(terminal, 65536)
os.write(terminal, b"\x1b[21~")
os.kill(child, 9)
os.waitpid(child, 0)
print("done" if b"seen by midnight commander" in seen else seen)
"#;
    script(&place, "python3", "import pty", "-c", text);
}
