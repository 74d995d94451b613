#!/usr/bin/env bash
# Makes cli/src/commands/check/page/vendor anew: the parts of d3 that the report draws with, from
# npm, as one script.
set -euo pipefail

vendor=$(cd "$(dirname "$0")/../cli/src/commands/check/page/vendor" && pwd)
parts=(d3-hierarchy@3.1.3 d3-scale@4.0.3 d3-selection@3.0.1)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund "${parts[@]}" esbuild@0.28.2
cat >entry.js <<'END'
export { hierarchy, treemap } from "d3-hierarchy";
export { scaleLinear } from "d3-scale";
export { select } from "d3-selection";
END
cp node_modules/d3-hierarchy/LICENSE "$vendor/LICENSE"
# Pages are copies, so the licence goes with them.
npx esbuild entry.js --bundle --minify --format=iife --global-name=d3 --charset=utf8 \
  --banner:js="/* ${parts[*]} and what they need. Made by scripts/vendor_d3.sh.
$(cat "$vendor/LICENSE") */" --outfile="$vendor/d3.js"
