//! Clients with a prompt, each fed its commands: lftp, the `ftp` of BSD and of
//! GNU, ncftp.

use super::common::process::{attempt, has};
use super::common::tree::assert_same;
use super::{Place, large, plant};

#[test]
fn lftp() {
    if !has("lftp") {
        return;
    }
    let place = Place::new("lftp");
    plant(&place.local.join("tree"));
    for address in [place.server.v4, place.server.v6] {
        for passive in ["yes", "no"] {
            let lftp = |commands: &str| {
                let script = format!(
                    "set net:timeout 20; set net:max-retries 1; set cmd:fail-exit yes; \
                     set ftp:ssl-allow no; set ftp:passive-mode {passive}; \
                     open -u ann,secret ftp://{address}; {commands}; bye"
                );
                place.run("lftp", &["--norc", "-c", &script])
            };
            lftp("mirror -R tree up");
            assert_same(&place.local.join("tree"), &place.remote.join("up"));
            lftp("mirror --parallel=4 up back");
            assert_same(&place.local.join("tree"), &place.local.join("back"));
            // Nothing is left to do: times and sizes are understood.
            let again = lftp("mirror -R --verbose tree up");
            assert!(!again.contains("Transferring"), "{again}");
            let whole = large();
            std::fs::write(place.local.join("part"), &whole[..77_777]).unwrap();
            lftp("get -c up/deep/er/est/large -o part");
            place.same("part", "up/deep/er/est/large");
            place.remote("partial", &whole[..99_999]);
            lftp("put -c tree/deep/er/est/large -o partial");
            place.same("part", "partial");
            lftp(
                "chmod 600 partial; mv partial moved; rm moved; mkdir -p a/b/c; cls -l; \
                  ls -la; nlist; du up; site help; rm -r a",
            );
            assert!(!place.remote.join("a").exists());
            lftp("rm -r up");
            std::fs::remove_dir_all(place.local.join("back")).unwrap();
        }
    }
    // An ABOR in the middle: a get that its time ends, then the session goes on.
    place.remote("large", &large());
    let address = place.server.v4;
    let script = format!(
        "set net:timeout 20; set net:limit-rate 100000; set ftp:ssl-allow no; \
         open -u ann,secret ftp://{address}; get large -o aborted & sleep 1; kill all; \
         set net:limit-rate 0; get large -o whole; bye"
    );
    place.run("lftp", &["--norc", "-c", &script]);
    place.same("whole", "large");
}

/// The line-oriented clients: BSD's and GNU's `ftp`.
fn ftp(program: &str, passive: &[&str], active: &[&str]) {
    if !has(program) {
        return;
    }
    let place = Place::new(program);
    place.local("large", &large());
    place.local("zero", b"");
    place.local("text.txt", b"one\ntwo\n");
    for address in [place.server.v4, place.server.v6] {
        for mode in [passive, active] {
            let host = address.ip().to_string();
            let port = address.port().to_string();
            let session = |commands: &str| {
                let mut command = place.command(program);
                command.args(mode).args(["-n", "-i", "-v", &host, &port]);
                let input = format!("user ann secret\nbinary\n{commands}\nbye\n");
                let (_, said) = attempt(&mut command, &input);
                assert!(said.contains("230 "), "no login:\n{said}");
                said
            };
            let said = session(
                "put large\nput zero\nput \"text.txt\" \"with blanks\"\nget large got\n\
                 get zero got0\nget \"with blanks\" \"here too\"\nls\nnlist\npwd\nmkdir sub\n\
                 cd sub\nmput large zero\ncd ..\nmget \"with*\"\nsize large\nmodtime large\n\
                 rename zero nought\ndelete nought\nrmdir sub\nsystem\nascii\n\
                 put text.txt ascii.txt\nget ascii.txt ascii-back.txt",
            );
            let unknown = said.lines().any(|line| line.starts_with("500 "));
            assert!(!unknown, "{said}");
            place.same("large", "large");
            place.same("got", "large");
            place.same("got0", "sub/zero");
            place.same("here too", "with blanks");
            place.same("with blanks", "with blanks");
            place.same("text.txt", "ascii.txt");
            assert_eq!(
                std::fs::read(place.local.join("ascii-back.txt")).unwrap(),
                b"one\ntwo\n"
            );
            assert!(!place.remote.join("nought").exists());
            // Resuming a download.
            place.local("got", &large()[..500_000]);
            let said = session("reget large got");
            place.same("got", "large");
            assert!(said.contains("350 "), "{said}");
            for name in ["large", "with blanks", "ascii.txt", "sub/large", "sub/zero"] {
                std::fs::remove_file(place.remote.join(name)).unwrap();
            }
            std::fs::remove_dir(place.remote.join("sub")).unwrap();
            std::fs::remove_file(place.local.join("with blanks")).unwrap();
        }
    }
}

#[test]
fn tnftp() {
    ftp("tnftp", &["-p"], &["-A"]);
    if !has("tnftp") {
        return;
    }
    // Its way of a URL: anonymous, EPSV, restart.
    let place = Place::new("tnftp-url");
    place.remote("large", &large());
    place.run(
        "tnftp",
        &["-o", "got", &format!("ftp://{}/large", place.server.v4)],
    );
    place.same("got", "large");
}

#[test]
fn inetutils_ftp() {
    ftp("inetutils-ftp", &["-p"], &[]);
}

#[test]
fn ncftp() {
    if !has("ncftpget") || !has("ncftpput") {
        return;
    }
    let place = Place::new("ncftp");
    plant(&place.local.join("tree"));
    let address = place.server.v4;
    let port = address.port().to_string();
    let common = ["-u", "ann", "-p", "secret", "-P", &port, "-t", "30", "-V"];
    for mode in ["-F", "-E"] {
        let with = |program: &str, more: &[&str]| {
            place.run(program, &[&common[..], &[mode], more].concat())
        };
        with("ncftpput", &["-R", "127.0.0.1", "/", "tree"]);
        assert_same(&place.local.join("tree"), &place.remote.join("tree"));
        std::fs::create_dir(place.local.join("back")).unwrap();
        with("ncftpget", &["-R", "127.0.0.1", "back", "/tree"]);
        assert_same(&place.local.join("tree"), &place.local.join("back/tree"));
        // Resume.
        std::fs::write(place.local.join("large"), &large()[..123_456]).unwrap();
        with(
            "ncftpget",
            &["-z", "127.0.0.1", ".", "/tree/deep/er/est/large"],
        );
        place.same("large", "tree/deep/er/est/large");
        std::fs::remove_file(place.local.join("large")).unwrap();
        let listed = place.run(
            "ncftpls",
            &[&common[..8], &[mode, "-l", "ftp://127.0.0.1/tree/deep/"]].concat(),
        );
        assert!(listed.contains("zero"), "{listed}");
        std::fs::remove_dir_all(place.local.join("back")).unwrap();
        std::fs::remove_dir_all(place.remote.join("tree")).unwrap();
    }
}
