//! sftp-server: the SFTP subsystem alone, without a listener, FTP or passwords,
//! for sshd and dropbear. `wharfd --sftp-server` is the same.

mod program {
    pub mod sftp_server;
    mod syslog;
}

fn main() {
    // A write past the largest size of a file (ulimit -f) is an error of that
    // upload; as a signal it would end the session.
    if let Err(error) = wharf::daemon::os::SignalSet::block(&[libc::SIGXFSZ]) {
        eprintln!("sftp-server: blocking SIGXFSZ: {error}");
        std::process::exit(111);
    }
    // wharfd's word for the same thing may stand in sshd_config.
    let arguments = std::env::args_os().skip(1);
    let arguments = arguments.filter(|word| word != "--sftp-server");
    let arguments: Result<Vec<String>, _> = arguments.map(|word| word.into_string()).collect();
    std::process::exit(match arguments {
        Ok(arguments) => program::sftp_server::run(&arguments),
        Err(word) => {
            eprintln!("sftp-server: '{}' is not UTF-8", word.display());
            100
        }
    });
}
