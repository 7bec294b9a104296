#!/bin/bash
# From detector files to a model that answers, by the commands of docs/training.md; LOGDIR/chain.log.
# PYTHON (python3), SITE (more packages), LOGDIR, PROFILE (smollm2), STATE (a folder that is made anew),
# BUILD_MORE, TRAIN_MORE (further words), PILLARS_PORT (8877), PILLARS__... (settings, such as gates).
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3} PROFILE=${PROFILE:-smollm2} STATE=${STATE:-${TMPDIR:-/tmp}/pillars-chain}
mkdir -p "${LOGDIR:?}"
exec > >(tee "$LOGDIR/chain.log") 2>&1
export PYTHONPATH=$PWD:$PWD/platform${SITE:+:$SITE} PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
export PILLARS_STATE_DIR=$STATE PILLARS__TRAINING__FOLDER=$STATE/training PILLARS_PORT=${PILLARS_PORT:-8877}

finish() {
  status=$?; trap - EXIT
  [ $status = 0 ] || tail -n 15 "$STATE"/logs/*.log "$STATE"/training/runs/*/trainer.log 2>/dev/null || true
  "$PYTHON" -m deploy.local down || true
  cp -r "$STATE"/training/models "$LOGDIR"/ 2>/dev/null || true
  cp "$STATE"/training/runs/*/{run.json,metrics.jsonl,trainer.log} "$LOGDIR"/ 2>/dev/null || true
  [ $status = 0 ] && echo "DONE in $SECONDS s" || echo "FAILED with status $status"
  exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

# step SHOWN WORDS...: print the command, run it, print its seconds.
step() {
  local shown=$1 began=$SECONDS status=0; shift
  printf '\n$ %s\n' "$shown"
  "$@" || status=$?
  echo "-- exit $status, $((SECONDS - began)) s"
  return $status
}
manage() { step "manage.py $*" "$PYTHON" -m deploy.local manage "$@"; }

[ ! -e "$STATE" ] || "$PYTHON" -m deploy.local clean
"$PYTHON" -c 'import os, platform, torch
print("python", platform.python_version(), "torch", torch.__version__, "cores", os.cpu_count(),
      torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")'
step "deploy.local up" "$PYTHON" -m deploy.local up
people='
import secrets
from access.users.roles import MODEL_APPROVER, MODEL_ENGINEER
from access.users.services import ensure_user
for name, role in (("ann", MODEL_ENGINEER), ("bob", MODEL_APPROVER)):
    ensure_user(username=name, password=secrets.token_urlsafe(20), role=role, actor="system:chain")'
step "ann, a model engineer; bob, a model approver" \
  "$PYTHON" -m deploy.local manage shell --no-imports -c "$people"

# shellcheck disable=SC2086 # several words are meant
manage build_dataset ${BUILD_MORE:-}
# shellcheck disable=SC2086
manage train --profile "$PROFILE" --by ann ${TRAIN_MORE:-}
manage evaluate --by ann
VERSION=$("$PYTHON" -m deploy.local manage models list --json | "$PYTHON" -c '
import json, sys
names = [one["version"] for one in json.load(sys.stdin)["versions"]]
print(max(names, key=lambda name: [int(part) for part in name.partition("@v")[2].split(".")]))')
manage approve_model "$VERSION" --by bob
manage promote
manage models list
manage models show "$VERSION"

sleep 3  # every process knows within two seconds
answered() {
  "$PYTHON" - "$STATE/credentials.json" "${VERSION/@v/-}" <<'P'
import json, sys, urllib.request

told = json.load(open(sys.argv[1]))
head = {"Authorization": f"Bearer {told['tenants'][0]['api_key']}", "Content-Type": "application/json"}
label = "Employee Badge Code"
asked = {"detector": "acme-scanner", "output": {"labels": [label]},
         "label_descriptions": {label: "Number on the badge that identifies an employee"}}
for _ in range(3):  # the first question may meet a model that is still cold
    request = urllib.request.Request(told["url"] + "/map", json.dumps(asked).encode(), head)
    answer = json.load(urllib.request.urlopen(request, timeout=60))
    print(json.dumps(answer, indent=1))
    if sys.argv[2] in answer["version_info"]["model"]:
        sys.exit()
sys.exit("The promoted version did not answer.")
P
}
step "POST /map" answered
