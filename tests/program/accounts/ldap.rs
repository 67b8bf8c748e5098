//! `--auth-helper` on LDAP: the script of contrib against a real slapd.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::common::Client;
use super::common::process::{Process, UNPACKED, attempt, has, program, run, soon};
use super::etc::{ANN, ANNS, Etc, open_to_all};

const BASE: &str = "ou=people,dc=example,dc=org";

/// slapd on a socket of the test's own, with ann.
fn slapd(etc: &Etc) -> (Process, String) {
    let directory = etc.0.path().display();
    let home = etc.home("ann");
    let config = etc.0.join("slapd.conf");
    let root = if Path::new("/etc/ldap/schema/nis.schema").exists() {
        String::new()
    } else {
        format!("{UNPACKED}/root")
    };
    let text = format!(
        "include {root}/etc/ldap/schema/core.schema\n\
         include {root}/etc/ldap/schema/cosine.schema\n\
         include {root}/etc/ldap/schema/nis.schema\n\
         modulepath {root}/usr/lib/ldap\n\
         moduleload back_mdb\n\
         pidfile {directory}/slapd.pid\n\
         database mdb\n\
         maxsize 1048576\n\
         suffix \"dc=example,dc=org\"\n\
         directory {directory}/db\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to * by self read by * none\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::create_dir(etc.0.join("db")).unwrap();
    let entries = format!(
        "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n\n\
         dn: {BASE}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: uid=ann,{BASE}\nobjectClass: account\nobjectClass: posixAccount\n\
         uid: ann\ncn: Ann\nuidNumber: {ANN}\ngidNumber: {ANNS}\n\
         homeDirectory: {}\nuserPassword: secret\n",
        home.display()
    );
    run(program("slapadd").arg("-f").arg(&config), &entries);
    let socket = etc.0.join("ldapi").display().to_string();
    let uri = format!("ldapi://{}", socket.replace('/', "%2F"));
    let mut command = program("slapd");
    command.args(["-d", "0", "-h", &uri, "-f"]).arg(&config);
    let server = Process::start(&mut command);
    let bound = || {
        let mut search = Command::new("ldapsearch");
        search.args(["-x", "-H", &uri, "-w", "secret", "-D"]);
        search.arg(format!("uid=ann,{BASE}"));
        attempt(search.args(["-s", "base", "-b", BASE]), "")
            .1
            .contains("result:")
    };
    assert!(soon(bound), "{}", server.log.text());
    (server, uri)
}

#[test]
fn slapd_and_the_script_of_contrib() {
    if !has("slapd") || !has("ldapsearch") {
        return;
    }
    let Some(etc) = Etc::new("ldap") else {
        return;
    };
    let (_slapd, uri) = slapd(&etc);
    let script = etc.0.join("ldap");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/auth-helper/ldap");
    std::fs::copy(own, &script).unwrap();
    open_to_all(&script, 0o755);
    let script = script.to_str().unwrap();
    let mut arguments = Vec::new();
    for word in [script, &uri, BASE] {
        arguments.extend(["--auth-helper", word]);
    }
    arguments.extend(["--auth-helper-rights", "read-write"]);
    let server = etc.serve(&arguments);
    let mut client = Client::greeted(server.address());
    for (name, password) in [
        ("ann", "wrong"),
        // A bind without a password would succeed.
        ("ann", ""),
        ("bob", "secret"),
        ("ann,ou=people", "secret"),
        ("*", "secret"),
    ] {
        client.expect(&format!("USER {name}"), 331);
        client.expect(&format!("PASS {password}"), 530);
    }
    client.login("ann", "secret");
    assert_eq!(client.store("STOR mine", b"x").code, 226);
    let metadata = std::fs::metadata(etc.home("ann").join("mine")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (ANN, ANNS));
    assert!(!server.log.text().contains("secret"));
}
