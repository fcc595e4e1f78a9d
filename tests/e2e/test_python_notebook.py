"""The notebook magics, in IPython's own shell and in a Jupyter kernel, with PyOpenCL on PoCL."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from inside import inside
from support import FULL, PATIENCE, ROOT, built
from support import pocl  # noqa: F401

pytestmark = built

# IPython is in both, with PyOpenCL's wheel; ipykernel and jupyter_client are in the second.
SMALL, WHOLE = (ROOT / "build" / name / "bin" / "python3" for name in ("venv", "notebook/venv"))


def has(python, module):
    return Path(python).exists() and subprocess.run(
        [python, "-c", f"import importlib.util as u, sys; sys.exit(not u.find_spec('{module}'))"],
        timeout=PATIENCE, check=False).returncode == 0


def python_with(module):
    for python in (SMALL, WHOLE):
        if has(python, module):
            return python
    pytest.skip(f"{module} is neither in build/venv nor in build/notebook/venv")


# ---- IPython ------------------------------------------------------------------------------------

SHELL = """
import contextlib, io, json, os, sys
from traitlets.config import Config
from IPython.core.interactiveshell import InteractiveShell
config = Config()
config.HistoryManager.enabled = False
config.InteractiveShell.colors = "NoColor" if hasattr(InteractiveShell, "_nocolor") else "nocolor"
shell = InteractiveShell.instance(config=config)
def cell(source):
    "(succeeded, printed, value)"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        result = shell.run_cell(source, store_history=True)
    return result.success, printed.getvalue(), result.result
def show(source):
    done, printed, value = cell(source)
    print(json.dumps([done, printed, repr(value)]))
"""

CELLS = [
    "%load_ext chronos",
    "import pyopencl as cl, os\n"
    "context = cl.create_some_context(interactive=False)\n"
    "def make(mib): return cl.Buffer(context, cl.mem_flags.READ_WRITE, mib << 20)",
    "%partition",
    "%%partition --memory 64MiB --duration 1h30m --name <mine>",
    "%%partition --memory 64MiB --duration 1h30m --name mine\n"
    "kept = make(48)\n"
    "usage = get_ipython().run_line_magic('partition', '')\n"
    "usage",
    "kept.release()\n%partition",
    "print(usage._repr_html_())",
    "%%partition --memory 64MiB\nx = 6\n\ndef f():\n    return make(65)\n\nf()\nx = 7",
    "x",
    "%%partition --memory 64MiB\nx * 7;",
    "%%partition --memory 64MiB\n%time y = 5\ny",
    "%%partition --memory 64MiB\nawait something()",
    "%%partition --memory 64MiB\n1 +",
    "%%partition --memory much\nx = 8",
    "%%partition --momery 1GiB\nx = 8",
    "%%partition --memory 'a\nx = 8",
    "%%partition --memory 100% --device 7\nx = 8",
    "%%partition --memory 100%\nimport chronos\nchronos.Partitioner().create(0, 0.5, 60)",
    "%partition --memory 0.5",
    "os.environ.get('CHRONOS_PARTITION'), x, chronos.Partitioner().list()",
    "%unload_ext chronos",
    "%%partition\nx = 8",
]


def test_cells_of_ipython(pocl):
    code = SHELL + f"for source in {CELLS!r}:\n    show(source)\n"
    lines, _ = inside(pocl, code, begin="", python=python_with("IPython"), IPYTHONDIR=pocl.folder)
    answers = iter([json.loads(line) for line in lines])

    def good():
        done, printed, value = next(answers)
        assert done, printed
        return printed, value

    def bad():
        done, printed, _ = next(answers)
        assert not done
        return printed

    def one_line():
        (line,) = bad().splitlines()
        return line

    good(), good()
    assert good()[1] == "This interpreter is in no partition."
    assert one_line().startswith("UsageError: "), "a name that is none"
    printed, value = good()
    assert re.fullmatch("mine on device 0: 48 MiB of 64 MiB, 1 h [23][09] min left", value)
    assert printed.strip().endswith(value), "shown as the cell's value"
    assert good()[1] == "This interpreter is in no partition."
    html = good()[0]
    assert "<b>mine</b> on device 0" in html and "width:75.0%" in html
    failed = bad()
    assert "MEM_OBJECT_ALLOCATION_FAILURE" in failed and "return make(65)" in failed
    assert "_notebook.py" not in failed and "chronos/" not in failed
    assert good()[1] == "6", "the cell ended where it failed"
    assert good()[0] == "", "a semicolon keeps the value from being shown"
    printed, value = good()
    assert value == "5" and "CPU times" in printed + value or "Wall time" in printed
    assert "no `await`" in one_line()
    assert "SyntaxError" in bad()
    assert "invalid memory 'much'" in one_line()
    assert "unrecognized arguments: --momery 1GiB (usage: %%partition " in one_line()
    assert one_line() == "UsageError: No closing quotation"
    assert one_line().startswith("UsageError: ")
    inner = bad()
    assert "NotEnoughMemory" in inner, "what the cell itself raises has its traceback"
    assert "%partition takes no arguments" in one_line()
    assert good()[1] == "(None, 6, [])"
    good()
    assert "magic" in bad() and pocl.partitions() == {}


# ---- How a partition looks ----------------------------------------------------------------------

LOOKS = """
import chronos, sys
assert "chronos._notebook" not in sys.modules
from chronos._notebook import info_html
from chronos._text import size_text, time_text
machine = chronos.Partitioner()
partition = machine.create(0, "64MiB", 3600, name="a.b-c")
print(repr(partition))
print(partition._repr_html_())
info = partition.info()._replace(
    partition_id="<b>&", device_name="<script>", used_bytes=1 << 40, refusals=3)
print(info_html(info))
partition.release()
print(partition._repr_html_())
print([size_text(n) for n in (0, 1023, 1024, 1536, 64 << 20, 10307921510, 3 << 50)])
print([time_text(n) for n in (0, 59, 60, 3599, 3600, 7500, 86400, 90061)])
"""


def test_the_rich_display(pocl):
    (text, html, odd, ended, sizes, times), _ = inside(pocl, LOOKS, begin="")
    assert text == "<Partition a.b-c: 67108864 bytes of device 0 for 3600 s>"
    assert "<b>a.b-c</b> on device 0, " in html and "0 bytes of 64 MiB<br>" in html
    assert "1 h 00 min left" in html or "59 min left" in html
    assert "<script>" not in odd and "&lt;script&gt;" in odd and "<b>&lt;b&gt;&amp;</b>" in odd
    assert "width:100.0%" in odd and "3 refused" in odd
    assert ended == "<div><b>a.b-c</b>: ended</div>"
    assert sizes == ("['0 bytes', '1023 bytes', '1 KiB', '1.50 KiB', '64 MiB', '9.60 GiB', "
                     "'3072 TiB']")
    assert times == ("['0 s', '59 s', '1 min', '59 min', '1 h 00 min', '2 h 05 min', '1 d 0 h', "
                     "'1 d 1 h']")


# ---- A Jupyter kernel ---------------------------------------------------------------------------

KERNEL = """
import json, sys
from jupyter_client.manager import KernelManager
manager = KernelManager()
manager.start_kernel()
client = manager.client()
def connect():
    client.start_channels()
    client.wait_for_ready(timeout=60)
def cell(source):
    "(status, [outputs])"
    outputs = []
    def hook(message):
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            outputs.append(content["text"])
        elif kind in ("execute_result", "display_data"):
            outputs.append(content["data"])
        elif kind == "error":
            outputs.append("\\n".join(content["traceback"]))
    answer = client.execute_interactive(source, output_hook=hook, timeout=60)["content"]
    return answer["status"], outputs
def listed():
    import chronos
    return [(p.partition_id, p.used_bytes >> 20) for p in chronos.Partitioner().list()]
BEGIN = '''
%load_ext chronos
import pyopencl as cl
context = cl.create_some_context(interactive=False)
def make(mib): return cl.Buffer(context, cl.mem_flags.READ_WRITE, mib << 20)
'''
connect()
first = manager.provisioner.pid
print(json.dumps(cell(BEGIN)))
print(json.dumps(cell("%%partition --memory 64MiB --name mine\\nkept = make(48)\\n"
                      "get_ipython().run_line_magic('partition', '')")))
print(json.dumps(cell("%%partition --memory 64MiB\\nmake(65)")))
print(json.dumps(cell("%%partition --memory 900%\\nmake(65)")))
print(json.dumps(listed()))
# The kernel is killed in the middle of a cell.
client.execute("%%partition --memory 50% --name stuck\\nprint('in')\\nimport time\\ntime.sleep(600)")
while client.get_iopub_msg(timeout=60)["content"].get("text") is None:
    pass
print(json.dumps(listed()))
manager.restart_kernel(now=True)
client.stop_channels()
client = manager.client()
connect()
print(json.dumps(listed()), manager.provisioner.pid != first)
print(json.dumps(cell(BEGIN)))
print(json.dumps(cell("%%partition --memory 100%\\nmake(65).size >> 20")))
manager.shutdown_kernel(now=True)
print(json.dumps(listed()))
"""


@pytest.mark.skipif(not FULL, reason="kernels take their time")
def test_a_kernel_and_its_restart(pocl):
    if not has(WHOLE, "ipykernel"):
        pytest.skip("ipykernel is not in build/notebook/venv")
    lines, _ = inside(pocl, KERNEL, begin="", python=WHOLE, IPYTHONDIR=pocl.folder,
                      JUPYTER_RUNTIME_DIR=pocl.folder / "jupyter", JUPYTER_PLATFORM_DIRS="1")
    begun, shown, refused, too_much, draining, stuck, after, again, last, end = lines
    assert json.loads(begun)[0] == json.loads(again)[0] == "ok", begun
    status, outputs = json.loads(shown)
    (data,) = (output for output in outputs if isinstance(output, dict))
    assert status == "ok"
    assert data["text/plain"].startswith("mine on device 0: 48 MiB of 64 MiB, ")
    assert "width:75.0%" in data["text/html"]
    status, outputs = json.loads(refused)
    assert status == "error" and "MEM_OBJECT_ALLOCATION_FAILURE" in outputs[-1]
    assert "_notebook.py" not in "".join(outputs)
    status, outputs = json.loads(too_much)
    assert status == "error" and len("".join(outputs).strip().splitlines()) == 1, outputs
    assert json.loads(draining) == [["mine", 48]], "`kept` is still alive in the kernel"
    assert json.loads(stuck) == [["stuck", 0], ["mine", 48]]
    assert after == "[] True"
    status, outputs = json.loads(last)
    assert status == "ok" and outputs[-1]["text/plain"] == "65"
    assert end == "[]"
