//! The only `unsafe`: what rustix can't do.
#![allow(unsafe_code)]
