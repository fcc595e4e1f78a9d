"""What was asked of the figures, and what they say: a row for each."""

from .figures import shown, value_of


def judged(what, wanted, measured, reached):
    return [what, wanted, measured, "reached" if reached else "**not reached**"]


def most(values):
    return max(values, default=None)


def rows(figures):
    found = []

    def ask(what, wanted, value, show, limit, at_least=False):
        if value is None:
            found.append([what, wanted, "", "not measured"])
        else:
            reached = value >= limit if at_least else value <= limit
            found.append(judged(what, wanted, show(value), reached))

    def number(row, key):
        return row.get(key) if row else None

    def plus(value):
        return f"+{shown(value)}"

    def by(value):
        return f"{value:.3g}×" if value >= 1.1 else f"{value:.3f}×"

    doors = ("layer door", "driver door", "both doors")
    dearest = most(filter(None, (number(figures.get("buffers, callback", door), "added")
                                 for door in doors)))
    ask("a buffer's pair, one process, the default mode, the dearest door", "≤ +36 ns", dearest,
        plus, 36)
    ask("the same with callbacks (which PoCL's default has)", "≤ +65 ns", dearest, plus, 65)
    ask("the same, against bare", "≤ 1.35×",
        most(filter(None, (number(figures.get("buffers, callback", door), "ratio")
                           for door in doors))), by, 1.35)
    ask("the same through the installed loader, both doors", "≤ +65 ns",
        number(figures.get("buffers, installed loader", "both doors"), "added"), plus, 65)
    ask("64 processes in the partition, the dearest door", "≤ +150 ns",
        most(filter(None, (number(figures.crowd("callback", 64, 1, door), "added")
                           for door in doors))), plus, 150)
    for group in ("clEnqueueNDRangeKernel, PoCL", "clEnqueueWriteBuffer, PoCL",
                  "clEnqueueWriteBuffer, fake driver"):
        ask(f"{group}, the dearest door", "≤ 1.01×",
            most(filter(None, (number(figures.get(group, door), "ratio") for door in doors))),
            by, 1.01)
    ask("exec of `/bin/true`", "≤ +0.15 ms",
        number(figures.get("exec of /bin/true", "shim"), "added"), plus, 150e3)
    ask("in-process create", "≤ 0.1 ms",
        number(figures.get("registry, create", "among 1"), "min_ns"), shown, 100e3)
    ask("in-process release", "≤ 0.05 ms",
        number(figures.get("registry, release", "among 1"), "min_ns"), shown, 50e3)
    starts = [group for group in figures.groups("Python ") if group.endswith(", start")]
    ask("`import chronos`, the dearest interpreter", "≤ +20 ms",
        most(filter(None, (number(figures.get(group, "import chronos"), "added")
                           for group in starts))), plus, 20e6)
    calls = [group for group in figures.groups("Python ") if group.endswith(", calls")]
    ask("create and release from Python, the dearest interpreter", "≤ 0.3 ms",
        most(filter(None, (number(figures.get(group, "create and release"), "min_ns")
                           for group in calls))), shown, 300e3)
    for verb in ("create", "list", "release", "available"):
        ask(f"`chronos {verb}`", "≤ 5 ms",
            number(figures.get("commands", f"chronos {verb}"), "min_ns"), shown, 5e6)
    ask("list of 10,000 partitions, in process", "≤ 50 ms",
        number(figures.get("registry, list", "among 10000"), "min_ns"), shown, 50e6)
    one, many = (figures.get("registry, list", f"among {count}") for count in (1000, 10000))
    ask("list of 10,000 against list of 1,000", "≤ 10×",
        value_of(many) / value_of(one) if one and many else None, by, 10)
    for group in ("clpeak --kernel-latency", "CLBlast GEMM", "tinygrad, training"):
        ask(group, "≤ 1.01×", number(figures.get(group, "in a partition"), "ratio"), by, 1.01)
    peers(figures, ask)
    return found


def peers(figures, ask):
    for group in dict.fromkeys(group for group, name in figures.by_key if name == "the original"):
        ask(f"the original, {group}", "≥ 10×", figures.get(group, "the original")["ratio"], by10,
            10, at_least=True)
    beside = "buffers, beside the intercept layer"
    ours, theirs = (figures.get(beside, name)
                    for name in ("ours, both doors", "intercept layer, leak checker"))
    if ours and theirs:
        ask("added for a buffer's pair, against the intercept layer with its leak checker",
            f"≤ +{shown(theirs['added'])}", ours["added"], lambda value: f"+{shown(value)}",
            theirs["added"])
    else:
        ask("added for a buffer's pair, against the intercept layer", "≤ its", None, None, 0)
    row = figures.get("a charge and its credit, 8 processes at once", "lock and scan")
    ask("a lock-and-scan region, 8 processes", "≥ 5×", row["ratio"] if row else None, by10, 5,
        at_least=True)


def by10(value):
    return f"{value:.2g}×" if value < 10 else f"{value:.0f}×"
