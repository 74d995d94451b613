"""How long and how large an index of many items is on a cluster, from measured rates.

    python3 -B benches/cluster_plan.py --items 1000000000 --dim 256 --cores 512

The rates are rows a second and core of benches/cluster.py: give those of your own machines and model.
Prints a table.
"""

import argparse

GIB = float(1 << 30)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    integer = {"type": int, "metavar": "N"}
    number = {"type": float, "metavar": "X"}
    parser.add_argument("--items", default=1_000_000_000, **integer)
    parser.add_argument("--dim", default=256, help="of embeddings, in f16", **integer)
    parser.add_argument("--latent", default=32, help="numbers of a latent, in f32", **integer)
    parser.add_argument("--levels", default=4, **integer)
    parser.add_argument("--key", default=12, help="bytes of a key", **integer)
    parser.add_argument("--cores", default=512, **integer)
    parser.add_argument("--encode", required=True, help="items a second and core", **number)
    parser.add_argument("--assign", required=True, help="items a second and core", **number)
    parser.add_argument("--write", required=True, help="items a second, by one driver", **number)
    parser.add_argument("--overfull", default=0.0, help="share of items in overfull groups", **number)
    parser.add_argument("--partition", default=128, help="MiB of a shuffled partition", **integer)
    return parser.parse_args()


def plan(given):
    """Rows of the table: step, bytes, partitions, hours of cores, hours by the clock."""
    items, partition = given.items, given.partition * (1 << 20)
    # Key, row, codes as int32 with their length, distance, latent.
    encoded = given.key + 8 + 4 * given.levels + 4 + 4 + 4 * given.latent
    assigned = given.key + 8 + 4 * given.levels + 4 + 1
    # Sorted three times: codes and rows, keys by row, rows by key.
    written = 3 * (given.key + 8 + 4 * given.levels + 4)

    def on_cores(name, size, rate):
        hours = items / rate / 3600
        return name, size * items, -(-size * items // partition), hours, hours / given.cores

    driver = items / given.write / 3600
    rest = given.overfull * items
    left = 2 * given.levels * items + rest * encoded if rest else 0
    return [
        ("encode: read", 2 * given.dim * items, -(-2 * given.dim * items // partition), 0, 0),
        on_cores("encode: table", encoded, given.encode),
        on_cores("assign: shuffle", encoded, given.assign),
        ("assign: driver's memory", left, 1, 0, 0),
        ("assigned: table", assigned * items, -(-assigned * items // partition), 0, 0),
        ("write_index: shuffle", written * items, -(-written * items // partition), driver, driver),
    ]


def main():
    given = parsed()
    print(f"{given.items:,} items of {given.dim} f16, {given.cores} cores\n")
    print("| step | GiB | partitions | core hours | hours |\n|---|---|---|---|---|")
    steps = plan(given)
    for name, size, partitions, cores, hours in steps:
        times = [f"{cores:,.1f}", f"{hours:,.2f}"] if cores else ["", ""]
        print(f"| {name} | {size / GIB:,.1f} | {partitions:,} | {' | '.join(times)} |")
    cores, hours = (sum(step[at] for step in steps) for at in (3, 4))
    print(f"| all | | | {cores:,.1f} | {hours:,.2f} |")


main()
