"""Prints what the demo made, from the objects that its commands reported: python3 demo_table.py FILE...

Exit status 1 if the check failed."""

import json
import pathlib
import sys


def report(command: str) -> dict:
    return json.loads(pathlib.Path("demo", f"{command}.json").read_text())


def main(files: list[str]) -> bool:
    embed, train, index, check = map(report, ["embed", "train", "index", "check"])
    certificate = index["certificate"]
    recall = check["prefix_neighbour_recall"]
    gates = check["gates"]
    failed = [gate["name"] for gate in gates if not gate["ok"]]
    rows = [
        ("built", f"{index['items']} items, {train['levels']} levels of {train['codes']} codes"),
        ("collisions", f"{train['raw_collision_rate']:.1%} of the items before assignment, "
                       f"{check['collision_rate']:.1%} after; {index['moved']} moved"),
        ("assignment", "proven optimal" if certificate["optimal"] else f"gap {certificate['gap']:.2%}"),
        ("error", f"{check['reconstruction_mse']:.2e} (mean squared, per dimension)"),
        ("neighbours", f"{recall['value']:.1%} share the first code; {recall['shuffled']:.1%} by chance"),
        ("gates", f"failed: {', '.join(failed)}" if failed else f"all {len(gates)} passed"),
        ("seconds", f"embed {embed['seconds']:.1f}, train {train['seconds']:.1f}, "
                    f"encode {index['seconds_encode']:.2f}, assign {index['seconds_assign']:.2f}"),
        ("files", ", ".join(files)),
    ]
    print()
    for name, text in rows:
        print(f"{name:12}{text}")
    return check["ok"]


sys.exit(not main(sys.argv[1:]))
