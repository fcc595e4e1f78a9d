"""The summary of a soak, as data and as text."""

import os
import platform
import resource

from record import KINDS


def summary(soak):
    record = soak.record
    totals = {}
    for person in soak.people:
        for name, value in person.board.counters().items():
            totals[name] = max(totals.get(name, 0), value) if name.startswith("worst_") else \
                totals.get(name, 0) + value
    seconds = soak.ran
    return {
        "schema_version": 1,
        "seed": soak.options.seed,
        "seconds": round(seconds, 1),
        "users": len(soak.people),
        "as_root": soak.is_root,
        "pocl": bool(soak.pocl_vendors),
        "interrupted": soak.interrupted,
        "processor_seconds": round(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]), 1),
        "machine": {"processors": os.cpu_count(), "kernel": platform.release()},
        "kills_per_second": round(totals["kills"] / seconds, 1),
        **totals,
        "allocations_judged_by_the_driver": sum(soak.witness.allocations(device)
                                                for device in range(soak.devices)),
        "over_limit": soak.over_limit,
        "samples": dict(record.samples),
        "leaked_bytes": record.leaked_bytes,
        "files_left": record.files_left,
        "lanes_emptied": record.emptied,
        "limits_filled": record.filled,
        "partitions": dict(sorted(record.partitions.items())),
        "commands": {verb: dict(sorted(counts.items()))
                     for verb, counts in sorted(record.commands.items())},
        "commands_disturbed": dict(record.signals),
        "slowest_command_seconds": {verb: round(value, 3)
                                    for verb, value in sorted(record.worst.items())},
        "lines": dict(sorted(record.lines.items())),
        "problems": {kind: record.problems[kind] for kind in KINDS},
        "problem_texts": record.texts,
    }


def text_of(r):
    def n(value):
        return f"{value:,}"

    commands = sum(sum(counts.values()) for counts in r["commands"].values())
    rows = [
        ("ran", f"{r['seconds']:,.0f} s, seed {r['seed']}, {r['users']} user(s)"
                f"{'' if r['as_root'] else ' (not root)'}, {r['machine']['processors']} processors, "
                f"{r['processor_seconds']:,.0f} s of their time, "
                f"{'with' if r['pocl'] else 'without'} PoCL"),
        ("kills", f"{n(r['kills'])} ({r['kills_per_second']}/s): {n(r['kills_in_a_call'])} within a "
                  f"call, {n(r['kills_of_stopped'])} of stopped processes"),
        ("stops, continues", f"{n(r['stops'])}, {n(r['continues'])}"),
        ("forks, execs", f"{n(r['forks'])}, {n(r['execs'])} ({n(r['runs'])} by chronos run); "
                         f"{n(r['exits'])} came to their own end"),
        ("allocations", f"{n(r['tried'])} tried, {n(r['admitted'] + r['admitted_on_pocl'])} admitted "
                        f"({n(r['admitted_on_pocl'])} on PoCL), {n(r['refused'])} refused, "
                        f"{n(r['freed'])} freed; {n(r['rushes'])} rushes for what was left"),
        ("judged by the driver", f"{n(r['allocations_judged_by_the_driver'])} allocations"),
        ("partitions", ", ".join(f"{n(v)} {k}" for k, v in r["partitions"].items())),
        ("commands", f"{n(commands)}, {n(r['commands_disturbed'].get('killed', 0))} of them sent "
                     f"SIGKILL, {n(r['commands_disturbed'].get('stopped', 0))} stopped for a while"),
    ]
    for verb, counts in r["commands"].items():
        slowest = r["slowest_command_seconds"].get(verb, 0)
        rows.append((f"  {verb}", ", ".join(
            f"{n(v)} {'killed' if k == 'killed' else 'status ' + k}" for k, v in counts.items())
            + f"; slowest {slowest * 1000:.0f} ms"))
    rows += [
        ("slowest calls", ", ".join(f"{name} {r[f'worst_{key}_ns'] / 1e6:,.0f} ms" for name, key in
                                    (("setup", "setup"), ("allocation", "allocation"),
                                     ("free", "free"), ("on PoCL", "on_pocl")))),
        ("emptied and looked at", f"{n(r['lanes_emptied'])} times, {n(r['limits_filled'])} times "
                                  "filled to the limit after"),
        ("over the limit", f"{n(r['over_limit'])} of these allocations, and of "
                           f"{n(r['samples'].get('judged', 0))} samples of all that is held: "
                           f"{n(r['problems']['over_limit'])} reports"),
        ("leaked", f"{n(r['leaked_bytes'])} bytes, {len(r['files_left'])} files"),
        ("hangs, crashes", f"{n(r['problems']['hang'])}, {n(r['problems']['crash'])}"),
        ("bad answers", n(r["problems"]["bad_output"])),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    return "\n".join(lines + [f"PROBLEM {text}" for text in r["problem_texts"]])
