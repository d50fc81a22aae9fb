# What one does here, by name. `just` lists it. (pip install rust-just, or cargo install just)

engines := "tests/engines"
# The environments that .ci/run makes: SDKs in `py`, linters in `tools`.
ci := env("FERROVIA_CI", home_directory() / ".cache/ferrovia-ci")

_list:
    @just --list --unsorted

# The gateway with the settings of .env, on http://localhost:8080
run *arguments:
    cargo run --release -- {{ arguments }}

# Gateway plus simulated engine on free ports, with a call that proves itself
demo:
    cargo run --release -- demo

# Quick look before a commit: format, lints, house rules
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo run -q -p xtask -- tidy

# The tests that need nothing but Rust
test *arguments:
    cargo test --workspace {{ arguments }}

# Integration: the engine suite on the simulated engine, in seconds
it *arguments:
    cargo build --release
    {{ engines }}/suite.py --engine simulator {{ arguments }}

# Installs real vLLM (CPU, 5.5 GB, once) and starts the four servers of the suites
engines:
    {{ engines }}/setup.sh
    {{ engines }}/stack.py up

# Stops them
engines-down:
    {{ engines }}/stack.py down

# The engine suite, the SDKs and the agents on real vLLM
it-real: engines
    cargo build --release
    {{ engines }}/suite.py
    {{ ci }}/py/bin/python {{ engines }}/clients.py
    {{ engines }}/agents.py

# CPU, memory and latency beside nginx and HAProxy, as ratios in one run
bench *arguments:
    cargo xtask bench {{ arguments }}

# Instructions and allocations of a call and of an event, against the committed figures
gate *arguments:
    cargo xtask gate {{ arguments }}

# Calls by the hundred thousand with faults, stalled clients, prompts beside streams: nothing may be left behind
soak *arguments:
    cargo xtask soak {{ arguments }}

# Lets the fuzz targets search: `just fuzz --seconds 300 peek stream` (cargo install cargo-fuzz)
fuzz *arguments:
    cargo xtask fuzz {{ arguments }}

# Times and allocations of what a call does to bytes
bench-bytes *arguments:
    cargo bench -p dialect --bench hot -- {{ arguments }}

# What Ferrovia adds to a call, measured on the simulated engine
latency *arguments:
    cargo build --profile dist
    {{ engines }}/latency.py {{ arguments }}

# Reference pages, example files, schema and llms.txt, from the code
generate:
    cargo run -q -p xtask -- generate

# House rules of the sources: file headers, names, long files
tidy:
    cargo run -q -p xtask -- tidy

# Redis, PostgreSQL, MongoDB and Adminer for development
infra:
    docker compose up -d --wait

# The container image
image:
    docker build -t ferrovia .

# The whole gate, as it runs for every change; or some of its stages by name
ci *stages:
    .ci/run {{ stages }}
