#!/usr/bin/env bash
# Compiles the C and C++ programs of bindings/c against the library in the folder that cargo built
# into, and runs them under sanitizers: check_c.sh target/release
set -euo pipefail
built=$(cd "$1" && pwd)
cd "$(dirname "$0")/../bindings/c"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$built/examples/small_index" "$work/index.safetensors"

flags=(-Wall -Wextra -Wpedantic -Werror -g -fsanitize=address,undefined -fno-sanitize-recover=all
  -Iinclude -Itests/c/mock)
libraries=("$built/libsemid.a" -lpthread -ldl -lm)

# check COMPILER STANDARD LANGUAGE SOURCE: it compiles without a warning, and runs in silence.
check() {
  "$1" "-std=$2" "${flags[@]}" -x "$3" "$4" -x none "${libraries[@]}" -o "$work/program"
  "$work/program" "$work/index.safetensors"
  echo "c: $(basename "$4") runs as $3 ($2)"
}

# The program in the manual.
sed -n '/^```c$/,/^```$/{/^```/d;p}' README.md >"$work/manual.c"
test -s "$work/manual.c"

check gcc c99 c "$work/manual.c"
check gcc c99 c examples/recommend.c
check gcc c99 c tests/c/hostile.c
check gcc c99 c tests/c/llama.c
check g++ c++11 c++ tests/c/llama.c
check g++ c++11 c++ examples/recommend.cpp
