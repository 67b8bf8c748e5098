//! What FTP can do to a path: every row of COMMANDS and SITE.

use crate::common::client::Data;
use crate::common::{Client, TestServer};

/// A verb and the dialogues in which it meets a path, `{}`. A verb that names
/// no file has none. `{mine}` is a file of the user's own, `{fresh}` a name
/// that is free.
pub type Row = (&'static str, &'static [&'static [&'static str]]);

#[rustfmt::skip]
pub const COMMANDS: &[Row] = &[
    ("USER", &[]), ("PASS", &[]), ("ACCT", &[]), ("AUTH", &[]), ("PBSZ", &[]), ("PROT", &[]),
    ("CCC", &[]), ("REIN", &[]), ("QUIT", &[]), ("FEAT", &[]), ("OPTS", &[]), ("CLNT", &[]), ("HOST", &[]), ("LANG", &[]),
    ("CSID", &[]), ("SYST", &[]), ("NOOP", &[]), ("HELP", &[]), ("ABOR", &[]), ("TYPE", &[]),
    ("STRU", &[]), ("MODE", &[]), ("PORT", &[]), ("EPRT", &[]), ("PASV", &[]), ("EPSV", &[]),
    ("ALLO", &[]), ("PWD", &[]), ("SITE", &[]), ("SITE HELP", &[]), ("SITE UMASK", &[]),
    ("SITE IDLE", &[]), ("SITE QUOTA", &[]),
    ("STAT", &[&["STAT {}"], &["STAT -R {}"]]),
    ("REST", &[&["REST 1", "RETR {}"], &["REST 1", "STOR {}"], &["REST 10632", "STOR {}"]]),
    ("RANG", &[&["RANG 0 30", "RETR {}"]]),
    ("CWD", &[&["CWD {}", "LIST"], &["CWD {}", "RETR f"], &["CWD {}", "STOR f"], &["CWD {}", "DELE f"]]),
    ("CDUP", &[&["CWD {}", "CDUP", "LIST"], &["CWD {}", "CDUP", "DELE f"]]),
    ("MKD", &[&["MKD {}"], &["MKD {}/made"]]),
    ("RMD", &[&["RMD {}"], &["RMD {}/e"]]),
    ("RMDA", &[&["RMDA {}"]]),
    ("LIST", &[&["LIST {}"], &["LIST -R {}"], &["LIST -a {}"], &["LIST -d {}"], &["LIST {}/*"], &["LIST -R /"]]),
    ("NLST", &[&["NLST {}"], &["NLST {}/*"]]),
    ("MLSD", &[&["MLSD {}"]]),
    ("MLST", &[&["MLST {}"]]),
    ("DSIZ", &[&["DSIZ {}"]]),
    ("AVBL", &[&["AVBL {}"]]),
    ("RETR", &[&["RETR {}"]]),
    ("STOR", &[&["STOR {}"], &["STOR {}/new"]]),
    ("STOU", &[&["STOU {}"], &["CWD {}", "STOU"]]),
    ("APPE", &[&["APPE {}"]]),
    ("DELE", &[&["DELE {}"]]),
    ("RNFR", &[&["RNFR {}", "RNTO {fresh}"], &["RNFR {}", "RNTO {fresh}", "RETR {fresh}/f"]]),
    ("RNTO", &[&["RNFR {mine}", "RNTO {}"], &["RNFR /open/d", "RNTO {}"], &["RNFR /open/e", "RNTO {}"], &["RNFR /open/abs", "RNTO {}"]]),
    ("SIZE", &[&["SIZE {}"]]),
    ("MDTM", &[&["MDTM {}"], &["MDTM 20010203040506 {}"]]),
    ("MFMT", &[&["MFMT 20010203040506 {}"]]),
    ("MFF", &[&["MFF Modify=20010203040506;UNIX.mode=0600; {}"]]),
    ("COMB", &[&["COMB {} {mine}"], &["COMB {mine} {}"], &["COMB {fresh} {}"]]),
    ("HASH", &[&["HASH {}"]]),
    ("XCRC", &[&["XCRC {}"]]),
    ("XMD5", &[&["XMD5 {}"]]),
    ("XSHA1", &[&["XSHA1 {}"]]),
    ("XSHA256", &[&["XSHA256 {}"]]),
    ("XSHA512", &[&["XSHA512 {}"]]),
    ("SITE CHMOD", &[&["SITE CHMOD 600 {}"]]),
    ("SITE UTIME", &[&["SITE UTIME 20010203040506 {}"]]),
    ("SITE MKDIR", &[&["SITE MKDIR {}/one/two"]]),
    ("SITE RMDIR", &[&["SITE RMDIR {}"]]),
    ("SITE CPFR", &[&["SITE CPFR {}", "SITE CPTO {fresh}"]]),
    ("SITE CPTO", &[&["SITE CPFR {mine}", "SITE CPTO {}"]]),
    ("SITE COPY", &[&["SITE COPY {} {fresh}"], &["SITE COPY {mine} {}"], &["SITE COPY {} {}"]]),
    ("SITE SYMLINK", &[&["SITE SYMLINK {} {fresh}", "RETR {fresh}", "DELE {fresh}"], &["SITE SYMLINK f {}"], &["SITE SYMLINK ../secret {fresh}", "LIST {fresh}/"]]),
];

/// Holds a dialogue; yields all that was received.
pub fn run(client: &mut Client, lines: &[&str], path: &str) -> Vec<u8> {
    let mut heard = Vec::new();
    for line in lines {
        let line = line.replace("{mine}", "/open/mine");
        let line = line.replace("{fresh}", "/open/fresh").replace("{}", path);
        heard.extend(send(client, &line));
    }
    client.cmd("CWD /");
    heard
}

fn send(client: &mut Client, line: &str) -> Vec<u8> {
    let verb = line.split(' ').next().unwrap_or_default();
    let stores = ["STOR", "STOU", "APPE"].contains(&verb);
    let mut heard = Vec::new();
    if !stores && !["RETR", "LIST", "NLST", "MLSD"].contains(&verb) {
        hear(&mut heard, &client.cmd(line), line);
        return heard;
    }
    let listener = client.active("PORT");
    let reply = client.cmd(line);
    hear(&mut heard, &reply, line);
    if reply.code == 150 {
        let mut data = Data::accept(&listener);
        if stores {
            data.send(b"data");
            data.finish();
        }
        heard.extend(data.rest());
        hear(&mut heard, &client.reply(), line);
    }
    heard
}

/// Our own words in a reply tell nothing.
fn hear(heard: &mut Vec<u8>, reply: &crate::common::client::Reply, line: &str) {
    let argument = line.split_once(' ').map_or("", |(_, argument)| argument);
    let text = reply.lines.join("\n");
    let text = if argument.is_empty() {
        text
    } else {
        text.replace(argument, "")
    };
    heard.extend_from_slice(text.as_bytes());
    heard.push(b'\n');
}

/// The checksums of what is in each place, by somebody who may see it.
pub fn sums(tree: &crate::oracle::tree::Tree) -> Vec<(usize, Vec<u8>)> {
    let server = crate::common::server().directory(&tree.top).start();
    let mut client = server.ann();
    let mut sums = Vec::new();
    for (number, place) in crate::oracle::tree::PLACES.iter().enumerate() {
        for verb in ["XCRC", "XMD5", "XSHA1", "XSHA256", "XSHA512"] {
            let reply = client.expect(&format!("{verb} {place}/f"), 250);
            let sum = reply.text().rsplit(' ').next().unwrap_or_default();
            let digits = |at: usize| u8::from_str_radix(&sum[at..at + 2], 16).unwrap();
            let bytes = (0..sum.len()).step_by(2).map(digits);
            sums.push((number, bytes.collect()));
            sums.push((number, sum.into()));
        }
    }
    sums
}

/// A server on a tree, for a user of its rights.
pub fn server(tree: &crate::oracle::tree::Tree, atomic: &str) -> TestServer {
    let mut server = crate::common::server()
        .directory(&tree.top)
        .set("site-symlink", "anywhere")
        .set("atomic-uploads", atomic)
        .user("ann", "secret", &tree.default.to_string());
    for (path, rights) in crate::oracle::tree::RULES {
        server = server.at(path, rights);
    }
    server.start()
}
