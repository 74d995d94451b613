#!/usr/bin/env bash
# Semantic IDs for the 1,682 movies of MovieLens 100K, from texts to a checked index, a small corpus
# of it, and recommendations, into demo/.
# A step whose output is newer than its inputs is not run again. Needs target/release/semid (make build).
set -euo pipefail
cd "$(dirname "$0")/.."

semid=target/release/semid
cache=$(python3 scripts/fetch.py)
movies=$cache/ml-100k/ml-100k.item
model=demo/model
embeddings=demo/movies.npy
index=demo/movies.index.safetensors
mkdir -p demo
echo "MovieLens 100K: GroupLens allows research use, not commercial use or passing it on"

# is_newer TARGET INPUT...: whether TARGET is there and no INPUT is newer.
is_newer() {
  local target=$1 input
  shift
  [ -e "$target" ] || return 1
  for input; do [ "$input" -nt "$target" ] && return 1; done
  return 0
}

# step COMMAND OUTPUT INPUT... -- ARGUMENTS...: runs `semid COMMAND ARGUMENTS`; what it reports goes to
# demo/COMMAND.json, with - between two words.
step() {
  local command=$1 name=${1// /-} output=$2 inputs=() status=0
  shift 2
  while [ "$1" != -- ]; do inputs+=("$1"); shift; done
  shift
  if [ -e "$output" ] && is_newer "demo/$name.json" "${inputs[@]}"; then
    echo "$command: done before"
    return
  fi
  echo "$command: semid $command $*"
  rm -f "demo/$name.json"
  # shellcheck disable=SC2086  # a command may be two words
  "$semid" $command "$@" --json >"demo/$name.json.part" || status=$?
  # A check that fails still reports; nothing else does.
  if [ -s "demo/$name.json.part" ]; then mv "demo/$name.json.part" "demo/$name.json"; fi
  return "$status"
}

step embed "$embeddings" "$movies" -- \
  "$movies" --model "$cache/all-MiniLM-L6-v2" --out "$embeddings"
step train "$model" demo/embed.json -- \
  "$embeddings" --out "$model" --seed 42
step index "$index" demo/embed.json demo/train.json -- \
  "$embeddings" --model "$model" --keys "$movies" --out "$index"
step check demo/check.json demo/index.json -- \
  "$index" --embeddings "$embeddings" --model "$model" || [ -e demo/check.json ]
python3 scripts/demo_table.py "$embeddings" "$model" "$index"

cat >demo/recipe.toml <<RECIPE
# A small corpus: which movie comes next, what the IDs mean, and the best of ten.
seed = 42

[inputs]
items = "$movies"
interactions = "$cache/ml-100k/ml-100k.inter"
index = "movies.index.safetensors"

[[tasks]]
task = "sequential"
rows = 2000

[[tasks]]
task = "item-to-text"

[[tasks]]
task = "ranking"
rows = 500
negatives = { count = 9, from = "tree", depth = 1 }
RECIPE
"$semid" tasks build demo/recipe.toml --out demo/corpus
"$semid" tasks audit demo/corpus --recipe demo/recipe.toml
echo "three rows:"
for row in 1 2 3; do
  sed -n "${row}p" demo/corpus/train/part-00000-of-00001.jsonl
done

step "recommend train" demo/taste demo/index.json -- \
  --interactions "$cache/ml-100k/ml-100k.inter" --items "$movies" --index "$index" --out demo/taste --seed 42 \
  --width 64 --epochs 8 --validation-users 300
step "recommend eval" demo/recommend-eval.json "demo/recommend-train.json" -- \
  demo/taste --interactions "$cache/ml-100k/ml-100k.inter" --baseline popularity,item-knn --leave-out-seen
python3 scripts/demo_recommend.py "$semid" demo/taste demo/recommend-eval.json "$cache/ml-100k/ml-100k.inter"
