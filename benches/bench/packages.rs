//! The peers' Debian packages, unpacked side by side below `target/peers`.
//!
//! Nothing is installed: `apt-get download` fetches, `dpkg -x` unpacks, and shared libraries the machine
//! lacks are put on `LD_LIBRARY_PATH` of the peers alone.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The servers compared with wharfd, and what they need to start.
const PACKAGES: &[&str] = &[
    "vsftpd",
    "pure-ftpd",
    "pure-ftpd-common",
    "proftpd-core",
    "proftpd-mod-crypto",
    "openssh-server",
    "openssh-sftp-server",
];

/// Shared libraries that a small Debian system may lack: file name and package.
const LIBRARIES: &[(&str, &str)] = &[
    ("libwrap.so.0", "libwrap0"),
    ("libpam.so.0", "libpam0g"),
    ("libcap.so.2", "libcap2"),
    ("libsodium.so.23", "libsodium23"),
    ("libhiredis.so.0.14", "libhiredis0.14"),
    ("libmemcached.so.11", "libmemcached11"),
    ("libmemcachedutil.so.2", "libmemcachedutil2"),
    ("libhashkit.so.2", "libhashkit2"),
    ("libpcre2-8.so.0", "libpcre2-8-0"),
    ("libpcre2-posix.so.3", "libpcre2-posix3"),
    ("libidn2.so.0", "libidn2-0"),
    ("libacl.so.1", "libacl1"),
    ("libsystemd.so.0", "libsystemd0"),
];

/// Where the unpacked peers are.
#[derive(Clone, Debug)]
pub struct Packages {
    root: PathBuf,
}

impl Packages {
    /// Downloads and unpacks what is missing below `directory`.
    pub fn unpack(directory: &Path) -> Result<Packages> {
        let packages = Packages {
            root: directory.join("root"),
        };
        let done = directory.join("unpacked");
        if std::fs::read_to_string(&done).unwrap_or_default() == PACKAGES.join(" ") {
            return Ok(packages);
        }
        std::fs::create_dir_all(&packages.root)?;
        fetch(directory, &packages.root, PACKAGES)?;
        let missing: Vec<&str> = LIBRARIES
            .iter()
            .filter(|(file, _)| !library_present(file))
            .map(|(_, package)| *package)
            .collect();
        fetch(directory, &packages.root, &missing)?;
        std::fs::write(done, PACKAGES.join(" "))?;
        Ok(packages)
    }

    /// A file of the unpacked tree, such as `usr/sbin/vsftpd`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The value of `LD_LIBRARY_PATH` that lets a peer find unpacked libraries.
    pub fn library_path(&self) -> String {
        let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
        format!("{0}/usr/lib/{triple}:{0}/lib/{triple}", self.root.display())
    }
}

fn library_present(file: &str) -> bool {
    let Ok(output) = Command::new("/sbin/ldconfig").arg("-p").output() else {
        return false;
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .any(|line| line.trim_start().starts_with(&format!("{file} ")))
}

fn fetch(directory: &Path, root: &Path, packages: &[&str]) -> Result<()> {
    for package in packages {
        let status = Command::new("apt-get")
            .args(["-qq", "-o", "APT::Sandbox::User=root", "download", package])
            .current_dir(directory)
            .status()?;
        if !status.success() {
            return Err(format!("apt-get download {package} failed; try apt-get update").into());
        }
        let prefix = format!("{package}_");
        let archive = std::fs::read_dir(directory)?
            .filter_map(std::result::Result::ok)
            .map(|entry| entry.path())
            .find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&prefix) && name.ends_with(".deb")
            })
            .ok_or_else(|| format!("{package} was not downloaded"))?;
        let status = Command::new("dpkg")
            .arg("-x")
            .arg(&archive)
            .arg(root)
            .status()?;
        if !status.success() {
            return Err(format!("dpkg -x {} failed", archive.display()).into());
        }
    }
    Ok(())
}
