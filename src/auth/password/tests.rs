//! Known answers: made with libxcrypt 4.4.33 (Debian 12) unless said.

use super::*;

/// Password, how often it is repeated, and its hash: lengths around the sizes
/// of sums and blocks, up to the longest.
const SHA: &[(&str, usize, &str)] = &[
    (
        "",
        1,
        "$6$saltstring$kyGrqt6gmjAdtFLPrflEFifSYLCWWq1pyx95SvqinLDy2UHmj0sTF0MSLMwxPFZc3tu5kQckI8fks0zOPda3n1",
    ),
    (
        "",
        1,
        "$6$$/chiBau24cE26QQVW3IfIe68Xu5.JQ4E8Ie7lcRLwqxO5cxGuBhqF2HmTL.zWJ9zjChg3yJYFXeGBQ2y3Ba1d1",
    ),
    (
        "",
        1,
        "$5$rounds=1000$s$cdjvTno7yp4OJ1Yyxn95LrCQTyxHsv3TK6lXb48P4L1",
    ),
    (
        "a",
        1,
        "$6$rounds=1000$roundstoolow$oIV5bgCNA.rU2Q7YjaL7WLTvU1X.dbTXWNrKFqCpWVh01SO02.zNb9Br3ghH5ZLObKkJiRBTLQ4GUEcYCcCWB/",
    ),
    (
        "a",
        1,
        "$5$saltstring$7cz4bTeQ7MnNssphNhFVrITtuJYY/1tdvLL2uzLvOk8",
    ),
    (
        "a",
        1,
        "$5$rounds=77777$short$OZIIImCpOEscdGTMlgp4SbfaPcFHMvkvT2vciQgE4W5",
    ),
    (
        "Hello world!",
        1,
        "$6$rounds=1400$anotherlongsalts$5FGyu8c4BZDX4wJgs0Un26YOw2XibT5eTkHF1I1aP3QqStoJI9BHD2YPJYsAjEePVGUyBjdZxcNqMWlrrbIOC.",
    ),
    (
        "Hello world!",
        1,
        "$5$rounds=1000$s$v8DMx/7t0/H1zYj41VNdi6eQ/F1frpRoHaqbgo1/KvA",
    ),
    (
        "Hello world!",
        1,
        "$5$$mAwMsDaqjtxAtGqstEIf7OBR15rgcx.jSKGM94IKRj/",
    ),
    (
        "pässwörd",
        1,
        "$6$$yMPkfzGcFCffodHeXboZ4HGPGQiYmdKy1.x85l1lf44q/wjyBJ6/pGh7oocpx9.A0iIaD6/1nWIik8lDzE97s0",
    ),
    (
        "pässwörd",
        1,
        "$5$rounds=77777$short$6gMfaDydU7lRaRNK6XyLJ4IsBK/nqCo1V4qZjPW6ax3",
    ),
    (
        "pässwörd",
        1,
        "$6$saltstring$6PSVl254uv0cWCoUS0qzSX5NenRA/YFCwPzGA9ONu.MmmxqXTWHerEzD8WyuBl3ukfIZZU9uxLD6Bn6p7S3rG.",
    ),
    (
        "x",
        63,
        "$5$saltstring$fernEzaopR8itK2bFyWX.tP5L.hQYW4/i5YFMRY4gsA",
    ),
    ("x", 63, "$5$$bD1vTtsSvGwGU0z3yIE6WKrOkY7eJNmrXrmc4dIp2Q0"),
    (
        "x",
        63,
        "$6$rounds=1000$roundstoolow$ltSNUbSRoAmhM.dIh/BUE0atReMdTHkLxt0oZphJju3ntvmjUihDebYhxlgZ.Gk8FApsGIgkknnDw8Rn1wNqZ0",
    ),
    (
        "x",
        64,
        "$5$rounds=1000$s$KIt7xq80LRDWx/Lea5BsoTm2hbJA9SSKnJmieEQPbl4",
    ),
    (
        "x",
        64,
        "$6$saltstring$SSoAqlzjEXraQ.dDguxosFViX0Mfw4O.kEQXNqWn2FWfLIsQUWxK3xUguKKWh/yPYlb6YCK5MTl1eAQTuZtVf.",
    ),
    (
        "x",
        64,
        "$6$rounds=1400$anotherlongsalts$hluZWqDm0Vk0i/S960Zi4ANqKt2r0mTC5jiKLjmX8ru5fUbAIFNRGelEGYSjFBZMEqrwD7qMXP46OxRpfJumD1",
    ),
    (
        "y",
        200,
        "$5$rounds=77777$short$RgCwxbkeSMnJTJeSFpOFHET/xMRZRbgS.BIlWW5G8u5",
    ),
    (
        "y",
        200,
        "$6$rounds=1000$roundstoolow$vRd2584q9eqpU/DRQ4pIUtyXXFxoVrhQoxymiJmOPN1PYPzIHJqaSRn7j1dHDaShhyNubdq4AlEsk.KvnCP5f.",
    ),
    (
        "y",
        200,
        "$6$$JqZJlll.HLzKcxAi2Sf02gY58PhR/hETmBG7zgUk9jEZJhnbolQM6LLvaZGpvOkvk7daqxHkWeLtNd7RL/GOG.",
    ),
    ("z", 511, "$5$$XfIw0qNqYd54Tkm34PzU0sLLuirR1ug8CLcaUDR2Jm6"),
    (
        "z",
        511,
        "$6$rounds=1400$anotherlongsalts$CfVgB.BRIk8bRBAEKM3wRM/plpOYkE5Ca44efcthllyk181FWZu5lKmaGvRrI7px5P02Gnj7GHGHO/GFCO.in/",
    ),
    (
        "z",
        511,
        "$5$saltstring$.1YN8rZDkpBFhrJjD7VaUjeyGKcxzyJz7LxIuvQp7GD",
    ),
];

/// The last row of each prefix is cut by bcrypt after 72 bytes.
const BCRYPT: &[(&str, usize, &str)] = &[
    (
        "",
        1,
        "$2a$04$ihS79GVcPrYrj7.xB.NnoepfEEzb/vBiPqjipTQaR8./Wnuarmr9m",
    ),
    (
        "a",
        1,
        "$2y$05$zHMM/puxC9MG5tBUhs8pPuxT/uyoBEey7iX3oo22t03yAxgQXCYo2",
    ),
    (
        "U*U",
        1,
        "$2b$06$7fxL.zpQOHQdLXO1c8X1QOyPJY36z5XJJuJ81Iwuck2YfaoBFNvji",
    ),
    (
        "pässwörd",
        1,
        "$2a$04$ihS79GVcPrYrj7.xB.NnoexwgMnLqGaRsKfZzm1jJ.DXfbSjQA4xy",
    ),
    (
        "pässwörd",
        1,
        "$2b$04$5ZypQgtS1UbPkDcTunB99uGxOZkxoXNV5XdWtf9I98YkF34DPxtY6",
    ),
    (
        "pässwörd",
        1,
        "$2y$04$TFdjFaZfDBfXpKOxN7JZJuaulp0ZKNd06CUtRqN9Uj/W8GxYyysvu",
    ),
    (
        "x",
        71,
        "$2y$05$zHMM/puxC9MG5tBUhs8pPueic55gp4pGwLZtl.nWRygZ5bZJTZJvi",
    ),
    (
        "x",
        72,
        "$2b$06$7fxL.zpQOHQdLXO1c8X1QOalz6WvvvhYXAbEMs6JsWYPHvkGnahiq",
    ),
    (
        "x",
        73,
        "$2a$04$ihS79GVcPrYrj7.xB.Nnoe2pqkscb4/AK5J0KR/Ewf7MRQXewu.ca",
    ),
    (
        "x",
        73,
        "$2b$04$5ZypQgtS1UbPkDcTunB99udqCj8jNlJI20TSBWfCoE06LfYWt/xB6",
    ),
    (
        "x",
        73,
        "$2y$04$TFdjFaZfDBfXpKOxN7JZJuhbBMQMxs/RzkK2L1gNU1EryrKt5bffu",
    ),
    (
        "y",
        200,
        "$2y$05$zHMM/puxC9MG5tBUhs8pPuEr/vTbRJj8mh26tcsilmyDLVcWN1XG.",
    ),
    (
        "ÿ",
        3,
        "$2b$06$7fxL.zpQOHQdLXO1c8X1QO9csgBNVvZJSm.eYF5VWQx/BQZtsh2hC",
    ),
];
/// Costs 1 to 5 of crypt_gensalt, and salts of many lengths.
const YESCRYPT: &[(&str, usize, &str)] = &[
    (
        "",
        1,
        "$y$j75$S1qSG8yczziGfrSdJVMtA/$yZHJ.nQc/Z073URU2NtkuR61vXpsKkaWEYxEPXdN550",
    ),
    (
        "a",
        1,
        "$y$j85$M7WURgym.VOkIjoiZtC73t6$JH619G9MEC8VV97rvdvv4tcgUaYVnUISG8q1oCc5ba8",
    ),
    (
        "U*U",
        1,
        "$y$j7T$pabBGA64pdv.ux.3vF9.PmTN$l4uNh4gk6KNXuDAZkG7E9YpGBd9ShWH8ozlX1C24MG.",
    ),
    (
        "x",
        71,
        "$y$j75$kgTPAPq/F8U8wffDVjmzE/tybUD$K42jxtmqmiGdW.kyLFeJSjzqQSUKXguqFOP3AT/qIP9",
    ),
    (
        "x",
        73,
        "$y$j85$3nyx5CXrJIGIw/jX9mpcRCHOy9BiH/$S0BenWCudxAL8I4FOobl8KdW.ofz8wpbjmnr.b.Xqo9",
    ),
    (
        "y",
        200,
        "$y$j7T$BWQ6A8ExZxKozpK5It9rbjMUy9WDEz.$1mTUZ9kjpBoZYnjwDODAu4EZ0YRwRnHBez74OTOqha9",
    ),
    (
        "ÿ",
        3,
        "$y$j75$DJPQtH1LSlpAaU7FvgdSFXOj3xfQlRnM$tjjpz7Kgwqi7nnBJbyEkkX0NMULLhdBcDUVX63uQE58",
    ),
    // Other sizes, and more time.
    (
        "t",
        1,
        "$y$j/.$$JU78LI1Vd.XWUeq8qi6.5Yj5Y8hHl6hW1AOCJm7eeT.",
    ),
    (
        "t",
        1,
        "$y$j4./.$LdJMENpBABJJ3hIHj1F/L.$uFZYOzeH6aBDjvkVrCYJJML2AbiiNmKx8x4x6mW12R7",
    ),
    (
        "t",
        1,
        "$y$j41/0$LdJM$9O96AY8.a615qgxlOro7Dm64OIDatlyS/MQi0Gd.A83",
    ),
    (
        "t",
        1,
        "$y$j75//$LdJM$8y6ibbomDW7iAxNqD0pCStTxaHXL..41wpeS9uVUkL7",
    ),
];

thread_local! {
    /// The costs of the hashes that this thread has had computed.
    pub static WORK: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// What a login costs that must fail.
pub fn work_of<T>(login: impl FnOnce() -> Result<T>) -> Vec<String> {
    WORK.take();
    assert!(login().is_err());
    WORK.take()
}

#[test]
fn known_answers_of_sha_crypt_match() {
    known_answers_match(SHA);
}

#[test]
fn known_answers_of_bcrypt_match() {
    known_answers_match(BCRYPT);
}

/// Published with crypt_blowfish 1.3.
#[test]
fn published_answers_of_bcrypt_match() {
    for (password, hash) in [
        (
            &b"U*U"[..],
            "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        ),
        (
            b"U*U*U",
            "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a",
        ),
        (
            b"",
            "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy",
        ),
        (
            b"\xff\xff\xa3",
            "$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e",
        ),
    ] {
        assert!(verify(hash, password).unwrap(), "{hash}");
    }
}

#[test]
fn known_answers_of_yescrypt_match() {
    known_answers_match(YESCRYPT);
}

/// What Debian writes into /etc/shadow, with a first pass before the real one.
#[test]
fn the_default_of_yescrypt_matches() {
    let hash = "$y$j9T$4InE1PSzVzge5pIuunM9oijzPKMl$DJ9mQo3cvDzBawB0pDjwavOC7BlDJ01uszmokY.Xtw1";
    assert!(verify(hash, &[b'x'; 72]).unwrap());
}

fn known_answers_match(rows: &[(&str, usize, &str)]) {
    for (password, times, hash) in rows {
        let password = password.repeat(*times);
        assert!(verify(hash, password.as_bytes()).unwrap(), "{hash}");
        let start = password.char_indices().map(|(at, _)| at).take(60).last();
        let other = format!("{}\u{1}", &password[..start.unwrap_or(0)]);
        assert!(!verify(hash, other.as_bytes()).unwrap(), "{hash}");
        // The last character counts as well.
        let end = if hash.ends_with('.') { '/' } else { '.' };
        let changed = format!("{}{end}", &hash[..hash.len() - 1]);
        if check(&changed).is_ok() {
            assert!(!verify(&changed, password.as_bytes()).unwrap(), "{hash}");
        }
    }
}

#[test]
fn fields_without_a_password_never_match() {
    for hash in ["", "*", "!", "!!", "x", "!$6$saltstring$x", "*LK*"] {
        for password in ["", "x", "*", "!"] {
            assert!(!verify(hash, password.as_bytes()).unwrap(), "{hash}");
        }
    }
}

#[test]
fn what_is_no_hash_or_costs_too_much_is_an_error_that_keeps_the_secret() {
    let sum = ".".repeat(86);
    for hash in [
        "secret",
        "$1$secret$abc",
        "$6$secret",
        "$6$rounds=999$secret$",
        &format!("$6$rounds=999$secret${sum}"),
        &format!("$6$rounds=05000$secret${sum}"),
        &format!("$6$rounds=+5000$secret${sum}"),
        &format!("$6$rounds=5000001$secret${sum}"),
        &format!("$6$rounds=99999999999999999999$secret${sum}"),
        &format!("$6$secretsecretsecret${sum}"),
        &format!("$6$secret${sum}."),
        &format!("$6$secret${}", "!".repeat(86)),
        "$2b$17$secretsecretsecretsecrsecretsecretsecretsecretsecrets",
        "$2b$3$secretsecretsecretsecrsecretsecretsecretsecretsecrets",
        "$2b$05$secretsecretsecretsecrsecretsecretsecret",
        "$2x$05$secretsecretsecretsecrsecretsecretsecretsecretsecret.",
        "$7$CU..../....secret$secret",
        &format!("$y$j9T$secret${}", ".".repeat(42)),
        &format!("$y$j9T$secret!${}", ".".repeat(43)),
        // 512 MiB; 2^47 blocks; two lanes; an upgrade; a ROM; classic scrypt.
        &format!("$y$jET$..${}", ".".repeat(43)),
        &format!("$y$jjT$..${}", ".".repeat(43)),
        &format!("$y$j9T..$..${}", ".".repeat(43)),
        &format!("$y$j9T1.$..${}", ".".repeat(43)),
        &format!("$y$j9T5.$..${}", ".".repeat(43)),
        &format!("$y$.9T$..${}", ".".repeat(43)),
        &format!("$y$j9Tz$..${}", ".".repeat(43)),
        &format!("$y$j9T/zzzzz$..${}", ".".repeat(43)),
        "$y$",
        "$y$j",
        "$y$$$",
    ] {
        let error = verify(hash, b"secret").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{hash}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(check(hash).is_err());
    }
}

#[test]
fn a_new_hash_fits_its_password_alone_and_never_repeats() {
    let hash = hash_with_rounds(b"Tr0ub4dor", 1000).unwrap();
    assert!(hash.starts_with("$6$rounds=1000$"), "{hash}");
    assert!(verify(&hash, b"Tr0ub4dor").unwrap());
    assert!(!verify(&hash, b"Tr0ub4dor ").unwrap());
    assert_ne!(hash, hash_with_rounds(b"Tr0ub4dor", 1000).unwrap());
    for password in [&b""[..], b"a\0b", &[b'a'; 512]] {
        assert!(hash_with_rounds(password, 1000).is_err());
        assert!(!verify(&hash, password).unwrap());
    }
}

#[test]
fn the_cost_class_is_all_before_the_salt() {
    for (hash, want) in [
        ("$6$salt$sum", "$6$"),
        ("$6$rounds=1000$salt$sum", "$6$rounds=1000$"),
        ("$5$salt$sum", "$5$"),
        ("$2b$10$saltsum", "$2b$10$"),
        ("$y$j9T$salt$sum", "$y$j9T$"),
        ("*", ""),
        ("", ""),
    ] {
        assert_eq!(cost_class(hash), want, "{hash}");
    }
}

#[test]
fn the_dummy_is_a_hash_of_the_default_cost() {
    assert!(check(DUMMY).is_ok());
    assert_eq!(cost_class(DUMMY), format!("$6$rounds={ROUNDS}$"));
    dummy_verify(b"x", "*");
}

/// The time of an answer is that of the hashes: it must not tell names apart.
#[test]
fn every_refused_name_costs_the_same_hashes() {
    use crate::auth::{Authenticator, Credentials, Secret, UserDefaults, UserFile};
    use std::os::unix::fs::PermissionsExt;
    let place = crate::temp::TempDir::new("work");
    let (path, home) = (place.join("users"), place.display());
    let hash = hash_with_rounds(b"secret", 1000).unwrap();
    let text = format!(
        "ann:{hash}:{home}:read-only\nkeys:*:{home}:read-only:keys=k\n\
         old:{hash}:{home}:read-only:expires=2001-01-01\n\
         far:{hash}:{home}:read-only:allow=192.0.2.77\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let file = UserFile::open(&path, UserDefaults::default()).unwrap();
    for name in ["ann", "keys", "old", "far", "nobody", ""] {
        for given in ["secret", "wrong", ""] {
            if (name, given) != ("ann", "secret") {
                let secret = Secret::Password(given.as_bytes());
                let with = Credentials::new(name, secret, [192, 0, 2, 1].into());
                let work = work_of(|| file.authenticate(&with));
                assert_eq!(work, ["$6$rounds=1000$"], "{name} {given}");
            }
        }
    }
}
