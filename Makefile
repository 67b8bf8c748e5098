# wharf: build, test, install. `make help` lists what there is.

CARGO   ?= cargo
# The directory that `make run` serves.
DIR ?= .
# Features of the build, as for cargo. Boards with OpenSSL 1.1.1 need
# FEATURES='--no-default-features --features cli,ftps,sftp,import'.
FEATURES ?=

# What `make static` and `make small-static` build for: this machine, or a
# target whose standard library is there (rustup target list --installed). For
# musl there is no OpenSSL: TARGET=x86_64-unknown-linux-musl goes with
# small-static and with lean-static, which builds its own.
TARGET  ?= $(HOST)

SMALL   = --no-default-features --features cli
# FTPS on native-tls, for OpenSSL 1.1.1.
NATIVE_TLS = --no-default-features --features cli,ftps,sftp,import
# What packages and images have besides: `wharfd acme`.
ACME = --features acme
HOST    = $(shell rustc -vV | sed -n 's/^host: //p')
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
STATIC  = target/static/$(TARGET)/release/wharfd
SMALL_STATIC_DIR = target/small-static
SMALL_STATIC = $(SMALL_STATIC_DIR)/$(TARGET)/release/wharfd
LEAN_STATIC  = target/lean-static/$(TARGET)/release/wharfd
LEAN_OPENSSL = target/lean-static/$(TARGET)/release/build/openssl-sys-*/out/openssl-build/install

# Flags of every release build. No path of this machine gets into the binary,
# so that two builds at two places are the same bytes; relative relocations are
# packed, 5 % of the binary, where the C library can load them; and on x86-64
# frame pointers shorten the tables to unwind by, 3 % of the binary.
CARGO_DIR = $(shell echo "$${CARGO_HOME:-$$HOME/.cargo}")
REMAP = --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(CARGO_DIR)=cargo
RELR  = $(shell v=$$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //'); \
  test "$$(printf '%s\n' "$$v" 2.36 | sort -V | head -n 1)" != 2.36 || \
  echo '-C link-arg=-Wl,-z,pack-relative-relocs')
FRAMES = $(if $(filter x86_64-%,$(TARGET)),-C force-frame-pointers=yes)
RELEASE_FLAGS = $(REMAP) $(FRAMES) $(RELR)
STATIC_FLAGS  = $(REMAP) $(FRAMES) $(if $(filter $(HOST),$(TARGET)),$(RELR)) \
  -C target-feature=+crt-static $(if $(NATIVE),-L native=$$archives) $(EXTRA_FLAGS)
# For this machine, the C library's archive can be made smaller first.
NATIVE   = $(filter %-gnu,$(filter $(HOST),$(TARGET)))
ARCHIVES = $(if $(NATIVE),archives=$$(sh contrib/static-archives.sh '$(CURDIR)/$(1)' $(2)) &&)
# A router's: the smallest code.
SMALLEST = CARGO_PROFILE_RELEASE_OPT_LEVEL=z

# STD=source compiles the standard library for size as well, without what prints
# backtraces: a fifth of a small binary. The compiler must have its sources
# (rustup component add rust-src; Debian's rust-web-src).
STD ?=
ifeq ($(STD),source)
BUILD_STD = -Z build-std=std,panic_unwind -Z build-std-features=optimize_for_size
small small-static lean-static sftp-server: export RUSTC_BOOTSTRAP = 1
SMALL_BINARY = target/small/$(HOST)/release/wharfd
else
SMALL_BINARY = target/small/release/wharfd
endif

# Programs that tests/install-clients.sh unpacks, behind those that are installed.
test test-cluster test-network test-packages soak package: export PATH := $(PATH):$(CURDIR)/target/programs/bin

.PHONY: all build-deps run test test-cluster test-network test-packages soak check man-lint \
  spelling site small static small-static sftp-server test-sftp-server lean-static test-static \
  test-lean cross-check licences image deb clean help \
  miri threads fuzz api package reproducible dist

all: export RUSTFLAGS = $(RELEASE_FLAGS)
all: build-deps ## Build wharfd: target/release/wharfd
	$(CARGO) build --release --locked $(FEATURES)

build-deps: #- Install OpenSSL's headers, if they are missing (Debian)
	@sh contrib/install-build-deps.sh

run: all ## Serve DIR (this directory) to everybody on this machine, read-only, port 2121
	@echo 'Next, after Ctrl-C; each line is a command of its own:'
	@echo '  add a user:        $(WHARFD) passwd -c --home $(FIRST_HOME) --create-home ~/wharf-users ann && $(WHARFD) --users ~/wharf-users'
	@echo '  encrypt:           $(WHARFD) --self-signed "$(DIR)"'
	@echo '  serve the network: $(WHARFD) --listen 2121 "$(DIR)"'
	@echo
	@exec $(WHARFD) $(ARGS) "$(DIR)"

# The home of the user there; root's own directories are closed to the server.
FIRST_HOME = $(if $(filter 0,$(shell id -u)),/srv/ann,~/ann)

test: build-deps ## Install the clients the tests drive (Debian), and run all tests
	sh tests/install-clients.sh
	WHARF_NEED_CLIENTS=1 $(CARGO) test --locked
	$(CARGO) test --locked $(SMALL)
	WHARF_NEED_CLIENTS=1 $(CARGO) test --locked $(NATIVE_TLS),testing --lib --test ftps --test transcripts
	WHARF_NEED_CLIENTS=1 $(CARGO) test --locked $(NATIVE_TLS),testing --test clients ftps::
	WHARF_NEED_CLIENTS=1 $(CARGO) test --locked $(ACME) --bin wharfd --test docs --test clients -- acme every_flag
	$(CARGO) test --locked $(NATIVE_TLS),testing --doc testing

test-cluster: build-deps #- Three nodes behind HAProxy in network namespaces, two minutes (Debian, root)
	sh tests/install-clients.sh
	WHARF_NEED_CLIENTS=1 $(CARGO) test --locked --test cluster -- --ignored --nocapture

test-network: build-deps #- Cut cables, firewalls, a resolver that hangs, in network namespaces, one minute (Debian, root)
	sh tests/install-clients.sh
	WHARF_NEED_CLIENTS=1 $(CARGO) test --locked --test network -- --include-ignored

test-packages: deb #- The Debian package in a Debian that is booted for it, two minutes (Debian, root)
	sh tests/install-clients.sh
	sh tests/booted/run.sh target/deb/wharfd_$(VERSION)-1_*.deb

MINUTES ?= 60
soak: build-deps #- A hundred clients of all kinds at once for MINUTES (60)
	sh tests/install-clients.sh
	WHARF_NEED_CLIENTS=1 WHARF_SOAK_MINUTES=$(MINUTES) \
	  $(CARGO) test --release --locked --test soak -- --ignored --nocapture

check: man-lint spelling #- Formatting, lints and documentation, without the tests
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets $(ACME) -- -D warnings
	$(CARGO) clippy --locked --all-targets $(NATIVE_TLS),testing -- -D warnings
	$(CARGO) clippy --locked --all-targets $(SMALL) -- -D warnings
	$(CARGO) clippy --locked --no-default-features --lib -- -D warnings
	$(CARGO) clippy --locked --no-default-features --features subsystem --bin sftp-server -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --lib --features testing
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --lib --no-default-features

man-lint: #- Lint the manual pages
	mandoc -T lint -W warning man/*.[1-8]

site: #- Write the manual and the documents as HTML, with its links checked: target/site/index.html
	@sh contrib/install-build-deps.sh mandoc cmark-gfm python3
	docs/site/build.py target/site

# What is not a mistake is in .codespellrc; tests/docs/words.rs has words of ours.
spelling: #- Check the spelling of texts, comments and messages
	codespell README.md CHANGELOG.md CONTRIBUTING.md Makefile docs man contrib examples src \
	  tests/README.md tests/docs tests/install-clients.sh

small: #- Build without OpenSSL, for routers: target/small/release/wharfd; STD=source for less
	RUSTFLAGS='$(RELEASE_FLAGS)' $(SMALLEST) \
	$(CARGO) build --release --locked $(SMALL) $(if $(BUILD_STD),$(BUILD_STD) --target $(HOST)) \
	  --target-dir target/small
	@echo $(SMALL_BINARY)

# With the system's OpenSSL, unless OPENSSL_DIR or OPENSSL_LIB_DIR names another.
SYSTEM_OPENSSL = $(if $(OPENSSL_DIR)$(OPENSSL_LIB_DIR),,$(NATIVE))
static: build-deps ## One static file, for TARGET (this machine): target/static/TARGET/release/wharfd
	$(call ARCHIVES,target/static,c $(if $(SYSTEM_OPENSSL),ssl crypto)) \
	$(if $(SYSTEM_OPENSSL),OPENSSL_LIB_DIR="$$archives" OPENSSL_INCLUDE_DIR="$$(pkg-config --variable=includedir openssl)") \
	RUSTFLAGS="$(STATIC_FLAGS)" OPENSSL_STATIC=1 \
	$(CARGO) build --release --locked $(FEATURES) $(ACME) --target $(TARGET) --target-dir target/static
	@echo $(STATIC)

small-static: #- The small build in one static file: target/small-static/TARGET/release/wharfd
	$(call ARCHIVES,$(SMALL_STATIC_DIR),c) \
	RUSTFLAGS="$(STATIC_FLAGS)" $(SMALLEST) \
	$(CARGO) build --release --locked $(SMALL) $(BUILD_STD) --target $(TARGET) \
	  --target-dir $(SMALL_STATIC_DIR)
	@echo $(SMALL_STATIC)

# One process serves one session, so here a panic may end it.
SUBSYSTEM = --no-default-features --features subsystem --bin sftp-server --profile subsystem
SUBSYSTEM_STD = $(subst panic_unwind,panic_abort,$(BUILD_STD))
SFTP_SERVER = target/sftp-server/$(TARGET)/subsystem/sftp-server
sftp-server: #- The SFTP subsystem alone, for dropbear and sshd; ONE_FILE=yes makes it static
	$(if $(ONE_FILE),$(call ARCHIVES,target/sftp-server,c)) \
	RUSTFLAGS="$(if $(ONE_FILE),$(STATIC_FLAGS),$(RELEASE_FLAGS))" \
	$(CARGO) build --locked $(SUBSYSTEM) $(SUBSYSTEM_STD) --target $(TARGET) --target-dir target/sftp-server
	@echo $(SFTP_SERVER)

test-sftp-server: sftp-server #- Drive it by the clients of the subsystem
	WHARF_SFTP_SERVER='$(CURDIR)/$(SFTP_SERVER)' $(CARGO) test --locked --test clients -- sftp::pipe

lean-static: #- As static, with an OpenSSL built of what wharf uses: target/lean-static/TARGET/release/wharfd
	$(call ARCHIVES,target/lean-static,c) \
	RUSTFLAGS="$(STATIC_FLAGS)" $(SMALLEST) OPENSSL_STATIC=1 \
	OPENSSL_SRC_PERL='$(CURDIR)/contrib/openssl-configure' \
	CFLAGS='-Os -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables' \
	$(CARGO) build --release --locked $(FEATURES) --features vendored $(BUILD_STD) \
	  --target $(TARGET) --target-dir target/lean-static
	@echo $(LEAN_STATIC)

test-static: small-static #- Hold a session with it, and panic in a program linked like it
	$(call ARCHIVES,$(SMALL_STATIC_DIR),c) rustc --edition 2024 --target $(TARGET) \
	  $(STATIC_FLAGS) -o $(SMALL_STATIC_DIR)/panic tests/cross/panic.rs
	$(SMALL_STATIC_DIR)/panic 2>/dev/null | grep -x 'the server goes on'
	python3 tests/cross/session.py - $(SMALL_STATIC)

# Not those that need TLS 1.0 or DSA: this library has neither.
test-lean: lean-static #- Run the tests of TLS and of SSH's parts on that OpenSSL, which is newer
	OPENSSL_STATIC=1 OPENSSL_DIR="$$(ls -dt '$(CURDIR)'/$(LEAN_OPENSSL) | head -n 1)" \
	$(CARGO) test --locked $(FEATURES) --target-dir target/lean-test --lib -- ssh:: net::tls \
	  --skip old_versions_are_refused --skip a_dsa_key_is_refused

CROSS ?= aarch64 armv7 riscv64
cross-check: #- Build static for CROSS (aarch64 armv7 riscv64), hold a session with each under qemu (Debian); LEAN=yes with TLS and SSH
	LEAN=$(LEAN) sh tests/cross/run.sh $(CROSS)

image: static ## Make a container image of the static binary with buildah: localhost/wharf
	rm -rf target/image && mkdir -p target/image
	cp contrib/container/Containerfile '$(STATIC)' target/image/
	buildah bud -t wharf target/image

.PHONY: all-acme
all-acme: export RUSTFLAGS = $(RELEASE_FLAGS)
all-acme: build-deps
	$(CARGO) build --release --locked $(FEATURES) $(ACME) --target-dir target/acme

deb: all-acme ## Make a Debian package (debhelper): target/deb/wharfd_VERSION_ARCH.deb
	sh contrib/debian/build.sh target/acme/release/wharfd target/deb
	@ls target/deb/*.deb

licences: #- List the crates in the binary and their licences
	@$(CARGO) tree --locked -e normal --prefix none --format '{p}	{l}' | \
	  sed 's/ (.*)//' | sort -u

clean: #- Remove what was built
	$(CARGO) clean

# Longer recipes, each in the file of .ci that has its name.
miri: #- Run the tests of the pure modules under Miri (nightly)
threads: #- Run the tests of shared state under the thread sanitizer (nightly)
fuzz: #- Run every fuzz target for SECONDS_EACH (60; cargo-fuzz, nightly)
api: #- Compare the public interface with docs/public-api.txt (cargo-public-api, nightly)
package: #- Make the crate as a registry gets it, build it from that, and run tests of it
reproducible: #- Build twice in two places and compare the bytes
dist: #- Make the release's archive: target/wharf-VERSION.tar.gz
miri threads fuzz api package reproducible dist:
	@CARGO='$(CARGO)' sh .ci/$@

# What is marked with two # is for everybody, with #- for developers and packagers.
LIST = sed -n 's/^\([a-z][a-z-]*\):[^\#]*\#$(1) \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 19
help: ## Show this list
	@$(call LIST,\#)
	@echo; echo 'For developers and packagers:'
	@$(call LIST,-)

include contrib/install.mk
-include benches/bench.mk
