//! The replies of transfers and of other long work that did not go well.

use super::data_port::NoData;
use super::reply::Reply;
use super::state::{Interpreter, Protection};
use crate::config::TlsReuse;
use crate::error::{Error, ErrorKind};
use crate::session::DataFailure;
use crate::session::log_context::tell_once;

/// The text of 425 when nothing was said about the data connection.
pub const NO_DATA_PORT: &str = "Say PASV, EPSV, PORT or EPRT first.";

/// The 425 (or 426) of a data connection that was not made.
pub fn no_data_connection(state: &Interpreter, failure: &NoData) -> Reply {
    let NoData { reason, error } = failure;
    if let Some(reason) = *reason {
        let what = format_args!("{}: {error}", reason.name());
        tell_once(log::Level::Info, "no data connection", &what);
        state.session.services().data_failures.count(reason);
        return Reply::new(425, told(reason));
    }
    log::debug!("no data connection: {error}");
    match error.kind() {
        ErrorKind::Aborted => Reply::new(426, "Aborted before the data connection was made."),
        ErrorKind::Protocol => Reply::new(425, NO_DATA_PORT),
        // RFC 4217, section 10.
        ErrorKind::Denied if state.protection == Protection::Private => Reply::new(
            522,
            match state.session.config().tls_reuse {
                TlsReuse::Require => {
                    "The data connection must be under TLS and resume the session of the control connection."
                }
                _ => "The data connection could not be protected as agreed.",
            },
        ),
        _ => Reply::new(425, "The data connection can't be opened."),
    }
}

/// What the client is told, whose user may be the one to mend it.
fn told(reason: DataFailure) -> &'static str {
    match reason {
        DataFailure::Refused => "Your computer refused the data connection; try passive mode.",
        DataFailure::TimedOut => "Your data port can't be reached; try passive mode.",
        DataFailure::NeverCame => {
            "No data connection came; a firewall may block the passive ports."
        }
        DataFailure::WrongAddress => "The data connection came from another address than yours.",
        DataFailure::NoPort => "No port is free for the data connection; try again.",
    }
}

/// The reply to a transfer that broke off.
pub fn transfer_failed(error: &Error) -> Reply {
    log::info!("a transfer broke off: {error}");
    match error.kind() {
        ErrorKind::Aborted => Reply::new(426, "The transfer is aborted."),
        ErrorKind::Timeout => Reply::new(426, "The data connection stood still."),
        ErrorKind::Disconnected => Reply::new(426, "The data connection was closed too early."),
        ErrorKind::NoSpace | ErrorKind::Quota => Reply::from(error),
        ErrorKind::TooMany => Reply::new(451, "Too many entries to sort."),
        _ => Reply::new(451, "The transfer has failed; the server's log says more."),
    }
}
