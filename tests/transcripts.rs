//! The dialogues of tests/transcripts, a test for each directory.

mod common;

use common::transcript::run_directory;

macro_rules! directories {
    ($($name:ident)+) => {
        $(#[test] fn $name() { run_directory(stringify!($name)); })+

        #[test]
        fn every_directory_is_run() {
            let known = [$(stringify!($name)),+];
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
            for entry in std::fs::read_dir(path).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(known.contains(&name.as_str()), "{name} is not run");
            }
        }
    };
}

directories! {
    login dirs params transfer listing rename times hash site errors limits abort lines attacks clients
}
