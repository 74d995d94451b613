#!/bin/sh
# Held-out gain of text alone and of text fused with histories, 4 x 256 codes, mean of seeds 0 to 2;
# time of the fusion, and of spectral indexing.
#
#   SEMID_DATA=folder benches/collaborative.sh target/release/semid
set -eu
semid=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

gain() { # EMB INTERACTIONS [SETTING]
    emb=$1 events=$2
    shift 2
    for seed in 0 1 2; do
        "$semid" train "$emb" --preset rk-means "$@" --seed $seed --out "$work/model" --json >"$work/train.json"
        "$semid" index "$emb" --model "$work/model" --out "$work/index" --json >/dev/null
        "$semid" check "$work/index" --interactions "$events" --json >"$work/check.json"
        python3 - "$work" <<'END'
import json, sys
read = lambda name: json.load(open(f"{sys.argv[1]}/{name}.json"))
check = read("check")
gain = check["held_out_gain"]
print(gain["bits"], gain["shuffled"], check["levels_stats"][0]["perplexity"], check["collision_rate"])
END
    done | awk '{ for (i = 1; i <= NF; i++) s[i] += $i / 3 }
        END { printf "gain %.3f  shuffled %.3f  level-0 perplexity %.0f  collisions %.4f\n", s[1], s[2], s[3], s[4] }'
}

for data in scientific/Scientific.emb-minilm-td games/Games.emb-minilm-tc; do
    text=$SEMID_DATA/$data.npy
    events=${text%%.emb-*}.inter.json
    echo "$data"
    echo "  text   $(gain "$text" "$events")"
    echo "  text, spectrum_power=0.5  $(gain "$text" "$events" --set spectrum_power=0.5)"
    "$semid" fuse "$text" --interactions "$events" --out "$work/fused.npy" --json >"$work/fuse.json"
    echo "  fused  $(gain "$work/fused.npy" "$events")"
    "$semid" classic collaborative --items "${text%%.emb-*}.item.json" --interactions "$events" \
        --out "$work/spectral" --json >"$work/spectral.json"
    for report in fuse spectral; do
        echo "  $report: $(sed 's/.*"seconds":\([0-9.]*\).*/\1/' "$work/$report.json") s"
    done
done
