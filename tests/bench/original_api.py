"""original_api.py ROUNDS: the Python package `chronos`, ours or the original, by what both have.

Prints a line of JSON for each operation. What the library prints goes to /dev/null.
"""

import json
import os
import statistics
import sys
import time

out = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

import chronos  # noqa: E402  it may print

rounds = int(sys.argv[1])
partitioner = chronos.Partitioner()
taken = {name: [] for name in ("create", "list", "release", "end after the deadline")}


def timed(name, function):
    start = time.perf_counter_ns()
    result = function()
    taken[name].append(time.perf_counter_ns() - start)
    return result


for _ in range(rounds):
    partition = timed("create", lambda: partitioner.create(device=0, memory=0.1, duration=3600))
    assert len(timed("list", partitioner.list)) == 1
    timed("release", partition.release)
for number in range(3):
    time.sleep(0.3 * number)
    start = time.perf_counter_ns()
    partitioner.create(device=0, memory=0.1, duration=1)
    while partitioner.list():
        pass
    taken["end after the deadline"].append(time.perf_counter_ns() - start - 10**9)

for name, values in taken.items():
    print(json.dumps({"name": name, "min_ns": min(values), "median_ns": statistics.median(values),
                      "batches": len(values)}), file=out)
out.flush()
