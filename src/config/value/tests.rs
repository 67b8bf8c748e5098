use super::*;

fn round<W: ConfigWord>(text: &str) -> Option<String> {
    W::read(text).ok().map(|value| value.show())
}

#[test]
fn values_are_read_and_shown() {
    assert_eq!(round::<u64>("10M").as_deref(), Some("10M"));
    assert_eq!(round::<u64>("18446744073709551615T"), None);
    assert_eq!(round::<u64>("-1"), None);
    assert_eq!(round::<Duration>("0.2").as_deref(), Some("0.2"));
    assert_eq!(round::<Duration>("5m").as_deref(), Some("300"));
    assert_eq!(round::<Duration>("1.50s").as_deref(), Some("1.5"));
    assert_eq!(round::<Duration>("0.5m").as_deref(), Some("30"));
    assert_eq!(round::<Duration>("3650d").as_deref(), Some("315360000"));
    assert_eq!(round::<Duration>("3651d"), None);
    assert_eq!(round::<Duration>("99999999999999999999"), None);
    assert_eq!(round::<Duration>("1e3"), None);
    assert_eq!(round::<Duration>(".5"), None);
    assert_eq!(round::<Duration>("inf"), None);
    assert_eq!(round::<Duration>("-1"), None);
    assert_eq!(round::<Mode>("640").as_deref(), Some("640"));
    assert_eq!(round::<Mode>("4755"), None);
    assert_eq!(
        round::<PortRange>("50000-50100").as_deref(),
        Some("50000-50100")
    );
    assert_eq!(round::<PortRange>("5-4"), None);
    assert_eq!(round::<PortRange>("0-4"), None);
    assert_eq!(round::<Endpoint>("2121").as_deref(), Some("2121"));
    assert_eq!(round::<Endpoint>("[::1]:0").as_deref(), Some("[::1]:0"));
    assert_eq!(
        round::<Endpoint>("127.0.0.1:21").as_deref(),
        Some("127.0.0.1:21")
    );
    for wrong in ["", "x", "::1:21", "[::1:21", ":21", "1.2.3.4:65536"] {
        assert_eq!(round::<Endpoint>(wrong), None, "{wrong}");
    }
    assert_eq!(round::<ExternalAddress>("0.0.0.0"), None);
    assert_eq!(
        round::<ExternalAddress>("nas.example.org").as_deref(),
        Some("nas.example.org")
    );
    for (text, value) in [("true", "yes"), ("1", "yes"), ("off", "no"), ("0", "no")] {
        assert_eq!(round::<bool>(text).as_deref(), Some(value), "{text}");
    }
    assert_eq!(round::<bool>("maybe"), None);
    assert_eq!(round::<bool>(""), None);
}
