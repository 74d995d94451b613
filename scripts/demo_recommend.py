"""Shows what `semid recommend` made of the demo's data: the evaluation, and what three users are given.

    python3 scripts/demo_recommend.py SEMID MODEL REPORT INTERACTIONS
"""

import json
import subprocess
import sys

USERS = ["42", "123", "777"]
SHOWN = 3


def main() -> None:
    semid, model, report, interactions = sys.argv[1:]
    with open(report) as file:
        systems = json.load(file)["systems"]
    print(f"\n{'':12}" + "".join(f"{name:>12}" for name in systems))
    for metric in ["hr@10", "ndcg@10", "coverage@20"]:
        values = (f"{system['metrics'][metric]:12.4f}" for system in systems.values())
        print(f"{metric:12}" + "".join(values))
    with open(interactions) as file:
        next(file)  # names of the columns
        events = [line.split() for line in file]
    for user in USERS:
        own = sorted((float(time), item) for who, item, _, time in events if who == user)
        history = ",".join(item for _, item in own)
        asked = [semid, "recommend", "query", model, "--history", history, "-k", str(SHOWN), "--json"]
        answer = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)
        print(f"\nuser {user}, after {', '.join(item['title'] for item in answer['read'][-SHOWN:])}:")
        for hit in answer["hits"]:
            print(f"  {hit['score']:7.3f}  {hit['title']}  {hit['id']}")


if __name__ == "__main__":
    main()
