//! Apache commons-net for Java, which NiFi, Spring Integration, Camel and many
//! Android programs are built on: plain, and under TLS.
#![cfg(all(feature = "ftps", feature = "cli"))]

use crate::common::process::{client_in, has, run};
use crate::common::rng::Rng;
use crate::common::tls::secure;
use crate::common::{TempDir, server};

/// Debian's place for it.
const LIBRARY: &str = "/usr/share/java/commons-net.jar";

const PROGRAM: &str = r#"
import java.io.*;
import java.nio.file.*;
import java.util.*;
import org.apache.commons.net.ftp.*;
import org.apache.commons.net.util.TrustManagerUtils;

class Moves {
    static void check(boolean ok, FTPClient ftp, String what) {
        if (!ok) throw new RuntimeException(what + ": " + ftp.getReplyString());
    }
    static byte[] fetch(FTPClient ftp, String name) throws IOException {
        ByteArrayOutputStream got = new ByteArrayOutputStream();
        check(ftp.retrieveFile(name, got), ftp, "RETR " + name);
        return got.toByteArray();
    }
    static void moves(FTPClient ftp, int port, byte[] large) throws Exception {
        ftp.setConnectTimeout(20000);
        ftp.setDefaultTimeout(20000);
        ftp.setDataTimeout(java.time.Duration.ofSeconds(20));
        ftp.connect("127.0.0.1", port);
        check(FTPReply.isPositiveCompletion(ftp.getReplyCode()), ftp, "connect");
        if (ftp instanceof FTPSClient) {
            ((FTPSClient) ftp).execPBSZ(0);
            ((FTPSClient) ftp).execPROT("P");
        }
        check(ftp.login("ann", "secret"), ftp, "login");
        check(ftp.setFileType(FTP.BINARY_FILE_TYPE), ftp, "TYPE");
        check(ftp.hasFeature("MLST") && ftp.getSystemType().startsWith("UNIX"), ftp, "FEAT");
        ftp.setListHiddenFiles(true);
        check(ftp.makeDirectory("d") && ftp.changeWorkingDirectory("d"), ftp, "MKD");
        check(ftp.printWorkingDirectory().equals("/d"), ftp, "PWD");
        for (int way = 0; way < 3; way++) {
            if (way == 0) ftp.enterLocalActiveMode();
            else ftp.enterLocalPassiveMode();
            ftp.setUseEPSVwithIPv4(way == 2);
            check(ftp.storeFile(".large", new ByteArrayInputStream(large)), ftp, "STOR");
            check(ftp.setModificationTime(".large", "20240229123456"), ftp, "MFMT");
            check(ftp.getModificationTime(".large").contains("20240229123456"), ftp, "MDTM");
            check(ftp.rename(".large", "large " + way), ftp, "RNTO");
            check(Arrays.equals(fetch(ftp, "large " + way), large), ftp, "content");
            ftp.setRestartOffset(77777);
            byte[] rest = Arrays.copyOfRange(large, 77777, large.length);
            check(Arrays.equals(fetch(ftp, "large " + way), rest), ftp, "REST");
        }
        check(ftp.appendFile("large 1", new ByteArrayInputStream(new byte[4])), ftp, "APPE");
        check(ftp.storeUniqueFile("unique", new ByteArrayInputStream(large)), ftp, "STOU");
        FTPFile[] listed = ftp.listFiles("/d");
        // With . and .., which LIST -a has.
        check(listed.length == 6, ftp, "LIST " + listed.length);
        FTPFile[] facts = ftp.mlistDir();
        check(facts.length == 6, ftp, "MLSD " + facts.length);
        for (FTPFile file : facts)
            check(!file.getName().equals("large 1") || file.getSize() == large.length + 4
                && file.isFile() && file.getTimestamp() != null, ftp, file.toString());
        check(ftp.mlistFile("/d/large 0").getTimestamp().getTimeInMillis() == 1709210096000L,
            ftp, "MLST");
        for (String name : ftp.listNames())
            check(name.startsWith(".") || ftp.deleteFile(name), ftp, "DELE " + name);
        // Half a download, and the session goes on.
        check(ftp.storeFile("large", new ByteArrayInputStream(large)), ftp, "STOR");
        InputStream half = ftp.retrieveFileStream("large");
        half.read();
        half.close();
        ftp.completePendingCommand();
        check(ftp.sendNoOp() && ftp.deleteFile("large"), ftp, "after half");
        check(ftp.changeToParentDirectory() && ftp.removeDirectory("d"), ftp, "RMD");
        check(ftp.logout(), ftp, "QUIT");
        ftp.disconnect();
    }
    public static void main(String[] ports) throws Exception {
        byte[] large = Files.readAllBytes(Paths.get("large"));
        moves(new FTPClient(), Integer.parseInt(ports[0]), large);
        for (int way = 0; way < 2; way++) {
            FTPSClient ftp = new FTPSClient(way == 1);
            ftp.setTrustManager(TrustManagerUtils.getAcceptAllTrustManager());
            moves(ftp, Integer.parseInt(ports[way]), large);
        }
        System.out.println("done");
    }
}
"#;

#[test]
fn commons_net_moves_files() {
    if !(has("java") && has("ecj")) {
        return;
    }
    if !std::path::Path::new(LIBRARY).exists() {
        let needed = std::env::var_os("WHARF_NEED_CLIENTS").is_some();
        assert!(!needed, "{LIBRARY}: tests/install-clients.sh installs it");
        return eprintln!("SKIP {LIBRARY}");
    }
    let [remote, local] = ["remote", "local"].map(|name| TempDir::new(&format!("java-{name}")));
    let server = secure(server().directory(remote.path()));
    std::fs::write(local.join("large"), Rng::fixed(5).bytes(3 << 20)).unwrap();
    std::fs::write(local.join("Moves.java"), PROGRAM).unwrap();
    let compile = [
        "-nowarn",
        "-proc:none",
        "-source",
        "11",
        "-target",
        "11",
        "-cp",
        LIBRARY,
        "Moves.java",
    ];
    run(client_in(local.path(), "ecj").args(compile), "");
    let ports = [server.v4.port(), server.implicit.port()].map(|port| port.to_string());
    let classes = format!("{LIBRARY}:{}", local.path().display());
    let mut java = client_in(local.path(), "java");
    // The compiler that makes fast code costs more than it gains here.
    java.args(["-XX:TieredStopAtLevel=1", "-cp", &classes, "Moves"])
        .args(ports);
    let said = run(&mut java, "");
    assert!(said.lines().any(|line| line == "done"), "{said}");
}
