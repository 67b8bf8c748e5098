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
