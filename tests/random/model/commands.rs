//! Random commands and contents.

use super::common::rng::Rng;

const NAMES: [&str; 16] = [
    "a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/f", "/", "..", ".", "/a", "/d", "../d", "a/b",
    "d//e/",
];

pub fn one_line(rng: &mut Rng) -> (&'static str, String) {
    const WITH_NAME: [&str; 22] = [
        "CWD",
        "MKD",
        "MKD",
        "MKD",
        "RMD",
        "RMDA",
        "DELE",
        "RNFR",
        "RNFR",
        "RNTO",
        "RNTO",
        "SIZE",
        "DSIZ",
        "MLST",
        "MFMT 20200101000000",
        "NLST",
        "MLSD",
        "RETR",
        "RETR",
        "STOR",
        "STOR",
        "APPE",
    ];
    let name = |rng: &mut Rng| NAMES[rng.below(NAMES.len())].to_string();
    match rng.below(16) {
        0 => ("TYPE", ["A", "I", "I", "I", "Z"][rng.below(5)].into()),
        1 => (
            "REST",
            ["0", "1", "3", "7", "1000000", "-1"][rng.below(6)].into(),
        ),
        2 => ("SITE COPY", format!("{} {}", name(rng), name(rng))),
        3 => (
            ["PWD", "NOOP", "XYZZY", "CDUP"][rng.below(4)],
            String::new(),
        ),
        4 if rng.below(8) == 0 => ("REIN", String::new()),
        _ => (WITH_NAME[rng.below(WITH_NAME.len())], name(rng)),
    }
}

pub fn contents(rng: &mut Rng) -> Vec<u8> {
    let mut data = Vec::new();
    if rng.below(10) == 0 {
        data.extend_from_slice(b"broken");
    }
    let size = [0, 1, 5, 30, 300][rng.below(5)];
    data.extend((0..size).map(|_| b"ab\r\n\0\xff"[rng.below(6)]));
    // What a CR at the end means in ASCII is the next transfer's question.
    if data.last() == Some(&b'\r') {
        data.push(b'x');
    }
    data
}
