# The benchmarks, included by the Makefile.

CARGO ?= cargo
ROUNDS ?= 3

.PHONY: bench bench-compare

# What is measured is what `make` builds.
bench bench-compare: export RUSTFLAGS = $(RELEASE_FLAGS)
bench: #- Measure wharfd beside its peers (20 minutes, root), into benches/ and docs; BENCH=retr,list for some rows, KEEP=no leaves both
	$(CARGO) build --release --locked --bin wharfd
	$(MAKE) small
	ROUNDS=$(ROUNDS) $(CARGO) bench --locked --bench bench
	@cat target/bench-results/summary.md
	@test -n '$(BENCH)' || test '$(KEEP)' = no || { \
	  cp target/bench-results/ratios.txt benches/baseline.txt && \
	  cp target/bench-results/latest.md benches/table.md && \
	  cp target/bench-results/latest.svg benches/ratios.svg && \
	  cp target/bench-results/first.svg benches/first.svg && \
	  sed -i -e '/^<!-- bench -->$$/,/^<!-- end of bench -->$$/{//!d}' \
	    -e '/^<!-- bench -->$$/r target/bench-results/summary.md' docs/benchmarks.md; }

bench-compare: #- Say what the last `make bench` has worse than the committed benches/baseline.txt
	git show HEAD:benches/baseline.txt > target/bench-results/baseline.txt 2> /dev/null || \
	  cp benches/baseline.txt target/bench-results/baseline.txt
	$(CARGO) bench --locked --bench bench -- --compare

# Times beside those of peers are only good where nothing else runs.
.PHONY: bench-wire
bench-wire: export RUSTFLAGS = $(RELEASE_FLAGS)
bench-wire: #- Measure wharfd beside its peers over long, slow and lossy wires (20 minutes, root), into benches/wire.md; WIRE=0,2 for some, KEEP=no leaves it
	$(CARGO) build --release --locked --bin wharfd
	ROUNDS=$(ROUNDS) $(CARGO) bench --locked --bench bench -- --wire
	@test -n '$(WIRE)' || test '$(KEEP)' = no || cp target/bench-results/wire.md benches/wire.md
