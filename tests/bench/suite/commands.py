"""Whole commands of ours, and programs without OpenCL that the shim rides in."""

from pathlib import Path

FILES_IN_A_BATCH = 20
SOURCE = """\
struct pair {{ int first, second; }};
static int sum(const struct pair *one) {{ return one->first + one->second + {number}; }}
int function_{number}(int value) {{
  struct pair one = {{value, {number}}};
  return sum(&one);
}}
"""


def commands(setting):
    policy = Path(setting.state) / "policy.toml"
    policy.write_text('unassigned = "allow"\n')
    chronos = setting.chronos
    steps = {
        "/bin/true": ["/bin/true"],
        "chronos --version": [chronos, "--version"],
        "chronos help": [chronos, "help"],
        "chronos create": [chronos, "create", "0", "1MiB", "60", "--name", "again"],
        "chronos list": [chronos, "list"],
        "chronos stats": [chronos, "stats"],
        "chronos available": [chronos, "available", "0"],
        "chronos extend": [chronos, "extend", "again", "60"],
        "chronos resize": [chronos, "resize", "again", "2MiB"],
        "chronos run -- /bin/true": [chronos, "run", "--partition", "again", "--", "/bin/true"],
        "chronos release": [chronos, "release", "again"],
        "chronos policy check": [chronos, "policy", "check", str(policy)],
    }
    setting.spawn("commands", 20 if setting.quick else 200,
                  {name: ({}, step) for name, step in steps.items()}, "fixed")
    # It starts a probe for each driver and each door.
    setting.spawn("chronos doctor", 3 if setting.quick else 10,
                  {"chronos doctor": ({}, [chronos, "doctor"])}, "fixed")


def preloads(setting):
    return {"bare": {}, "empty preload": {"LD_PRELOAD": setting.empty_preload},
            "shim": {"LD_PRELOAD": setting.shim}}


def execs(setting):
    rounds = 100 if setting.quick else 600
    for name, command in (("/bin/true", ["/bin/true"]), ("bash -c :", ["bash", "-c", ":"])):
        setting.spawn(f"exec of {name}", rounds,
                      {way: (more, command) for way, more in preloads(setting).items()})


def compile_files(setting):
    """2,000 files by each way, in batches that are short enough to be taken in turn."""
    with setting.fresh_state() as folder:
        names = []
        for number in range(FILES_IN_A_BATCH):
            names.append(f"{folder}/f{number}.c")
            Path(names[-1]).write_text(SOURCE.format(number=number))
        Path(folder, "Makefile").write_text(
            f"all: {' '.join(f'f{number}.o' for number in range(FILES_IN_A_BATCH))}\n"
            "%.o: %.c\n\tcc -c -o $@ $<\n")
        command = ["make", "-s", "-B", "-C", folder]
        setting.spawn(f"make, {FILES_IN_A_BATCH} files", 3 if setting.quick else 100,
                      {way: (more, command) for way, more in preloads(setting).items()
                       if way != "empty preload"})
