# wharf: build, test, install. `make help` lists what there is.

CARGO   ?= cargo
# The directory that `make run` serves.
DIR ?= .
# Features of the build, as for cargo: FEATURES='--features tls13'.
FEATURES ?=

SMALL   = --no-default-features --features cli
HOST    = $(shell rustc -vV | sed -n 's/^host: //p')
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
STATIC  = target/static/$(HOST)/release/wharfd

.PHONY: all build-deps run test soak miri threads reproducible licences fuzz check man-lint small static image deb dist clean help

all: build-deps ## Build wharfd: target/release/wharfd
	$(CARGO) build --release --locked $(FEATURES)

build-deps: ## Install OpenSSL's headers, if they are missing (Debian)
	@sh contrib/install-build-deps.sh

run: all ## Serve DIR (this directory) to everybody on this machine, read-only, port 2121
	@exec target/release/wharfd $(ARGS) "$(DIR)"

test: build-deps ## Install the clients the tests drive (Debian), and run all tests
	sh tests/install-clients.sh
	WHARF_NEED_CLIENTS=1 $(CARGO) test --locked
	$(CARGO) test --locked $(SMALL)
	WHARF_NEED_CLIENTS=1 $(CARGO) test --locked --features tls13,testing --lib --test ftps --test transcripts --test clients_tls
	$(CARGO) test --locked --features tls13,testing --doc testing

MINUTES ?= 60
soak: build-deps ## A hundred clients of all kinds at once for MINUTES (60)
	sh tests/install-clients.sh
	WHARF_NEED_CLIENTS=1 WHARF_SOAK_MINUTES=$(MINUTES) \
	  $(CARGO) test --release --locked --test soak -- --ignored --nocapture

# Interpreted a thousand times slower: tests of parsers, formats and tables.
# Hashes of passwords, long floods and the system's calls are left out.
MIRI = address:: base64:: digest:: config:: text:: time:: error:: ftp::ascii \
  ftp::line ftp::listing ftp::reply ftp::table session::names session::limits \
  session::transfer_log sftp::attributes sftp::wire sftp::table sftp::status \
  sftp::owners storage::path storage::memory storage::trail storage::time \
  auth::perms auth::authorized_keys auth::user_file::options \
  auth::user_file::parse auth::password::base64
miri: ## Run the tests of the pure modules under Miri (nightly)
	MIRIFLAGS='-Zmiri-disable-isolation -Zmiri-permissive-provenance' \
	$(CARGO) +nightly miri test --lib --no-default-features --target-dir target/miri -- \
	  --skip noise --skip corpora --skip a_line_without_end \
	  --skip the_memory_of_failures $(MIRI)

threads: ## Run the tests of shared state under the thread sanitizer (nightly)
	RUSTFLAGS='-Zsanitizer=thread' \
	$(CARGO) +nightly test -Zbuild-std --target $(HOST) --target-dir target/threads \
	  --no-default-features --lib -- --skip corpora --skip noise \
	  net:: session:: storage::memory storage::metered
	RUSTFLAGS='-Zsanitizer=thread' \
	$(CARGO) +nightly test -Zbuild-std --target $(HOST) --target-dir target/threads \
	  --no-default-features --test limits --test abort --test transfer \
	  --test uploads --test leaks

check: man-lint ## Formatting, lints and documentation, without the tests
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --features tls13,testing -- -D warnings
	$(CARGO) clippy --locked --all-targets $(SMALL) -- -D warnings
	$(CARGO) clippy --locked --no-default-features --lib -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --lib --features testing

man-lint: ## Lint the manual pages
	mandoc -T lint -W warning man/*.[1-8]

small: ## Build without OpenSSL, for routers: target/small/release/wharfd
	CARGO_PROFILE_RELEASE_OPT_LEVEL=z \
	$(CARGO) build --release --locked $(SMALL) --target-dir target/small

static: ## The same in one static file: target/static/HOST/release/wharfd
	CARGO_PROFILE_RELEASE_OPT_LEVEL=z RUSTFLAGS='-C target-feature=+crt-static' \
	$(CARGO) build --release --locked $(SMALL) --target $(HOST) --target-dir target/static
	@echo $(STATIC)

image: static ## Make a container image of the static binary with buildah: localhost/wharf
	rm -rf target/image && mkdir -p target/image
	cp contrib/container/Containerfile '$(STATIC)' target/image/
	buildah bud -t wharf target/image

deb: all ## Make a Debian package (debhelper): target/deb/wharfd_VERSION_ARCH.deb
	sh contrib/debian/build.sh target/release/wharfd target/deb
	@ls target/deb/*.deb

reproducible: ## Build twice in two places and compare the bytes
	rm -rf target/reproducible
	for copy in one two/deeper; do \
	  mkdir -p "target/reproducible/$$copy" && \
	  git archive HEAD | tar -x -C "target/reproducible/$$copy" && \
	  (cd "target/reproducible/$$copy" && \
	   $(CARGO) build --release --locked $(SMALL) --target-dir target) || exit 1; done
	cmp target/reproducible/one/target/release/wharfd \
	  target/reproducible/two/deeper/target/release/wharfd
	sha256sum target/reproducible/one/target/release/wharfd
	rm -rf target/reproducible

licences: ## List the crates in the binary and their licences
	@$(CARGO) tree --locked -e normal --prefix none --format '{p}	{l}' | \
	  sed 's/ (.*)//' | sort -u

SECONDS_EACH ?= 60
fuzz: ## Run every fuzz target for SECONDS_EACH (cargo-fuzz, nightly)
	@for target in $$(cd fuzz/fuzz_targets && ls | sed 's/\.rs$$//'); do \
	  mkdir -p "fuzz/corpus/$$target" && \
	  nice -n 19 $(CARGO) +nightly fuzz run -s none -a "$$target" \
	    "fuzz/corpus/$$target" "tests/corpus/$$target" -- \
	    -max_len=1024 -max_total_time=$(SECONDS_EACH) || exit 1; done

dist: ## Make the release's archive: target/wharf-VERSION.tar.gz
	@test -z "$$(git status --porcelain)" || { echo 'the tree has changes' >&2; exit 1; }
	@grep -q '^## $(VERSION)' CHANGELOG.md || \
	  { echo 'CHANGELOG.md has no heading ## $(VERSION)' >&2; exit 1; }
	mkdir -p target
	git archive --format=tar.gz --prefix='wharf-$(VERSION)/' -o 'target/wharf-$(VERSION).tar.gz' HEAD
	@echo 'target/wharf-$(VERSION).tar.gz'

clean: ## Remove what was built
	$(CARGO) clean

help: ## Show this list
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

include contrib/install.mk
-include benches/bench.mk
