//! Attacks on file servers, by the numbers of the project's list: what each
//! is called elsewhere stands above its test. wharf-security(7) says how each
//! is met. Some are shown by other tests:
//!
//! | # | attack | shown by |
//! |---|---|---|
//! | 1 | FTP bounce | `connections`, transcripts/attacks/bounce.txt |
//! | 2 | theft of a passive connection | `connections`; under TLS: tests/ftps |
//! | 3 | passive ports that can be guessed | `connections` |
//! | 4 | commands injected before AUTH TLS | `tls` |
//! | 5 | uploads cut off under TLS | `tls` |
//! | 6 | TLS session of another | tests/ftps, src/net/tls/tests/resumption.rs |
//! | 7 | ALPACA | `tls`, transcripts/attacks/http*.txt, smtp.txt |
//! | 8 | patterns and listings that never end | `files`, transcripts/attacks/globs.txt, errors/too-many-entries.txt |
//! | 9 | ways out of the jail | `files`, tests/access/jail.rs (swapped links), tests/library/storage |
//! | 10 | copies on the server (mod_copy) | `files`, transcripts/site/copy-rights.txt |
//! | 11 | other spellings of denied names | `files`, transcripts/attacks/denied-names.txt |
//! | 12 | back doors | `login` |
//! | 13 | threads taken by strangers | `connections` |
//! | 14 | data connections that stand still | `connections` |
//! | 15 | names found out by time | `login` |
//! | 16 | guessing of passwords | `login`, transcripts/limits/banned.txt, login-tries.txt |
//! | 17 | empty passwords and names | `login`, src/auth/user_file/tests.rs, src/auth/system/tests.rs |
//! | 18 | numbers out of range | `text`, transcripts/params/numbers.txt |
//! | 19 | lines without end, NUL, IAC | `text`, transcripts/lines/*.txt |
//! | 20 | line breaks in names and logs | `text`, transcripts/listing/line-breaks-in-names.txt |
//! | 21 | names from the DNS, quotation marks in logs | `text`; src/program/json.rs |
//! | 22 | memory of long listings | `memory` |
//! | 23 | arithmetic of quotas | tests/access/quota.rs |
//! | 24 | state left after errors | `login`, transcripts/login/rein.txt, params/epsv-all.txt |
//! | 25 | old protocols, renegotiation | `tls`, src/net/tls/tests/handshake.rs |
//! | 26 | SSH: Terrapin, packet bombs | src/ssh/tests; handles and counts: tests/sftp/bad_input.rs, uploads.rs |
//! | 27 | privileges that stay | tests/program/identity.rs |
//! | 28 | uploads of dot files | `files` |
//! | 29 | PROXY headers of strangers | src/net/proxy_protocol.rs |
//! | 30 | nonsense | `text`, src/fuzz.rs, tests/random/model |

#[path = "../common/mod.rs"]
mod common;

mod connections;
mod files;
mod login;
mod memory;
mod text;
#[cfg(feature = "ftps")]
mod tls;
