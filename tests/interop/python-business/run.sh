#!/bin/sh
# A business in Python: run.sh RUN_JSON FOLDER [--pin FINGERPRINT]. FOLDER keeps its stubs and what it must remember.
# run.sh alone installs the pinned packages. SEALPOST_INTEROP_DIR says where (default: target/interop of the repository).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
dir=${SEALPOST_INTEROP_DIR:-$root/target/interop}/python-business

command -v python3 >/dev/null || { echo "run.sh: python3 is needed and not installed" >&2; exit 1; }

mkdir -p "$dir"
dir=$(CDPATH='' cd -P -- "$dir" && pwd -P)

# The environment is made anew when its pins change; the copy of the pins is written last.
python=$dir/python
if ! cmp -s "$here/requirements.txt" "$python/requirements.txt"; then
    rm -rf "$python"
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$python/requirements.txt"
fi
[ $# -gt 0 ] || exit 0

run_json=$1 folder=$2
shift 2
umask 077
mkdir -p "$folder/stubs"
"$python/bin/python" -m grpc_tools.protoc -I "$root/proto" --python_out "$folder/stubs" --grpc_python_out "$folder/stubs" \
    sealpost/gateway/v1/gateway.proto sealpost/envelope/v1/envelope.proto sealpost/content/v1/content.proto
PYTHONPATH=$folder/stubs PYTHONDONTWRITEBYTECODE=1 exec "$python/bin/python" "$here/business.py" "$run_json" "$folder/memory.sqlite" "$@"
