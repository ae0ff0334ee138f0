#!/bin/sh
# Opens docs/vectors/envelope.json with Python's and Node's own libraries; ends non-zero on any mismatch.
# SEALPOST_INTEROP_DIR says where the two environments live (default: target/interop of the repository).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
dir=${SEALPOST_INTEROP_DIR:-$root/target/interop}/wire-format
vectors=$root/docs/vectors/envelope.json

mkdir -p "$dir"
dir=$(CDPATH='' cd -P -- "$dir" && pwd -P)

for tool in python3 node npm; do
    command -v "$tool" >/dev/null || { echo "run.sh: $tool is needed and not installed" >&2; exit 1; }
done

# Each environment is made anew when its pins change; the copy of the pins is written last.
python=$dir/python
if ! cmp -s "$here/requirements.txt" "$python/requirements.txt"; then
    rm -rf "$python"
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$python/requirements.txt"
fi

node=$dir/node
if ! cmp -s "$here/package-lock.json" "$node/installed"; then
    rm -rf "$node"
    mkdir -p "$node"
    cp "$here/package.json" "$here/package-lock.json" "$node/"
    (cd "$node" && npm ci --silent --no-audit --no-fund)
    cp "$here/package-lock.json" "$node/installed"
fi
# A module finds its packages from where it lies.
cp "$here/open_vectors.mjs" "$node/open_vectors.mjs"

"$python/bin/python" "$here/open_vectors.py" "$vectors" "$dir/sealed-by-python.json"
node "$node/open_vectors.mjs" "$vectors" "$dir/sealed-by-node.json"
