# Where the engines live and the environment they run in. Sourced by setup.sh and engine.sh.
# shellcheck shell=bash

FERROVIA_ENGINES=${FERROVIA_ENGINES:-$HOME/.cache/ferrovia-engines}

# Set on some build machines; with it every start of vLLM compiles each import again, which doubles the time.
unset PYTHONDONTWRITEBYTECODE

# Nothing is fetched and nothing is reported while tests run.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
export VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
export VLLM_CACHE_ROOT=$FERROVIA_ENGINES/vllmcache VLLM_CONFIG_ROOT=$FERROVIA_ENGINES/vllmcfg
export HF_HOME=$FERROVIA_ENGINES/hf

# Several engines share few cores: one thread each, unbound, because idle OpenMP threads spin.
export OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind
# GiB for the KV cache of one server.
export VLLM_CPU_KVCACHE_SPACE=1
