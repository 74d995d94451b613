#!/usr/bin/env bash
# Prints the shell assignments that point torch-sys at libtorch 2.11, fetching a CPU build if there is none.
# Use: eval "$(scripts/libtorch.sh)"
#
# In this order: $LIBTORCH; a Python whose torch is 2.11 (the CUDA way); the copy in the user's
# cache; else the parts of the PyPI wheel that a CPU build needs, kept in that cache.
set -euo pipefail

version=2.11.0
say() { printf 'libtorch: %s\n' "$*" >&2; }

if [ -n "${LIBTORCH:-}" ]; then
  say "using LIBTORCH=$LIBTORCH"
  printf 'export LIBTORCH=%q\n' "$LIBTORCH"
  exit
fi

if python3 -c "import sys, torch; sys.exit(not torch.__version__.startswith('2.11.'))" 2>/dev/null; then
  say "using the torch of $(command -v python3)"
  echo 'export LIBTORCH_USE_PYTORCH=1'
  exit
fi

home="${XDG_CACHE_HOME:-$HOME/.cache}/semid/libtorch-$version"
if [ ! -f "$home/build-version" ]; then
  case "$(uname -sm)" in
    'Linux x86_64') ;;
    *) say "no recipe for $(uname -sm): set LIBTORCH to a libtorch $version folder"; exit 1 ;;
  esac
  say "fetching the torch $version wheel (about 530 MB; 450 MB are kept in $home)"
  mkdir -p "$(dirname "$home")"
  # Built beside its final place and renamed, so that a killed download leaves nothing half done.
  work=$(mktemp -d "$home.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work/wheels" \
    "torch==$version" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85 >&2
  python3 "$(dirname "$0")/unpack_libtorch.py" "$work/wheels" "$work/libtorch"
  # torch-sys links -ltorch; everything of a CPU build lives in libtorch_cpu.
  echo | "${CXX:-c++}" -shared -x c++ - -o "$work/libtorch/lib/libtorch.so"
  echo "$version+cpu" >"$work/libtorch/build-version"
  mv "$work/libtorch" "$home" 2>/dev/null || [ -f "$home/build-version" ]
fi
say "using $home"
printf 'export LIBTORCH=%q\n' "$home"
