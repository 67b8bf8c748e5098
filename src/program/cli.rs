//! The command line: the keys of the configuration as flags, and the few
//! words that are the program's own.

use std::path::{Path, PathBuf};

use getopts::{HasArg, Matches, Occur, Options};
use wharf::config::Endpoint;
use wharf::daemon::{
    KEYS, Key, Mistake, Profile, Settings, Source, environment_name, nearest, read_file,
};

use super::help::{self, OWN};
use super::places::Places;

/// What the command line asks for.
pub enum Action {
    /// Serve, or only check.
    Serve(Box<Invocation>),
    /// Print this and end well.
    Print(String),
}

/// Settings and the program's own flags.
pub struct Invocation {
    /// The command line they came from, to read them again.
    pub arguments: Vec<String>,
    /// Everything that was set.
    pub settings: Settings,
    /// Where it was set.
    pub places: Places,
    /// Only check.
    pub check: bool,
    /// Serve the connection on standard input.
    pub inetd: bool,
    /// Write the bound addresses to standard output.
    pub print_port: bool,
    /// Nobody said where to listen.
    pub default_listen: bool,
}

/// Reads the command line, the environment and the configuration file.
///
/// # Errors
/// Every mistake that was found.
pub fn read(
    arguments: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Action, Vec<Mistake>> {
    let usage = |what: String| {
        vec![Mistake {
            place: "wharfd".into(),
            what,
        }]
    };
    let matches = options()
        .parse(arguments)
        .map_err(|fail| usage(explain(fail)))?;
    if matches.opt_present("help") {
        return Ok(Action::Print(help::all()));
    }
    if matches.opt_present("version") {
        return Ok(Action::Print(version()));
    }
    let mut settings = Settings::default();
    let mut mistakes = Vec::new();
    let mut places = Places::default();
    let environment: Vec<_> = environment.collect();
    let file = config_file(&matches, &environment);
    let sources = sources(&matches, file.as_deref(), environment, &mut mistakes);
    settings.config_file = file;
    for source in sources {
        for (key, place) in source.places() {
            places.put(key, place);
        }
        source.apply(&mut settings, &mut mistakes);
    }
    let apart = value_apart(arguments, &matches.free);
    match &matches.free[..] {
        [] => {}
        _ if apart.is_some() => mistakes.extend(apart.into_iter().flat_map(usage)),
        [directory] => {
            settings.anonymous = Some(directory.into());
            places.put("anonymous", "DIR");
        }
        [_, second, ..] => mistakes.extend(usage(format!(
            "one DIR at most, not also '{}'",
            second.escape_debug()
        ))),
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let server = &mut settings.server;
    if settings.acme.is_some() && server.tls_cert.is_empty() {
        // What the authority signs comes in the place of ours.
        server.self_signed = true;
    }
    let default_listen =
        server.listen.is_empty() && server.listen_ftps.is_empty() && server.listen_sftp.is_empty();
    if default_listen {
        // Nobody is surprised by a port that only this machine reaches.
        server.listen = ["127.0.0.1", "::1"]
            .map(|host| Endpoint {
                host: host.into(),
                port: 2121,
            })
            .to_vec();
    }
    Ok(Action::Serve(Box::new(Invocation {
        arguments: arguments.to_vec(),
        settings,
        places,
        check: matches.opt_present("check"),
        inetd: matches.opt_present("inetd"),
        print_port: matches.opt_present("print-port"),
        default_listen,
    })))
}

fn config_file(matches: &Matches, environment: &[(String, String)]) -> Option<PathBuf> {
    let variable = environment_name("config");
    let flag = matches.opt_str("config");
    let file = flag.or_else(|| {
        let row = environment.iter().find(|(name, _)| *name == variable);
        row.map(|(_, value)| value.clone())
    });
    file.map(PathBuf::from)
}

/// `--active-mode no` would serve a directory called `no`.
fn value_apart(arguments: &[String], words: &[String]) -> Option<String> {
    let is_switch = |flag: &str| {
        let name = flag.strip_prefix("--");
        name.and_then(Key::find).is_some_and(Key::is_switch)
    };
    let apart = arguments.windows(2).find(|pair| {
        let is_value = ["yes", "no", "on", "off", "true", "false", "1", "0"].contains(&&*pair[1]);
        is_value && is_switch(&pair[0]) && words.contains(&pair[1])
    })?;
    Some(format!(
        "a switch takes its value behind '=': {}={1}; a directory called '{1}' is ./{1}",
        apart[0], apart[1]
    ))
}

/// All that says something about the settings, the weakest first.
fn sources(
    matches: &Matches,
    file: Option<&Path>,
    environment: Vec<(String, String)>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Source> {
    let mut sources = Vec::new();
    match file.map(read_file) {
        None => {}
        Some(Ok(source)) => sources.push(source),
        Some(Err(mistake)) => mistakes.push(mistake),
    }
    let environment = environment
        .into_iter()
        .filter(|(name, _)| *name != environment_name("config"));
    sources.push(Source::from_environment(environment));
    sources.push(flags(matches));
    // Whoever names it: a profile is weaker than every other setting. A name
    // that there is none of is found when the key itself is read.
    let named = sources
        .iter()
        .rev()
        .find_map(|source| source.value("profile"));
    if let Some(profile) = named.and_then(Profile::find) {
        sources.insert(0, Source::from(profile));
    }
    sources
}

/// The variables of the environment; what is not UTF-8 is none of ours.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn options() -> Options {
    let mut options = Options::new();
    for (short, long, value, help) in OWN {
        if value.is_empty() {
            options.optflag(short, long, help)
        } else {
            options.optopt(short, long, help, value)
        };
    }
    for key in KEYS {
        let has = if key.is_switch() {
            HasArg::Maybe
        } else {
            HasArg::Yes
        };
        options.opt("", key.name, key.help, key.takes, has, Occur::Multi);
    }
    options
}

fn flags(matches: &Matches) -> Source {
    let mut source = Source::new();
    for key in KEYS {
        let place = format!("--{}", key.name);
        if !matches.opt_present(key.name) {
            continue;
        }
        match matches.opt_strs(key.name) {
            values if values.is_empty() => source.add(key.name, "yes", place),
            values => values
                .iter()
                .for_each(|value| source.add(key.name, value, place.clone())),
        }
    }
    source
}

fn explain(fail: getopts::Fail) -> String {
    match fail {
        getopts::Fail::UnrecognizedOption(name) => {
            let mut known = KEYS
                .iter()
                .map(|key| key.name)
                .chain(OWN.iter().map(|own| own.1));
            let meant = nearest(&name, &mut known);
            let meant = meant.map_or(".".into(), |name| format!("; did you mean --{name}?"));
            format!(
                "unknown option '{}'{meant} See wharfd --help.",
                name.escape_debug()
            )
        }
        fail => format!("{fail}. See wharfd --help."),
    }
}

/// The version and what was built in.
pub fn version() -> String {
    let feature = |name, built: bool| {
        if built {
            format!(" +{name}")
        } else {
            format!(" -{name}")
        }
    };
    format!(
        "wharfd {}{}{}{}\n",
        env!("CARGO_PKG_VERSION"),
        feature("ftps", cfg!(feature = "ftps")),
        feature("tls13", cfg!(feature = "tls13")),
        feature("sftp", cfg!(feature = "sftp")),
    )
}
