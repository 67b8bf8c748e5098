//! Starting and stopping the servers under test, all alike: the same home, user, password hash and certificate,
//! no transfer log, no delay after a login, no limits in the way.

use crate::isolate;
use crate::packages::Packages;
use crate::{Result, measure};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Ours.
    Wharf,
    /// vsftpd, Debian's package.
    Vsftpd,
    /// Pure-FTPd, Debian's package.
    PureFtpd,
    /// ProFTPD, Debian's package.
    ProFtpd,
    /// The bare loop of [`crate::bare`]: what the kernel allows, without a server's work.
    Bare,
    /// OpenSSH's sshd, Debian's package.
    Sshd,
}

impl Kind {
    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Wharf => "wharfd",
            Kind::Vsftpd => "vsftpd",
            Kind::PureFtpd => "Pure-FTPd",
            Kind::ProFtpd => "ProFTPD",
            Kind::Bare => "bare loop",
            Kind::Sshd => "OpenSSH",
        }
    }

    /// Neither ours nor the bare loop.
    pub fn is_peer(self) -> bool {
        !matches!(self, Kind::Wharf | Kind::Bare)
    }

    fn port(self) -> u16 {
        2101 + self as u16
    }
}

/// Tells the reaper that the server gets one CPU only.
const ONE_CORE: &str = "WHARF_BENCH_ONE_CORE";

/// What servers are started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The peers' files.
    pub packages: Packages,
    /// The wharfd to measure.
    pub wharfd: PathBuf,
    /// Certificate and key, one PEM file, for the rows that need TLS.
    pub certificate: Option<PathBuf>,
    /// The threads wharfd may have: at least as many as a row has sessions.
    pub threads: usize,
    /// Where it listens.
    pub address: Ipv4Addr,
    /// Speak SFTP instead of FTP.
    pub sftp: bool,
    /// wharfd serves users of the system, as the peers always do.
    pub system: bool,
    /// Server and client share the first CPU.
    pub one_core: bool,
}

/// A server that answers on its port; dropping it ends the server.
pub struct Running {
    /// Which one.
    pub kind: Kind,
    /// Its port.
    pub port: u16,
    address: Ipv4Addr,
    reaper: Child,
    processes: usize,
}

impl Running {
    /// Starts a server and waits until it greets.
    pub fn start(kind: Kind, setup: &Setup) -> Result<Running> {
        Running::start_on(kind.port(), kind, setup)
    }

    /// Starts a server on a port of its own, beside others of its kind.
    pub fn start_on(port: u16, kind: Kind, setup: &Setup) -> Result<Running> {
        let (program, arguments) = command_line(kind, setup, port, false)?;
        let reaper = reaped(kind, setup, &program, &arguments)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut running = Running {
            kind,
            port,
            address: setup.address,
            reaper,
            processes: 0,
        };
        running.wait_until_ready()?;
        Ok(running)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let address = SocketAddr::from((self.address, self.port));
            if TcpStream::connect(address).is_ok() {
                break;
            }
            if let Some(status) = self.reaper.try_wait()? {
                return Err(format!(
                    "{} ended: {status}; see {}",
                    self.kind.name(),
                    log_path(self.kind)
                )
                .into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not listen", self.kind.name()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // The probe's own session must be over before anything is counted.
        std::thread::sleep(Duration::from_millis(200));
        self.processes = measure::tree(self.reaper.id()).len();
        Ok(())
    }

    /// The process whose tree is the server's.
    pub fn root(&self) -> u32 {
        self.reaper.id()
    }

    /// CPU time so far, in seconds, after the processes of ended sessions have gone.
    pub fn cpu(&self) -> f64 {
        measure::settle(self.root(), self.processes);
        measure::cpu(self.root()).as_secs_f64()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            for pid in &measure::tree(self.root())[1..] {
                if let Some(pid) = rustix::process::Pid::from_raw(*pid as i32) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            if matches!(self.reaper.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The body of `--reap PROGRAM ARGUMENT...`: starts the program, inherits its orphans and reaps them, so that
/// the CPU time of every process it ever had ends up in this process's account.
pub fn reap(arguments: &[String]) -> Result<()> {
    let (program, rest) = arguments.split_first().ok_or("--reap needs a program")?;
    pin(std::env::var_os(ONE_CORE).is_some())?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let _child = Command::new(program).args(rest).spawn()?;
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Ok(()),
        }
    }
}

/// A command that runs `program` below a reaper, on the CPUs the setup asks for, standard error to a log.
pub fn reaped(kind: Kind, setup: &Setup, program: &Path, arguments: &[String]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--reap")
        .arg(program)
        .args(arguments)
        .env("LD_LIBRARY_PATH", setup.packages.library_path())
        .stderr(log_file(kind)?);
    if setup.one_core {
        command.env(ONE_CORE, "1");
    }
    Ok(command)
}

/// Keeps this thread and what it starts on the first CPU, or lets it run on all.
pub fn pin(one_core: bool) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    let count = if one_core {
        1
    } else {
        rustix::thread::CpuSet::MAX_CPU
    };
    (0..count).for_each(|cpu| set.set(cpu));
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// What the server wrote on standard error.
pub fn log_path(kind: Kind) -> String {
    format!("{}/{}.log", isolate::PLACE, kind.name().replace(' ', "-"))
}

fn log_file(kind: Kind) -> Result<std::fs::File> {
    Ok(std::fs::File::create(log_path(kind))?)
}

/// Program and arguments of a server on `port`, or of one that serves descriptor 0.
pub fn command_line(
    kind: Kind,
    setup: &Setup,
    port: u16,
    inetd: bool,
) -> Result<(PathBuf, Vec<String>)> {
    let place = Path::new(isolate::PLACE);
    let address = setup.address;
    let home = isolate::home().display().to_string();
    let certificate = setup
        .certificate
        .as_ref()
        .map(|path| path.display().to_string());
    let words = |text: String| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    Ok(match kind {
        Kind::Wharf => {
            let users = place.join("users");
            std::fs::write(
                &users,
                format!(
                    "{}:{}:{home}:read-write:keys={}/authorized-keys\n",
                    isolate::USER,
                    isolate::HASH,
                    isolate::PLACE
                ),
            )?;
            let (users, user) = if setup.system {
                ("--system-users".to_owned(), "")
            } else {
                (format!("--users {}", users.display()), " --user bench")
            };
            let mut arguments = format!("{users} --anonymous {home} --log-level error");
            let threads = setup.threads;
            arguments += &if inetd {
                " --inetd".to_owned()
            } else {
                let listen = if setup.sftp {
                    format!("--host-key {}/host-key --listen-sftp", isolate::PLACE)
                } else {
                    "--listen".to_owned()
                };
                format!(
                    " {listen} {address}:{port} --threads {threads} --max-per-address {threads} --max-per-user 0 \
                     --max-unauthenticated {threads} \
                     --max-unauthenticated-per-address {threads} --login-delay 0{user}"
                )
            };
            if let Some(file) = certificate {
                arguments += &format!(" --tls-cert {file} --tls-key {file}");
            }
            (setup.wharfd.clone(), known(&setup.wharfd, words(arguments)))
        }
        Kind::Vsftpd => {
            let file = write(
                place,
                "vsftpd.conf",
                &vsftpd((address, port), &home, certificate.as_deref(), inetd),
            )?;
            (setup.packages.file("usr/sbin/vsftpd"), vec![file])
        }
        Kind::ProFtpd => {
            let modules = setup.packages.file("usr/lib/proftpd").display().to_string();
            let text = proftpd(
                (address, port),
                &home,
                &modules,
                certificate.as_deref(),
                inetd,
            );
            let file = write(place, "proftpd.conf", &text)?;
            (
                setup.packages.file("usr/sbin/proftpd"),
                vec!["-n".into(), "-q".into(), "-c".into(), file],
            )
        }
        Kind::PureFtpd => {
            let mut arguments = "-l unix -A -H -u 100 -L 1000000:20 -f none -I 60".to_owned();
            if !inetd {
                arguments += &format!(
                    " -S {address},{port} -c 20000 -C 20000 -g {}/pure.pid",
                    isolate::PLACE
                );
            }
            if let Some(file) = certificate {
                arguments += &format!(" -Y 1 -2 {file}");
            }
            (setup.packages.file("usr/sbin/pure-ftpd"), words(arguments))
        }
        Kind::Bare => (
            std::env::current_exe()?,
            ["--bare".into(), port.to_string(), home]
                .into_iter()
                .chain(certificate)
                .collect(),
        ),
        Kind::Sshd => {
            let file = write(place, "sshd.conf", &sshd((address, port)))?;
            let words = ["-D", "-e", "-f", &file].map(str::to_owned);
            (setup.packages.file("usr/sbin/sshd"), words.to_vec())
        }
    })
}

/// Leaves out the options that this wharfd's `--help` does not have, so that older versions and smaller builds
/// can be measured, too.
fn known(wharfd: &Path, arguments: Vec<String>) -> Vec<String> {
    let help = Command::new(wharfd).arg("--help").output();
    let help = help.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    let has = |option: &str| {
        help.split_whitespace()
            .any(|word| word.trim_matches(',') == option)
    };
    let mut kept = Vec::new();
    let mut keep = true;
    for argument in arguments {
        if argument.starts_with("--") {
            keep = has(&argument);
        }
        if keep {
            kept.push(argument);
        }
    }
    kept
}

fn write(place: &Path, name: &str, text: &str) -> Result<String> {
    let path = place.join(name);
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn vsftpd(
    (address, port): (Ipv4Addr, u16),
    home: &str,
    certificate: Option<&str>,
    inetd: bool,
) -> String {
    let mut text = format!(
        "background=NO\nanonymous_enable=YES\nanon_root={home}\nlocal_enable=YES\nwrite_enable=YES\n\
         chroot_local_user=YES\nallow_writeable_chroot=YES\npam_service_name=wharf-bench\n\
         secure_chroot_dir=/run/empty\nmax_clients=0\nmax_per_ip=0\nxferlog_enable=NO\n\
         session_support=NO\nmax_login_fails=3\n"
    );
    text += &if inetd {
        "listen=NO\n".to_owned()
    } else {
        format!("listen=YES\nlisten_address={address}\nlisten_port={port}\n")
    };
    if let Some(file) = certificate {
        text += &format!(
            "ssl_enable=YES\nallow_anon_ssl=YES\nforce_local_logins_ssl=NO\nforce_local_data_ssl=NO\n\
             rsa_cert_file={file}\nrsa_private_key_file={file}\nrequire_ssl_reuse=NO\nssl_ciphers=HIGH\n"
        );
    }
    text
}

fn proftpd(
    (address, port): (Ipv4Addr, u16),
    home: &str,
    modules: &str,
    certificate: Option<&str>,
    inetd: bool,
) -> String {
    let server_type = if inetd { "inetd" } else { "standalone" };
    let place = isolate::PLACE;
    let mut text = format!(
        "ServerType {server_type}\nPort {port}\nDefaultAddress {address}\nUseIPv6 off\nUser nobody\nGroup nogroup\n\
         ModulePath {modules}\nPidFile {place}/proftpd.pid\nScoreboardFile {place}/proftpd.scoreboard\n\
         DelayEngine off\nUseReverseDNS off\nAuthPAM off\nRequireValidShell off\nWtmpLog off\nTransferLog NONE\n\
         SystemLog NONE\nDefaultRoot ~\nMaxInstances 20000\nAllowOverwrite on\n\
         <Anonymous {home}>\n  User ftp\n  Group ftp\n  UserAlias anonymous ftp\n</Anonymous>\n"
    );
    if let Some(file) = certificate {
        text = text.replacen("PidFile", "LoadModule mod_tls.c\nPidFile", 1);
        text += &format!(
            "TLSEngine on\nTLSProtocol TLSv1.2 TLSv1.3\nTLSRSACertificateFile {file}\n\
             TLSRSACertificateKeyFile {file}\nTLSRequired off\nTLSVerifyClient off\nTLSOptions NoSessionReuseRequired\n"
        );
    }
    text
}

fn sshd((address, port): (Ipv4Addr, u16)) -> String {
    let place = isolate::PLACE;
    format!(
        "ListenAddress {address}\nPort {port}\nHostKey {place}/host-key\nAuthorizedKeysFile {place}/authorized-keys\n\
         StrictModes no\nUsePAM no\nPidFile none\nMaxStartups 1000\nLogLevel ERROR\nSubsystem sftp internal-sftp\n"
    )
}
