"""One list decides on every call: the hooks, the exported symbols, the OpenCL headers and the
document agree with it. (CHRONOS_TEST_HEADERS names a further folder of headers.)"""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

import rows
from support import SHIM, built

HEADERS = [Path("/usr/include/CL")]
if os.environ.get("CHRONOS_TEST_HEADERS"):
    HEADERS.append(Path(os.environ["CHRONOS_TEST_HEADERS"]))
LAYER = {"clGetLayerInfo", "clInitLayer", "clInitLayerWithProperties", "clDeinitLayer"}


def hooked(kind=None):
    return {row.name for row in rows.all_rows() if row.kind in (kind or ("ENTRY", "EXTENSION"))}


def test_rows_are_whole():
    every = rows.all_rows()
    assert len(every) > 100
    twice = [name for name, count in Counter(row.name for row in every).items() if count > 1]
    assert twice == []
    fields = {"ENTRY": 3, "EXTENSION": 3, "ASKED": 2, "DECIDED": 1}
    for row in every:
        assert len(row.fields) == fields[row.kind] and all(row.fields), row
    # Nothing that the preprocessor sees is missed here.
    text = "".join((rows.SHIM / name).read_text() for name in ("entry_points.def", "extensions.def"))
    assert len(re.findall(r"^CHRONOS_[A-Z]+\(cl", text, flags=re.M)) == len(every)


@pytest.mark.parametrize("folder", HEADERS, ids=str)
def test_every_function_of_the_headers_is_decided_on(folder):
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    assert len(rows.declared(folder)) > 70
    new = rows.undecided(folder)
    assert new == [], f"decide on these in shim/entry_points.def or shim/extensions.def: {new}"


@pytest.mark.parametrize("text, name", [
    ("extern CL_API_ENTRY cl_mem CL_API_CALL\nclCreateFoo(cl_context c);", "clCreateFoo"),
    ("typedef void *(CL_API_CALL *clFooMemAllocVENDOR_fn)(cl_context c);", "clFooMemAllocVENDOR"),
    ("typedef cl_mem CL_API_CALL clImportFooARM_t(cl_context c);", "clImportFooARM"),
    ("typedef cl_int (CL_API_CALL *cl_api_clFooFree)(void *p);", "clFooFree"),
    ("cl_int clRetainFooKHR(cl_foo f);", "clRetainFooKHR"),
    ("cl_int clReleaseFoo\n (cl_foo f);", "clReleaseFoo"),
])
def test_a_new_function_does_not_pass_unnoticed(tmp_path, text, name):
    for header in HEADERS[0].glob("*.h"):
        shutil.copy(header, tmp_path)
    assert rows.undecided(tmp_path) == []
    (tmp_path / "cl_new.h").write_text(f"#define CL_NEW 1\n/* clCreateNothing */\n{text}\n")
    assert rows.undecided(tmp_path) == [name]


def test_hooks_are_those_of_the_list():
    code = "".join(path.read_text() for path in sorted((rows.SHIM / "hooks").glob("*.hpp")))
    names = re.findall(r"CL_API_CALL\s+(cl[A-Z]\w*)\(", code)
    assert sorted(names) == sorted(hooked())


@built
def test_only_doors_are_exported():
    listed = subprocess.run(["nm", "-D", "--defined-only", SHIM], capture_output=True, text=True,
                            check=True, timeout=60).stdout
    calls = {line.split()[-1].split("@")[0] for line in listed.splitlines()}
    calls = {name for name in calls if name.startswith("cl")}
    assert LAYER <= calls
    assert calls - LAYER == hooked() | {"clIcdGetPlatformIDsKHR"}


def test_tables_are_asked_for_every_function():
    """Tables that are put together name by name (doors/table.def) lack nothing that tables have."""
    text = (HEADERS[0] / "cl_icd.h").read_text()
    body = re.search(r"struct _cl_icd_dispatch \{(.*?)\}", text, flags=re.S).group(1)
    entries = set(re.findall(r"\b(cl[A-Z]\w*)\s*;", re.sub(r"/\*.*?\*/", "", body, flags=re.S)))
    assert len(entries) > 140
    asked = re.findall(r"^CHRONOS_TABLE\((\w+)\)", (rows.SHIM / "doors/table.def").read_text(), re.M)
    microsofts = {name for name in entries if re.search("D3D|DX9", name)}
    assert sorted(asked) == sorted(entries - microsofts)


def test_every_row_names_tests_that_exist():
    folder = Path(__file__).parent
    for row in rows.all_rows():
        for test in row.tests:
            assert (folder / f"{test}.py").is_file(), f"{row.name}: there is no {test}.py"


def test_the_document_shows_the_list():
    assert rows.shown() == rows.render(), "run tests/e2e/rows.py"
