//! Programs that fetch or send whole trees, and download managers: ftpcopy,
//! wput, sitecopy, axel, aria2c, yafc.

use std::os::unix::fs::PermissionsExt;

use super::common::process::{has, run};
use super::common::tree::assert_same;
use super::{Place, large, url};

/// Plain names: some of these clients escape nothing.
fn plant(directory: &std::path::Path) {
    std::fs::create_dir_all(directory.join("deep/er")).unwrap();
    for name in [
        "plain",
        "deep/zero",
        "deep/er/with-dash",
        "deep/er/under_score.txt",
    ] {
        std::fs::write(directory.join(name), name).unwrap();
    }
    std::fs::write(directory.join("deep/large"), large()).unwrap();
}

#[test]
fn several_connections_fetch_one_file() {
    let place = Place::new("managers");
    place.remote("large", &large());
    let from = url(place.server.v4, "large");
    if has("axel") {
        place.run("axel", &["-q", "-n", "4", "-o", "by-axel", &from]);
        place.same("by-axel", "large");
    }
    if has("aria2c") {
        let flags = ["--no-conf", "-q", "-x4", "-s4", "-k1M", "-o", "by-aria2"];
        place.run("aria2c", &[&flags[..], &[&from]].concat());
        place.same("by-aria2", "large");
    }
}

#[test]
fn ftpcopy_mirrors() {
    if !has("ftpcopy") {
        return;
    }
    let place = Place::new("ftpcopy");
    plant(&place.remote.join("tree"));
    let from = format!("ftp://{}/tree", place.server.v4);
    let mirror = || place.run("ftpcopy", &["-u", "ann", "-p", "secret", &from, "copy"]);
    mirror();
    assert_same(&place.remote.join("tree"), &place.local.join("copy"));
    // Times and sizes are understood: nothing is fetched again, and what has gone goes.
    std::fs::remove_file(place.remote.join("tree/plain")).unwrap();
    let again = mirror();
    assert!(!again.contains("download successful"), "{again}");
    assert_same(&place.remote.join("tree"), &place.local.join("copy"));
}

#[test]
fn wput_uploads() {
    if !has("wput") {
        return;
    }
    let place = Place::new("wput");
    plant(&place.local.join("tree"));
    let to = format!("ftp://ann:secret@{}/", place.server.v4);
    place.run("wput", &["-q", "tree", &to]);
    assert_same(&place.local.join("tree"), &place.remote.join("tree"));
    // One that was cut off goes on.
    let whole = large();
    place.remote("tree/deep/large", &whole[..77_777]);
    place.run("wput", &["-q", "tree/deep/large", &to]);
    place.same("tree/deep/large", "tree/deep/large");
}

#[test]
fn sitecopy_updates() {
    if !has("sitecopy") {
        return;
    }
    let place = Place::new("sitecopy");
    plant(&place.local.join("tree"));
    std::fs::create_dir(place.remote.join("site")).unwrap();
    std::fs::create_dir(place.local.join(".sitecopy")).unwrap();
    let private = |name: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.local.join(name), permissions).unwrap();
    };
    private(".sitecopy", 0o700);
    let settings = format!(
        "site test\n server 127.0.0.1\n port {}\n username ann\n password secret\n \
         local {}\n remote /site/\n",
        place.server.v4.port(),
        place.local.join("tree").display()
    );
    place.local(".sitecopyrc", settings.as_bytes());
    private(".sitecopyrc", 0o600);
    place.run("sitecopy", &["--initialize", "test"]);
    place.run("sitecopy", &["--update", "test"]);
    assert_same(&place.local.join("tree"), &place.remote.join("site"));
    std::fs::remove_file(place.local.join("tree/plain")).unwrap();
    place.run("sitecopy", &["--update", "test"]);
    assert_same(&place.local.join("tree"), &place.remote.join("site"));
}

#[test]
fn yafc_obeys() {
    if !has("yafc") {
        return;
    }
    let place = Place::new("yafc");
    plant(&place.local.join("tree"));
    let to = format!("ftp://ann:secret@{}", place.server.v4);
    let input = "put -r tree\nmkdir made\ncd made\nput tree/plain\nmv plain moved\nls\ncd ..\n\
                 get -r tree/deep\nquit\n";
    run(
        place
            .command("yafc")
            .args(["--norc", "--quiet", "--noproxy", &to]),
        input,
    );
    assert_same(&place.local.join("tree"), &place.remote.join("tree"));
    assert_same(&place.local.join("tree/deep"), &place.local.join("deep"));
    place.same("tree/plain", "made/moved");
}
