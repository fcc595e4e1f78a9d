#!/usr/bin/env python3
"""A partition for each student of a course, spread over the devices of this machine.

    sudo python3 examples/classroom.py --memory 0.05 --duration 1h student1 student2 student3

Every student gets the share on one device, in turn; who has no account here or finds no room is
named, and the others get theirs all the same. They work in it with `chronos run -- COMMAND`, or need
do nothing if the machine's policy keeps those out that have no partition (docs/policy.md). The
partitions end by themselves; `sudo chronos release --user NAME` ends one early.

Exit status: 0 everybody has one, 1 somebody has not, 2 bad usage.
"""

import argparse
import sys

import chronos


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", nargs="+", metavar="STUDENT")
    parser.add_argument("--memory", default="0.05", help="a share of a device, or a size (4GiB)")
    parser.add_argument("--duration", default="1h", help="1h by default")
    arguments = parser.parse_args()

    missing = 0
    try:
        partitioner = chronos.Partitioner()
        devices = [device.device for device in partitioner.stats()]
    except chronos.ChronosError as error:
        sys.exit(f"classroom.py: {error}")
    for i, student in enumerate(arguments.students):
        try:
            partition = partitioner.create(
                device=devices[i % len(devices)], memory=arguments.memory,
                duration=arguments.duration, user=student)
            print(f"{student}: {partition.partition_id} on device {partition.device}, "
                  f"{partition.limit_bytes >> 20} MiB")
        except chronos.ChronosError as error:
            print(f"{student}: {error}", file=sys.stderr)
            missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
