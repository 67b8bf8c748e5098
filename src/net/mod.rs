//! Sockets and what is spoken below a session: listeners, passive ports, TLS,
//! and the PROXY protocol of load balancers.

pub(crate) mod closing;
pub(crate) mod congestion;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod name_cache;
pub(crate) mod passive;
pub(crate) mod patience;
pub(crate) mod proxy_protocol;
pub(crate) mod refusal;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tls;
