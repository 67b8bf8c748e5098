use super::*;
use crate::auth::Right;
use crate::temp::TempDir;

/// A shell script in the place of the program: `sh SCRIPT env -0`. Not
/// executed itself, since another thread's fork could hold it open for writing.
struct Script(TempDir);

impl Script {
    fn new(name: &str, text: &str) -> Self {
        let place = TempDir::new(name);
        std::fs::write(place.join("script"), text).unwrap();
        Script(place)
    }

    fn helper(&self) -> Helper {
        Helper::new("/bin/sh", UserDefaults::default()).with_argument(self.0.join("script"))
    }
}

fn login(helper: &Helper, name: &str, password: &[u8]) -> Result<User> {
    let peer = [192, 0, 2, 7].into();
    helper.authenticate(&Credentials::new(name, Secret::Password(password), peer))
}

/// Knows ann with the password "secret"; tells the address on as a group.
const CHECK: &str = r#"
data=$(tr '\0' '|' <&3)
case "$data" in
"ann|secret|"[0-9]*"|") ;;
"later|"*) exit 111 ;;
"broken|"*) echo "no database" >&2; exit 3 ;;
"silent|"*) exit 0 ;;
"rootuser|"*) exec env HOME=/ UID=0 GID=0 "$@" ;;
"relative|"*) exec env HOME=srv "$@" ;;
"rights|"*) exec env HOME=/ WHARF_RIGHTS=xyz "$@" ;;
"lan|"*) exec env HOME=/ WHARF_OPTIONS=allow=10.0.0.0/8 "$@" ;;
*) exit 1 ;;
esac
[ "$TCPREMOTEIP" = 192.0.2.7 ] || exit 100
exec env HOME=/ USER=ann.b UID=1000 GID=100 WHARF_GROUPS=4+5 WHARF_RIGHTS=drop WHARF_OPTIONS=max-sessions=3 "$@"
"#;

#[test]
fn who_is_accepted_is_what_the_environment_says() {
    let script = Script::new("accepted", CHECK);
    let user = login(&script.helper(), "ann", b"secret").unwrap();
    assert_eq!(user.name, "ann.b");
    assert!(user.perms.has(Right::Write) && !user.perms.has(Right::List));
    assert_eq!(user.limits.max_sessions, 3);
    let identity = user.identity.unwrap();
    assert_eq!((identity.uid, identity.gid), (1000, 100));
    assert_eq!(identity.groups, [4, 5]);
}

#[test]
fn exit_codes_and_bad_answers_have_their_meaning() {
    let script = Script::new("codes", CHECK);
    let helper = script.helper();
    for (name, password, want) in [
        ("ann", &b"wrong"[..], ErrorKind::LoginRefused),
        ("bob", b"secret", ErrorKind::LoginRefused),
        ("ann\0secret", b"x", ErrorKind::LoginRefused),
        ("ann", b"secret\x001", ErrorKind::LoginRefused),
        ("ann", &[b'x'; 600], ErrorKind::LoginRefused),
        ("lan", b"", ErrorKind::LoginRefused),
        ("later", b"", ErrorKind::Busy),
        ("broken", b"", ErrorKind::Internal),
        ("silent", b"", ErrorKind::Internal),
        ("rootuser", b"", ErrorKind::Internal),
        ("relative", b"", ErrorKind::Internal),
        ("rights", b"", ErrorKind::Internal),
    ] {
        let error = login(&helper, name, password).err().expect(name);
        assert_eq!(error.kind(), want, "{name:?}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let missing = Helper::new("/nonexistent/program", UserDefaults::default());
    let error = login(&missing, "ann", b"secret").err().unwrap();
    assert_ne!(error.kind(), ErrorKind::LoginRefused);
}

#[test]
fn a_program_that_hangs_or_floods_is_killed_with_all_it_started() {
    let script = Script::new("hangs", "sleep 1000 & echo $! >&2; sleep 1000");
    let helper = script.helper().with_bounds(Duration::from_millis(200), 1);
    let start = Instant::now();
    let error = login(&helper, "ann", b"secret").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(start.elapsed() < Duration::from_secs(20));

    let script = Script::new("floods", "exec cat /dev/zero");
    let error = login(&script.helper(), "ann", b"secret").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn no_more_than_the_bound_run_at_once() {
    // Each takes a lock that none may find taken.
    let place = TempDir::new("helper-lock");
    let lock = place.join("lock");
    let lock = lock.display();
    let script = Script::new(
        "bound",
        &format!("mkdir {lock} || exit 100; rmdir {lock}; exit 1"),
    );
    let helper = script.helper().with_bounds(Duration::from_secs(60), 1);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let error = login(&helper, "ann", b"x").err().unwrap();
                assert_eq!(error.kind(), ErrorKind::LoginRefused, "{error}");
            });
        }
    });
}

#[test]
fn the_environment_is_printed_as_it_is_read() {
    let mut text = Vec::new();
    print_environment(&mut text).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    assert_eq!(variable(&text, "PATH"), Some(path.as_bytes()));
    assert_eq!(variable(b"A=1\0B=2\0A=3\0", "A"), Some(&b"3"[..]));
    assert_eq!(variable(b"AB=1\0", "A"), None);
}
