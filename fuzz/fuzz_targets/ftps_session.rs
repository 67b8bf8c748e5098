#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wharf::fuzz::run("ftps_session", data));
