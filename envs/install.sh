#!/usr/bin/env bash
# Makes the locked virtual environment: envs/install.sh FOLDER LOCK PYTHON.
# Built beside and moved into place, so that a failed installation leaves the old one; a folder that is not ours stays.
set -euo pipefail
venv=$1 lock=$2 python=$3
ready=$venv/.ready
fail() { echo "error: $*" >&2; exit 2; }

# The lock's content, not its date, decides: a fresh checkout must not reinstall.
if [ -f "$ready" ] && cmp -s "$lock" "$ready"; then touch "$ready"; exit 0; fi
if [ -e "$venv" ] && ! [ -f "$ready" ]; then
  fail "$venv exists and was not made by this project (no $ready); move it away, or run make VENV=other-folder"
fi
command -v "$python" > /dev/null || fail "$python is not there; Python 3.11 or newer is needed: make PYTHON=python3.11"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$python is $("$python" -V 2>&1), Python 3.11 or newer is needed: make PYTHON=python3.11"

new=$venv.new log=$venv.install.log
if [ -e "$new" ] && ! [ -f "$new/.building" ]; then fail "$new exists and was not made by this project; move it away"; fi
rm -rf "$new"
echo "installing the locked environment into $venv, a few minutes (log: $log)"
"$python" -m venv --prompt "$(basename "$venv")" "$new" && touch "$new/.building"
if ! "$new/bin/python" -m pip install --quiet --no-deps --require-hashes -r "$lock" > "$log" 2>&1; then
  if grep -qiE 'temporary failure|name resolution|connection (refused|error|broken)|network is unreachable|timed out|no matching distribution' "$log"; then
    fail "the package index cannot be reached or lacks a package (needed: network, or pip's own mirror settings); last line: $(tail -n 1 "$log")"
  fi
  fail "installation failed, see $log; last line: $(tail -n 1 "$log")"
fi
# The project itself, so that `webseg` is there; nothing is fetched for it.
if [ -f pyproject.toml ] && ! "$new/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e . >> "$log" 2>&1; then
  fail "the project itself could not be installed, see $log; last line: $(tail -n 1 "$log")"
fi
# Scripts name their interpreter by its folder.
from=$(cd "$new" && pwd) to=$(cd "$(dirname "$venv")" && pwd)/$(basename "$venv")
grep -rlI --exclude-dir=site-packages -F "$from" "$new/bin" "$new/pyvenv.cfg" | while read -r file; do
  sed -i "s|$from|$to|g" "$file"
done
rm -f "$new/.building"
cp "$lock" "$new/.ready"
if [ -L "$venv" ]; then rm "$venv"; elif [ -d "$venv" ]; then mv "$venv" "$venv.old"; fi
mv "$new" "$venv"
rm -rf "$venv.old" "$log"
