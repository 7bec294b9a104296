#!/bin/bash
# vLLM on one GPU beside the embedded worker; LOGDIR/main.log and one file for each part.
# ADAPTER (a version's folder; its name is what it is served as), CALIBRATOR (its calibrator.json; left out: the
# shipped one), DATASET (folder of a data set), VLLM_PYTHON (an environment with vLLM), PYTHON (python3), SITE (more
# packages), LOGDIR, BASE (folder of the base model; left out: SmolLM2 from its package), ROWS (a sample),
# SKIP="bench latency test" (parts to leave out).
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
PYTHON=${PYTHON:-python3} SKIP=" ${SKIP:-} " W=$(mktemp -d)
mkdir -p "${LOGDIR:?}" "$W/adapters"
export PILLARS_INFERENCE_API_KEY=key-$RANDOM$RANDOM
now() { echo "[$(date +%T) +${SECONDS}s] $*" | tee -a "$LOGDIR/main.log"; }
own() { env PYTHONPATH="$PWD:$PWD/platform${SITE:+:$SITE}" TOKENIZERS_PARALLELISM=false "$PYTHON" "$@"; }
port() { "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
WORST=0
ended() { local status=$?; [ $status -gt $WORST ] && WORST=$status; now "$1: exit status $status"; }
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$W"' EXIT

nvidia-smi --query-gpu=name,driver_version,memory.used --format=csv,noheader | tee -a "$LOGDIR/main.log"
BASE=${BASE:-$(own -c '
from pathlib import Path
from mapping.worker.weights import packaged_base
print(packaged_base(Path(".pillars/models")).folder)')} || exit 1
NAME=$(own -c 'import sys; from pathlib import Path; from mapping.worker.weights import base_in
print(base_in(Path(sys.argv[1])).name)' "$BASE") || exit 1
cp -r "${ADAPTER:?}" "$W/adapters/"; MAPPER=$(basename "$ADAPTER")
VPORT=$(port)
env PYTHONPATH= "${VLLM_PYTHON:?}" -m deploy.vllm --model "$BASE" --name "$NAME" --adapters "$W/adapters" \
  --port "$VPORT" > "$LOGDIR/vllm.log" 2>&1 &
VPID=$!
WPORT=$(port)
own -m mapping.worker --port "$WPORT" --model-dir "$BASE" --adapter "$ADAPTER" > "$LOGDIR/worker.log" 2>&1 &
WPID=$!

if [[ $SKIP != *" bench "* ]]; then  # the embedded worker is asked first, while vLLM compiles
  own -m tests.bench.servers "${DATASET:?}" --server "embedded=http://127.0.0.1:$WPORT" \
    --server "vllm=http://127.0.0.1:$VPORT" --model "$NAME" --adapter "$MAPPER" --wait 400 \
    ${CALIBRATOR:+--calibrator "$CALIBRATOR"} ${ROWS:+--rows "$ROWS"} --json "$LOGDIR/servers.json" \
    > "$LOGDIR/servers.md" 2> "$LOGDIR/servers.err"
  ended "servers side by side (0: within 0.5 points)"; cat "$LOGDIR/servers.md" >> "$LOGDIR/main.log"
fi
kill "$WPID" 2>/dev/null
if [[ $SKIP != *" latency "* ]]; then
  own -m tests.bench.vllm --url "http://127.0.0.1:$VPORT" --model "$NAME" --adapter "$MAPPER" \
    --connections 1 8 64 --seconds 8 --json "$LOGDIR/latency.json" > "$LOGDIR/latency.md" 2> "$LOGDIR/latency.err"
  ended times; grep '^|' "$LOGDIR/latency.md" >> "$LOGDIR/main.log"
fi
kill "$VPID" 2>/dev/null; wait "$VPID" 2>/dev/null
if [[ $SKIP != *" test "* ]]; then  # starts a vLLM of its own
  PILLARS_VLLM_PYTHON=$VLLM_PYTHON PILLARS_VLLM_BASE=$BASE own -m pytest --noconftest -c /dev/null --rootdir . \
    --import-mode=importlib -q -s -p no:cacheprovider tests/inference/test_vllm.py > "$LOGDIR/test_vllm.log" 2>&1
  ended test_vllm
fi
exit $WORST
