# `make demo` shows that it works, `make test` tests it. One profile and one selection of
# packages and features serve all targets: without --all-targets, `build` would turn off
# features that only tests ask for, and a third of the dependencies be compiled twice.
TORCH = settings=$$(scripts/libtorch.sh) && eval "$$settings"
ALL = --release --workspace

.PHONY: build demo titles test corpora python spark mistralrs test-ecosystem report c bench peers lint doc \
  imports fixtures fuzz

build:
	@$(TORCH) && cargo build $(ALL) --all-targets

demo: build
	@scripts/demo.sh

# In f32 the weights take six times the memory, and candle reads a prompt several times faster.
titles: build
	@cache=$$(python3 -B scripts/smollm.py) && CANDLE_DEQUANTIZE_ALL=1 target/release/examples/titles \
	  "$$cache/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf" "$$cache/ml-100k/ml-100k.item"

test:
	@$(TORCH) && if cargo nextest --version >/dev/null 2>&1; \
	  then cargo nextest run $(ALL) --no-fail-fast; \
	  else cargo test $(ALL) --no-fail-fast --lib --bins --tests; fi
	@# Cargo gives doctests no rpath.
	@$(TORCH) && LD_LIBRARY_PATH="$${LIBTORCH:+$$LIBTORCH/lib:}$$LD_LIBRARY_PATH" cargo test $(ALL) --doc

# Corpora of every format, loaded by the Python tools that they are for.
corpora: build
	@python3 -B scripts/check_corpora.py target/release/examples/formats

# The wheel: its tests, its doctests, its types.
python:
	@python3 -B scripts/check_python.py

# The wheel on Apache Spark: a cluster of two workers on loopback, if there is Java. Some ten minutes;
# `make spark SPARK='-k TESTS'` runs a part, as CI does.
spark:
	@python3 -B scripts/check_spark.py $(SPARK)

# The processor for mistral.rs: its tests, and a server with it. In a debug build: mistral.rs is
# large, and neither takes any time.
mistralrs:
	@cargo test --manifest-path bindings/mistralrs/Cargo.toml
	@cargo run --manifest-path bindings/mistralrs/Cargo.toml --example serve

# Real servers: mistral.rs, and the wheel in vLLM and SGLang, all on this CPU. Not in CI: 7 GB of
# packages, and mistral.rs compiles for minutes.
test-ecosystem: mistralrs
	@python3 -B scripts/test_ecosystem.py

# The pages of `semid check --report` and `semid recommend serve`, opened in Chromium if there is one.
report: build
	@python3 -B scripts/check_report.py target/release/semid
	@python3 -B scripts/check_serve.py target/release/semid

# The C and C++ programs of bindings/c, under sanitizers.
c: build
	@scripts/check_c.sh target/release

bench:
	@$(TORCH) && cargo bench --workspace

# The race with what people use today, some twelve minutes: benches/PEERS.md. `make peers PEERS=--quick`
# shows in two that it can be run.
peers: build
	@python3 -B benches/peers/run.py $(PEERS)

lint:
	@cargo fmt --all --check
	@cargo fmt --check --manifest-path bindings/mistralrs/Cargo.toml
	@cargo fmt --check --manifest-path bindings/python/Cargo.toml
	@$(TORCH) && cargo clippy $(ALL) --all-targets -- -D warnings
	@cargo clippy --release --manifest-path bindings/python/Cargo.toml --target-dir target/python \
	  -- -D warnings

doc:
	@$(TORCH) && RUSTDOCFLAGS='-D warnings' cargo doc $(ALL) --no-deps

imports:
	@scripts/check_imports.sh

# The committed fixtures are what their generators make.
fixtures:
	@python3 -B fixtures/decode/make.py
	@git diff --exit-code --stat -- fixtures/decode

# That they build is all that is asked here, so little is optimised.
fuzz:
	@cargo build --release --config profile.release.opt-level=1 --manifest-path fuzz/Cargo.toml
