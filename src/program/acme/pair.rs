//! The certificate and its key as files, which are replaced together.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use openssl::pkey::{PKey, Private};
use wharf::daemon::Settings;

use super::client::AcmeResult;
use super::{identity, words};

/// The files that are kept up to date.
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Pair {
    /// Both files are written before one is renamed: a disk that becomes full
    /// leaves the old pair, never a key beside the certificate of another.
    pub(super) fn replace(
        &self,
        chain: &str,
        key: &PKey<Private>,
        settings: &Settings,
    ) -> AcmeResult<()> {
        let pem = key.private_key_to_pem_pkcs8().map_err(words)?;
        if self.key == self.certificate {
            let both = [chain.as_bytes(), &pem].concat();
            return NewFile::write(&self.certificate, &both, 0o600, settings)?.put();
        }
        let key = NewFile::write(&self.key, &pem, 0o600, settings)?;
        let certificate = NewFile::write(&self.certificate, chain.as_bytes(), 0o644, settings)?;
        key.put()?;
        certificate.put()
    }
}

/// A file beside the one that it replaces; removed if it does not come to that.
struct NewFile {
    path: PathBuf,
    new: PathBuf,
}

impl NewFile {
    /// Owner and mode are those of the old file; without one it is the server's.
    fn write(path: &Path, content: &[u8], mode: u32, settings: &Settings) -> AcmeResult<NewFile> {
        // A link, as in /etc/ssl, stays one.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let _ = std::fs::remove_file(&new);
        let file = NewFile {
            path,
            new: new.into(),
        };
        file.fill(content, mode, settings)
            .map_err(|error| format!("{}: {error}", file.new.display()))?;
        Ok(file)
    }

    fn fill(&self, content: &[u8], mode: u32, settings: &Settings) -> std::io::Result<()> {
        let mut open = OpenOptions::new();
        let open = open.write(true).create_new(true).mode(0o600);
        let mut file = open.open(&self.new)?;
        let before = std::fs::metadata(&self.path).ok();
        let owner = match &before {
            Some(before) => Some((before.uid(), before.gid())),
            None => identity::account(settings).ok(),
        };
        if let Some((uid, gid)) = owner
            && rustix::process::geteuid().is_root()
        {
            fchown(&file, Some(uid), Some(gid))?;
        }
        let mode = before.map_or(mode, |before| before.mode() & 0o777);
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn put(self) -> AcmeResult<()> {
        std::fs::rename(&self.new, &self.path)
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.new);
    }
}
