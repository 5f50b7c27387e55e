#!/usr/bin/env bash
# The newest version; `./update.sh --back` returns to the one before. Models, results and settings stay.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
exec python3 "$here/tools/update.py" "$@"
