#!/usr/bin/env bash
# Holds the way of imports: semantic-id <- rq-vae, trie-decode, tasks <- the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

middle=(rq-vae trie-decode semid-tasks)
status=0

# forbid FOLDER CRATE...: the package in FOLDER, with its default features, must not link any CRATE.
forbid() {
  local folder=$1 tree found
  shift
  if [ ! -f "$folder/Cargo.toml" ]; then
    echo "imports: no $folder yet"
    return
  fi
  tree=$(cargo tree --manifest-path "$folder/Cargo.toml" -e normal --prefix none -f '{lib}')
  found=$(tail -n +2 <<<"$tree" | sort -u | grep -xF -f <(printf '%s\n' "$@" | tr - _) || true)
  if [ -n "$found" ]; then
    echo "imports: $folder must not link $(paste -sd, <<<"$found")"
    status=1
  else
    echo "imports: $folder is clean"
  fi
}

others() { printf '%s\n' "${middle[@]}" | grep -vx "$1"; }

forbid semantic-id torch-sys "${middle[@]}"
forbid rq-vae torch-sys $(others rq-vae)
forbid trie-decode torch-sys $(others trie-decode)
forbid tasks torch-sys $(others semid-tasks)
for binding in bindings/*/; do
  [ -d "$binding" ] && forbid "${binding%/}" torch-sys
done
exit "$status"
