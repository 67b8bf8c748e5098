//! The dialogues, which are the files of tests/transcripts.

macro_rules! dialogues {
    ($($directory:ident: $($name:literal)+;)+) => {
        /// Name and text of each.
        pub const DIALOGUES: &[(&str, &str)] = &[$($((
            concat!(stringify!($directory), "/", $name),
            include_str!(concat!(
                "../../tests/transcripts/", stringify!($directory), "/", $name, ".txt"
            )),
        )),+),+];
    };
}

dialogues! {
    abort: "idle" "quit-waits" "upload" "waiting-status" "waiting";
    attacks: "bounce" "denied-names" "globs" "http-logged-in" "http-post" "http" "log-lines" "smtp" "traversal";
    clients: "basic-ftp" "brother" "canon" "curl" "dahua" "dotnet" "efi-fiery" "esp32" "explorer" "filezilla" "ftp-exe" "gpslogger" "hikvision" "hp" "intellinet" "kodi" "konica" "motioneye" "nifi" "reolink" "scanner" "siemens-s7" "spring-integration" "total-commander" "winscp" "yi-hack";
    dirs: "blanks" "dots" "mkd-rmd" "names-are-bytes" "pwd-cwd" "quotes" "rmda" "x-commands";
    errors: "arguments" "long-names" "not-done" "slash" "too-many-entries" "unknown";
    hash: "hash" "old" "rights";
    limits: "banned" "idle" "login-timeout" "login-tries" "no-data-connection" "per-address" "per-user" "unknown-commands";
    lines: "bare-lf" "case" "long" "nul" "out-of-order" "pipelined-transfer" "pipelined" "split" "telnet";
    listing: "anonymous-owners" "dot-files-denied" "dot-files" "line-breaks-in-names" "list" "mlsd" "mlst" "nlst" "options" "stat-path";
    login: "acct" "anonymous" "banner-one-line" "before-login" "denied-command" "feat" "host" "named" "order" "rein" "second-user" "unknown-name";
    params: "active-off" "allo" "epsv-all" "epsv" "mode-stru" "numbers" "opts" "pasv-over-ipv6" "pasv" "port-unspecified" "port-wrong" "port" "type";
    rename: "own-for-0" "own" "rename" "rights" "state";
    site: "avbl-dsiz" "chmod-umask" "comb" "copy-rights" "copy" "help" "idle" "mkdir" "symlink-anywhere" "symlink-on" "symlink" "utime";
    times: "mdtm" "mff" "mfmt" "rights" "size";
    transfer: "ascii-off" "ascii" "drop" "late-data" "missing-first" "no-pasv-after-failure" "no-port" "range" "restart-ascii" "restart-store" "restart" "store-and-fetch" "stou" "upload-only";
}
