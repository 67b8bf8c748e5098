//! What a server is told: [`Config`], plain fields with safe defaults.
//!
//! Embedding programs set fields. The daemon has `settings`, which are these
//! and its own; `keys` is the table of all of them, and `source` reads them
//! from the command line, the environment and the configuration file.

pub(crate) mod keys;
mod node;
pub(crate) mod profile;
mod range;
pub(crate) mod settings;
pub(crate) mod source;
mod ssh;
pub(crate) mod told;
mod value;
mod zone;

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crate::address::Network;
use crate::auth::QuotaFull;
use told::ToldAddress;

pub use node::Node;
pub use ssh::Ssh;
pub use value::{Endpoint, ExternalAddress, Mode, PortRange};
pub use zone::Zone;

/// Everything a server can be told. Times of zero and counts of `0` mean
/// "no limit" wherever a limit is meant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where FTP is served.
    pub listen: Vec<Endpoint>,
    /// Where FTPS is served from the first byte (implicit).
    pub listen_ftps: Vec<Endpoint>,
    /// Where SFTP is served.
    pub listen_sftp: Vec<Endpoint>,
    /// Certificates in PEM, each with its chain; the first is for clients that
    /// ask for no name.
    pub tls_cert: Vec<PathBuf>,
    /// Their keys in the same order; none: the certificates' files hold them.
    pub tls_key: Vec<PathBuf>,
    /// A file with the password of encrypted keys.
    pub tls_key_password_file: Option<PathBuf>,
    /// Makes a key and a certificate in `state_dir` on first start.
    pub self_signed: bool,
    /// Names in the certificate that `self_signed` makes.
    pub self_signed_names: Vec<String>,
    /// What named users may not do without TLS.
    pub tls_required: TlsRequired,
    /// What anonymous users may not do without TLS.
    pub tls_required_anonymous: TlsRequired,
    /// Whether data connections must resume the control connection's session.
    pub tls_reuse: TlsReuse,
    /// Uploads under TLS may end without close_notify, as old clients do; a
    /// cut upload then looks whole.
    pub tls_relaxed_close: bool,
    /// The oldest version of TLS; `Default` is 1.2, or what the system's
    /// openssl.cnf says if that is newer.
    pub tls_min: TlsMin,
    /// Cipher suites in OpenSSL's names, colons between; none: an order that
    /// fits the processor (feature `tls13`).
    pub tls_ciphers: Option<String>,
    /// Groups of the key exchange in OpenSSL's names, colons between; none:
    /// those of OpenSSL or of the system's openssl.cnf (feature `tls13`).
    pub tls_curves: Option<String>,
    /// Networks whose clients may use TLS 1.0 and 1.1 (feature `tls13`).
    pub tls_old_clients: Vec<Network>,
    /// Authorities of client certificates (feature `tls13`).
    pub tls_client_ca: Option<PathBuf>,
    /// Revoked client certificates (feature `tls13`).
    pub tls_client_crl: Option<PathBuf>,
    /// Whether clients show certificates (feature `tls13`).
    pub tls_client_certificate: ClientCertificate,
    /// CCC is allowed.
    pub ccc: bool,
    /// Keys of the SSH server; what does not exist is made. None: one in
    /// `state_dir`.
    pub host_key: Vec<PathBuf>,
    /// How the SSH server speaks.
    pub ssh: Ssh,
    /// Where keys are kept that the server makes itself.
    pub state_dir: Option<PathBuf>,
    /// This node's number among the nodes of one service; takes its slice of
    /// `passive_ports`.
    pub node: Option<Node>,
    /// The name of this machine in `shared_dir` and in the daemon's log, for
    /// sites with many; `None`: its number among the nodes, or its host name.
    pub node_name: Option<String>,
    /// Balancers whose PROXY header says who the client is.
    pub proxy_from: Vec<Network>,
    /// How such a balancer's data connections show whose they are.
    pub proxy_data: ProxyData,
    /// Ports for the balancer's health check.
    pub listen_health: Vec<Endpoint>,
    /// While this file exists, the health check fails.
    pub drain_file: Option<PathBuf>,
    /// How long the health check fails before SIGTERM closes the ports.
    pub drain_delay: Duration,
    /// A directory on a disk shared by all nodes: bans and sessions of users.
    pub shared_dir: Option<PathBuf>,
    /// Greeting of FTP in the 220 reply; one line, because scanners and
    /// cameras stumble over more.
    pub banner: String,
    /// Passive data ports.
    pub passive_ports: PortRange,
    /// The address that the 227 reply names to clients outside the local
    /// networks; `None`: the address that the client has connected to.
    pub passive_address: Option<ExternalAddress>,
    /// Clients from these networks are told the address they have connected
    /// to, whatever `passive_address` says.
    pub passive_local_networks: Vec<Network>,
    /// All sessions share the passive ports, told apart by the client's
    /// address or its TLS session: for containers that publish one port or a
    /// few.
    pub shared_data_ports: bool,
    /// Whether PORT and EPRT are allowed.
    pub active_mode: bool,
    /// Who may open a data connection.
    pub data_peer: DataPeer,
    /// Addresses that may open a data connection besides those of `data_peer`.
    pub data_peer_allow: Vec<Network>,
    /// Threads, and so sessions, at the same time.
    pub threads: u32,
    /// Sessions of one address (IPv6: of one /64).
    pub max_per_address: u32,
    /// Sessions of one user.
    pub max_per_user: u32,
    /// Sessions that have not logged in.
    pub max_unauthenticated: u32,
    /// Sessions of one address that have not logged in.
    pub max_unauthenticated_per_address: u32,
    /// Only these networks may connect; empty: all.
    pub allow: Vec<Network>,
    /// These networks may not connect.
    pub deny: Vec<Network>,
    /// How long a login may take from the connection on.
    pub login_timeout: Duration,
    /// Failed logins after which the connection is closed.
    pub login_tries: u32,
    /// Wait after a failed login.
    pub login_delay: Duration,
    /// Failed logins of one address that ban it.
    pub ban_after: u32,
    /// How long bans hold, and failures are remembered: the first ban of an
    /// address, and the longest; each is twice as long as the one before.
    pub ban_time: RangeInclusive<Duration>,
    /// Networks that are never banned.
    pub ban_exempt: Vec<Network>,
    /// How long a session may be silent; does not run during a transfer.
    pub idle_timeout: Duration,
    /// How long a transfer, or a reply, may stand still: nothing comes, or
    /// nothing is acknowledged.
    pub stall_timeout: Duration,
    /// The congestion control of data connections and of SSH: `auto` (bbr for
    /// clients that are far away), `system`, or a name.
    pub tcp_congestion: String,
    /// How long to wait for a data connection.
    pub data_connect_timeout: Duration,
    /// How long a session may last.
    pub session_timeout: Duration,
    /// Commands a second, averaged over ten seconds.
    pub max_commands_per_second: u32,
    /// Bytes a second to all clients together.
    pub rate_down: u64,
    /// Bytes a second from all clients together.
    pub rate_up: u64,
    /// Bytes a second to one session.
    pub session_rate_down: u64,
    /// Bytes a second from one session.
    pub session_rate_up: u64,
    /// Uploads appear under their name when they are whole.
    pub atomic_uploads: bool,
    /// Anonymous users read only files whose mode lets everybody read.
    pub anonymous_world_readable: bool,
    /// An upload is acknowledged when the disk has it.
    pub fsync_uploads: bool,
    /// Broken uploads that are not atomic are deleted.
    pub delete_broken_uploads: bool,
    /// Whether TYPE A converts line ends. Otherwise it is accepted, and files
    /// travel as they are.
    pub ascii: bool,
    /// In what time LIST shows when files were changed.
    pub list_time: ListTime,
    /// Names that HOST accepts, besides those of the certificates.
    pub host_names: Vec<String>,
    /// Whether an FTP upload counts as cut off when its client closes the
    /// control connection together with the data connection.
    pub strict_end: bool,
    /// Rename files between two file systems by copying them.
    pub cross_device_rename: bool,
    /// Bytes that all files of a user's home may take.
    pub quota_bytes: u64,
    /// Files that a user's home may hold.
    pub quota_files: u64,
    /// What happens when a quota is full.
    pub quota_full: QuotaFull,
    /// After which time without a change a file in the home of a user who may
    /// store is deleted.
    pub retention: Duration,
    /// How long after the end of a session its user may still rename, replace
    /// and delete what it has made, from the same address.
    pub own_for: Duration,
    /// Whether the SHA-256 of each upload is written down, and where.
    pub upload_receipt: UploadReceipt,
    /// Permission bits of uploaded files.
    pub file_mode: Mode,
    /// Permission bits of new directories.
    pub dir_mode: Mode,
    /// Names beginning with a dot: shown and used, or not.
    pub dot_files: DotFiles,
    /// Names that nobody may see or use: patterns with `*` and `?`.
    pub deny_names: Vec<String>,
    /// Commands that are refused, such as `DELE` or `SITE CHMOD`.
    pub deny_commands: Vec<String>,
    /// Which symbolic links clients may make, by SITE SYMLINK and over SFTP.
    pub site_symlink: Symlinks,
    /// Entries that one listing, RMDA or DSIZ may visit below its start.
    pub max_recursion: u64,
}

/// Who may open a data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataPeer {
    /// The address of the control connection.
    SameAddress,
    /// The /24 (IPv4) or /64 (IPv6) of the control connection.
    SameNetwork,
    /// Anybody. Opens the door to stolen transfers and to FXP.
    Any,
}

/// What tells whose a data connection is that a balancer of `proxy_from` has
/// made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyData {
    /// A PROXY header in front of it: the client's address, to be checked as
    /// ever.
    Header,
    /// There is no header. It must come through the control connection's
    /// balancer and resume the control connection's TLS session.
    Tls,
}

/// What can't be done without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsRequired {
    /// Nothing.
    No,
    /// Logging in.
    Login,
    /// Logging in and moving data.
    Data,
}

/// Whether clients show certificates (only with the feature `tls13`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ClientCertificate {
    /// None is asked for.
    #[default]
    No,
    /// One is asked for; who has none goes on without.
    Optional,
    /// Without one of the authority's certificates there is no session.
    Required,
}

/// The oldest version of TLS that clients may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TlsMin {
    /// 1.2, or what the system's openssl.cnf says if that is newer.
    #[default]
    Default,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Whether a data connection must resume the TLS session of its control
/// connection, which proves that both are of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsReuse {
    /// It does not matter.
    Off,
    /// Clients that can't are served all the same.
    Prefer,
    /// Clients that don't are refused.
    Require,
}

/// Where the SHA-256 of an upload is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UploadReceipt {
    /// Nowhere; it is not made.
    No,
    /// In the log, the transfer log and the environment of hooks.
    Log,
    /// There, and in a file beside the upload.
    Sidecar,
}

/// In what time LIST shows when files were changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListTime {
    /// UTC, as in MLSD and MDTM.
    Utc,
    /// The time zone of the machine.
    Local,
    /// Another one.
    Zone(Arc<Zone>),
}

/// Which symbolic links clients may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Symlinks {
    /// None.
    No,
    /// Relative ones that stay inside the home, whoever follows them.
    Inside,
    /// Any. The server follows none out of the home; other programs do.
    Anywhere,
}

/// What is done with names that begin with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DotFiles {
    /// Like any name; a listing shows them when asked (`LIST -a`) and MLSD always.
    Show,
    /// Never listed, but there for those who know the name.
    Hide,
    /// Neither listed nor usable.
    Deny,
}

impl Config {
    /// What a client at `peer`, which has connected to `own`, is told in the
    /// 227 reply. `resolve` asks for the address of a name.
    pub(crate) fn told_address(
        &self,
        own: IpAddr,
        peer: IpAddr,
        resolve: impl FnOnce(&str) -> Option<Ipv4Addr>,
    ) -> ToldAddress {
        let IpAddr::V4(own) = own.to_canonical() else {
            return ToldAddress::OnlyIpv6;
        };
        let mut local = self.passive_local_networks.iter();
        let external = match &self.passive_address {
            Some(external) if !local.any(|network| network.contains(peer)) => external,
            _ => return ToldAddress::Known(own),
        };
        match external {
            ExternalAddress::Fixed(address) => ToldAddress::Known(*address),
            ExternalAddress::Name(name) => match resolve(name) {
                Some(address) => ToldAddress::Known(address),
                // Our own address would be a wrong one there.
                None => ToldAddress::Unresolved,
            },
        }
    }

    /// What this node is called: `node_name`, or `node3` by its number.
    pub(crate) fn own_name(&self) -> Option<String> {
        let numbered = || self.node.map(|node| format!("node{}", node.number));
        self.node_name.clone().or_else(numbered)
    }

    /// The passive ports of this node: all, or its slice.
    pub(crate) fn own_passive_ports(&self) -> PortRange {
        self.node
            .and_then(|node| node.slice(self.passive_ports))
            .unwrap_or(self.passive_ports)
    }
}

impl Default for Config {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Config {
            listen: Vec::new(),
            listen_ftps: Vec::new(),
            listen_sftp: Vec::new(),
            tls_cert: Vec::new(),
            tls_key: Vec::new(),
            tls_key_password_file: None,
            self_signed: false,
            self_signed_names: Vec::new(),
            tls_required: TlsRequired::No,
            tls_required_anonymous: TlsRequired::No,
            tls_reuse: TlsReuse::Prefer,
            tls_relaxed_close: false,
            tls_min: TlsMin::Default,
            tls_ciphers: None,
            tls_curves: None,
            tls_old_clients: Vec::new(),
            tls_client_ca: None,
            tls_client_crl: None,
            tls_client_certificate: ClientCertificate::No,
            ccc: false,
            host_key: Vec::new(),
            ssh: Ssh::default(),
            state_dir: None,
            node: None,
            node_name: None,
            proxy_from: Vec::new(),
            proxy_data: ProxyData::Header,
            listen_health: Vec::new(),
            drain_file: None,
            drain_delay: seconds(0),
            shared_dir: None,
            banner: "wharf ready".into(),
            // The dynamic ports of RFC 6335, section 6.
            passive_ports: PortRange {
                first: 49152,
                last: 65535,
            },
            passive_address: None,
            passive_local_networks: [
                "10.0.0.0/8",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "127.0.0.0/8",
                "169.254.0.0/16",
            ]
            .iter()
            .filter_map(|network| Network::read(network).ok())
            .collect(),
            shared_data_ports: false,
            active_mode: true,
            data_peer: DataPeer::SameAddress,
            data_peer_allow: Vec::new(),
            threads: 200,
            max_per_address: 50,
            max_per_user: 0,
            max_unauthenticated: 0,
            max_unauthenticated_per_address: 32,
            allow: Vec::new(),
            deny: Vec::new(),
            login_timeout: seconds(60),
            login_tries: 5,
            login_delay: seconds(1),
            ban_after: 20,
            ban_time: seconds(600)..=seconds(600),
            ban_exempt: Vec::new(),
            idle_timeout: seconds(300),
            stall_timeout: seconds(300),
            tcp_congestion: "auto".into(),
            data_connect_timeout: seconds(30),
            session_timeout: seconds(0),
            max_commands_per_second: 0,
            rate_down: 0,
            rate_up: 0,
            session_rate_down: 0,
            session_rate_up: 0,
            atomic_uploads: false,
            anonymous_world_readable: false,
            fsync_uploads: false,
            delete_broken_uploads: false,
            strict_end: false,
            cross_device_rename: true,
            ascii: true,
            list_time: ListTime::Utc,
            host_names: Vec::new(),
            quota_bytes: 0,
            quota_files: 0,
            quota_full: QuotaFull::Refuse,
            retention: seconds(0),
            own_for: seconds(300),
            upload_receipt: UploadReceipt::No,
            file_mode: Mode(0o644),
            dir_mode: Mode(0o755),
            dot_files: DotFiles::Show,
            deny_names: Vec::new(),
            deny_commands: Vec::new(),
            site_symlink: Symlinks::No,
            max_recursion: 1_000_000,
        }
    }
}
