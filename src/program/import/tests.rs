use super::*;

#[test]
fn every_row_names_a_key_that_there_is_and_stands_once() {
    for table in [vsftpd::TABLE, pure_ftpd::TABLE, proftpd::TABLE] {
        for (at, (name, rule)) in table.iter().enumerate() {
            if let Rule::Same(key) | Rule::Switch(key) | Rule::Each(key) = rule {
                assert!(Key::find(key).is_some(), "{name}: {key}");
            }
            let again = |(other, _): &&(&str, Rule)| other.eq_ignore_ascii_case(name);
            assert!(table[at + 1..].iter().find(again).is_none(), "{name}");
        }
    }
}

#[test]
fn masks_become_modes() {
    let modes = |mask| modes(mask).map(|(file, dir)| format!("{file} {dir}"));
    assert_eq!(modes("022").as_deref(), Some("644 755"));
    assert_eq!(modes("0177").as_deref(), Some("600 600"));
    assert_eq!(modes("99"), None);
}

/// The options of each server, as its own manual and program list them.
#[test]
fn every_option_of_the_other_servers_has_a_row() {
    for (table, options) in [
        (
            vsftpd::TABLE,
            include_str!("../../../tests/import/options/vsftpd.txt"),
        ),
        (
            proftpd::TABLE,
            include_str!("../../../tests/import/options/proftpd.txt"),
        ),
        (
            pure_ftpd::TABLE,
            include_str!("../../../tests/import/options/pure-ftpd.txt"),
        ),
    ] {
        let has = |option: &&str| table.iter().any(|(row, _)| names(row, option));
        let lacking: Vec<&str> = options.lines().filter(|option| !has(option)).collect();
        assert_eq!(lacking, [""; 0]);
        assert!(options.lines().count() > 60);
    }
}

fn settings(found: &Found) -> Vec<String> {
    found.text("it").lines().map(str::to_owned).collect()
}

/// Each pair: a file, and what must (or, with `!`, must not) come of it. Where
/// somebody was kept out, nobody comes in by the import.
#[test]
fn nothing_is_opened_wider() {
    type Read = fn(&str) -> Found;
    let cases: &[(Read, &str, &[&str])] = &[
        // A guest is an entry of a PAM database, and no account of the machine.
        (
            vsftpd::read,
            "local_enable=YES\nguest_enable=YES\n",
            &["!system-users yes"],
        ),
        (
            vsftpd::read,
            "local_enable=YES\nuserlist_enable=YES\nuserlist_deny=NO\n",
            &["!system-users yes"],
        ),
        (
            vsftpd::read,
            "local_enable=YES\nuserlist_enable=YES\n",
            &["!system-users yes"],
        ),
        (
            vsftpd::read,
            "local_enable=YES\nuserlist_enable=YES\nuserlist_file=/etc/ftpusers\n",
            &["system-users yes"],
        ),
        (
            vsftpd::read,
            "local_enable=YES\npam_service_name=vsftpd_virtual\n",
            &["!system-users yes"],
        ),
        (
            vsftpd::read,
            "anonymous_enable=YES\nsecure_email_list_enable=YES\n",
            &["!anonymous /srv/ftp"],
        ),
        (
            vsftpd::read,
            "cmds_allowed=USER,PASS,LIST,PASV,EPSV,QUIT\n",
            &["deny-commands STOR", "!deny-commands LIST"],
        ),
        (
            vsftpd::read,
            "max_clients=0\nanon_root=\nanonymous_enable=YES\n",
            &["!threads 0", "anonymous /srv/ftp"],
        ),
        (vsftpd::read, "listen=NO\n", &["!listen 21"]),
        (
            proftpd::read,
            "Port 21\n",
            &["system-users yes", "system-rights elrfmwMT"],
        ),
        (
            proftpd::read,
            "AuthOrder mod_auth_file.c\n",
            &["!system-users yes"],
        ),
        (
            proftpd::read,
            "AuthOrder mod_auth_pam.c* mod_auth_unix.c\nAllowOverwrite on\n",
            &["system-users yes", "system-rights elradfmwMT"],
        ),
        (
            proftpd::read,
            "<Limit LOGIN>\nAllowGroup ftp\nDenyAll\n</Limit>\n",
            &["!system-users yes"],
        ),
        (
            proftpd::read,
            "<Global>\n<Limit WRITE SITE_CHMOD>\nDenyAll\n</Limit>\n</Global>\n",
            &["system-rights elr"],
        ),
        (
            proftpd::read,
            "<Anonymous ~ftp>\n<Limit LOGIN>\nDenyAll\n</Limit>\n</Anonymous>\n",
            &["!anonymous /srv/ftp"],
        ),
        (
            proftpd::read,
            "<Anonymous ~ftp>\nAnonRequirePassword on\n</Anonymous>\n",
            &["!anonymous /srv/ftp"],
        ),
        (
            pure_ftpd::read,
            "UnixAuthentication yes\nAnonymousOnly yes\n",
            &["!system-users yes"],
        ),
        (
            pure_ftpd::read,
            "TrustedIP 10.1.1.1\n",
            &["!system-users yes"],
        ),
        (
            pure_ftpd::read,
            "NoChmod yes\nNoRename yes\n",
            &["system-rights elradmwT"],
        ),
    ];
    for (read, text, wanted) in cases {
        let got = settings(&read(text));
        for want in *wanted {
            match want.strip_prefix('!') {
                Some(unwanted) => assert!(!got.contains(&unwanted.into()), "{text}{got:#?}"),
                None => assert!(got.contains(&(*want).into()), "{text}{want}\n{got:#?}"),
            }
        }
    }
}

#[test]
fn each_form_of_tls_required_keeps_what_it_asks_for() {
    for (form, level) in [
        ("on", "data"),
        ("off", "no"),
        ("ctrl", "login"),
        ("auth", "login"),
        ("data", "data"),
        ("!data", "no"),
        ("auth+data", "data"),
        ("ctrl+data", "data"),
        ("auth+!data", "login"),
        ("ctrl+!data", "login"),
        ("a-form-of-tomorrow", "data"),
    ] {
        let got = settings(&proftpd::read(&format!(
            "TLSEngine on\nTLSRequired {form}\n"
        )));
        assert!(
            got.contains(&format!("tls-required {level}")),
            "{form}: {got:?}"
        );
    }
}

#[test]
fn a_user_whose_restriction_is_lost_is_not_let_in() {
    let line = "ann:$6$x$y:1000:1000::/srv/ann/./::::::::::::0900-1700\n";
    let found = accounts::pure_ftpd(line).unwrap();
    assert!(
        found.users.iter().all(|user| user.starts_with('#')),
        "{:?}",
        found.users
    );
    assert!(
        found
            .notes
            .iter()
            .any(|note| note.kind == NoteKind::Restriction)
    );
}
