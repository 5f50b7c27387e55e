#!/usr/bin/env bash
# Finds Python 3.11 or newer and hands over to tools/bootstrap.py, which prepares .venv and starts what was asked for.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

python=""
if [ "${1:-}" = "--python" ] && [ -n "${2:-}" ]; then
  python="$2"
  if [ -d "$python" ]; then python="$python/bin/python"; fi
else
  for candidate in python3 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      python="$candidate"
      break
    fi
  done
fi
if ! command -v "$python" >/dev/null; then
  echo "No Python 3.11 or newer${python:+ at $python}. Install it (for example: sudo apt install python3.12-venv)." >&2
  exit 1
fi
exec "$python" "$here/tools/bootstrap.py" "$@"
