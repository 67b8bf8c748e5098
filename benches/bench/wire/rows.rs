//! What is measured over a wire, by clients that people have.

use super::{SERVER, Wire};
use crate::servers::Kind;
use crate::{Result, isolate};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a row tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Megabytes a second of a large file.
    Rate,
    /// Seconds.
    Seconds,
    /// Round trips of the wire.
    Trips,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Rate => "MB/s",
            Unit::Seconds => "s",
            Unit::Trips => "round trips",
        }
    }

    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Rate => format!("{value:.1}"),
            Unit::Seconds => format!("{value:.2}"),
            Unit::Trips => format!("{value:.1}"),
        }
    }
}

/// How a row's client speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Ftp,
    Ftps,
    Sftp,
}

pub struct Row {
    pub name: &'static str,
    pub unit: Unit,
    speaks: Speaks,
    /// A shell's line; `$P` is the port, `$S` the server, `$U` user and password, `$K` the place of keys.
    line: &'static str,
}

const fn row(name: &'static str, unit: Unit, speaks: Speaks, line: &'static str) -> Row {
    Row {
        name,
        unit,
        speaks,
        line,
    }
}

const CURL: &str = "curl -sS -k -m 60 ";
const SFTP: &str = "-q -F none -i $K/user-key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -P $P";

use Speaks::{Ftp, Ftps, Sftp};
use Unit::{Rate, Seconds, Trips};

pub const ROWS: &[Row] = &[
    row(
        "login",
        Trips,
        Ftp,
        "$CURL -o /dev/null -Q NOOP -I ftp://$U@$S:$P/",
    ),
    row(
        "login, TLS 1.2",
        Trips,
        Ftps,
        "$CURL --tls-max 1.2 --ssl-reqd -o /dev/null -I ftp://$U@$S:$P/",
    ),
    row(
        "login, TLS 1.3",
        Trips,
        Ftps,
        "$CURL --tlsv1.3 --ssl-reqd -o /dev/null -I ftp://$U@$S:$P/",
    ),
    row("login, SSH", Trips, Sftp, "echo | sftp $SFTP -b - bench@$S"),
    row(
        "login and a small RETR",
        Trips,
        Ftp,
        "$CURL -o /dev/null ftp://$U@$S:$P/small",
    ),
    row(
        "login and a small STOR",
        Trips,
        Ftp,
        "$CURL -T $K/small ftp://$U@$S:$P/up/s",
    ),
    row(
        "login and a small RETR, PROT P",
        Trips,
        Ftps,
        "$CURL --ssl-reqd -o /dev/null ftp://$U@$S:$P/small",
    ),
    row(
        "login and a small STOR, PROT P",
        Trips,
        Ftps,
        "$CURL --ssl-reqd -T $K/small ftp://$U@$S:$P/up/s",
    ),
    row(
        "login and a small SFTP get",
        Trips,
        Sftp,
        "echo get small /dev/null | sftp $SFTP -b - bench@$S",
    ),
    row(
        "login and a small SFTP put",
        Trips,
        Sftp,
        "echo put $K/small up/s | sftp $SFTP -b - bench@$S",
    ),
    row("RETR", Rate, Ftp, "$CURL -o /dev/null ftp://$U@$S:$P/large"),
    row("STOR", Rate, Ftp, "$CURL -T $K/large ftp://$U@$S:$P/up/l"),
    row(
        "RETR, PROT P",
        Rate,
        Ftps,
        "$CURL --ssl-reqd -o /dev/null ftp://$U@$S:$P/large",
    ),
    row(
        "STOR, PROT P",
        Rate,
        Ftps,
        "$CURL --ssl-reqd -T $K/large ftp://$U@$S:$P/up/l",
    ),
    row(
        "sftp get",
        Rate,
        Sftp,
        "echo get large /dev/null | sftp $SFTP -b - bench@$S",
    ),
    row(
        "sftp put",
        Rate,
        Sftp,
        "echo put $K/large up/l | sftp $SFTP -b - bench@$S",
    ),
    row(
        "sftp -R 512 get",
        Rate,
        Sftp,
        "echo get large /dev/null | sftp -R 512 $SFTP -b - bench@$S",
    ),
    row(
        "sftp -R 512 put",
        Rate,
        Sftp,
        "echo put $K/large up/l | sftp -R 512 $SFTP -b - bench@$S",
    ),
    row(
        "rclone SFTP get",
        Rate,
        Sftp,
        "rclone --config /dev/null --sftp-host=$S --sftp-port=$P --sftp-user=bench --sftp-key-file=$K/user-key --sftp-chunk-size=255k --sftp-disable-hashcheck copyto :sftp:large $K/got",
    ),
    row(
        "rclone SFTP put",
        Rate,
        Sftp,
        "rclone --config /dev/null --sftp-host=$S --sftp-port=$P --sftp-user=bench --sftp-key-file=$K/user-key --sftp-chunk-size=255k --sftp-disable-hashcheck --ignore-times copyto $K/large :sftp:up/r",
    ),
    row(
        "40 small files (lftp mirror)",
        Seconds,
        Ftp,
        "rm -rf $K/mirror; lftp -c 'set ftp:use-mdtm no; open ftp://$U@$S:$P; mirror many $K/mirror'",
    ),
    row(
        "40 small files, PROT P (lftp mirror)",
        Seconds,
        Ftps,
        "rm -rf $K/mirror; lftp -c 'set ssl:verify-certificate no; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; open ftp://$U@$S:$P; mirror many $K/mirror'",
    ),
];

/// Files of all rows but the large one, which each wire has its size of.
pub fn prepare() -> Result<()> {
    let home = isolate::home();
    let many = home.join("many");
    std::fs::create_dir_all(&many)?;
    for number in 0..40 {
        std::fs::write(many.join(format!("f{number}")), [b'x'; 4096])?;
    }
    for place in [home.as_path(), Path::new(isolate::PLACE)] {
        std::fs::write(place.join("small"), [b'x'; 4096])?;
    }
    crate::rows::sftp::prepare()
}

impl Row {
    pub fn tls(&self) -> bool {
        self.speaks == Ftps
    }

    pub fn sftp(&self) -> bool {
        self.speaks == Sftp
    }

    pub fn is_of(&self, kind: Kind) -> bool {
        match self.speaks {
            Ftp | Ftps => kind != Kind::Sshd,
            Sftp => matches!(kind, Kind::Wharf | Kind::Sshd),
        }
    }

    /// Round trips are counted where nothing is lost and they are long.
    pub fn fits(&self, wire: &Wire) -> bool {
        self.unit != Trips || (wire.loss == 0 && wire.delay.as_millis() >= 50)
    }

    /// The seconds that it takes once.
    pub fn run(&self, port: u16, wire: &Wire) -> Result<f64> {
        for place in [isolate::home().as_path(), Path::new(isolate::PLACE)] {
            let file = std::fs::File::create(place.join("large"))?;
            file.set_len(wire.large)?;
        }
        let user = format!("{}:{}", isolate::USER, isolate::PASSWORD);
        let line = self
            .line
            .replace("$CURL", CURL)
            .replace("$SFTP", SFTP)
            .replace("$U", &user)
            .replace("$S", &SERVER.to_string())
            .replace("$P", &port.to_string())
            .replace("$K", isolate::PLACE);
        let begin = Instant::now();
        let output = Command::new("timeout")
            .args(["90", "sh", "-c", &line])
            .stdin(Stdio::null())
            .env("HOME", isolate::PLACE)
            .output()?;
        let seconds = begin.elapsed().as_secs_f64();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{line}: {}", said.trim()).into());
        }
        Ok(seconds)
    }

    /// What is told of what was measured.
    pub fn value(&self, measured: f64, wire: &Wire) -> f64 {
        match self.unit {
            Rate => wire.large as f64 / 1e6 / measured,
            Seconds | Trips => measured,
        }
    }
}
