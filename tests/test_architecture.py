"""The rules of the house, read from the source: who may import whom, what loads when, what is never written."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import PACKAGES, PROJECT, Module, circles, modules
from tests.machines import lay

#: package -> the packages of ours it may know
BELOW = {
    "kernels": set(),
    "qualify": {"kernels"},
    "scheduler": {"kernels", "qualify"},
    "reports": {"kernels", "qualify"},
    "server": {"kernels", "qualify", "scheduler", "reports"},
    "gridmark": {"kernels", "qualify", "scheduler", "reports", "server"},
}
#: room of the scheduler -> what it must not know
APART = {
    "scheduler.node": ("scheduler.store", "scheduler.placement", "scheduler.control"),
    "scheduler.market": ("scheduler.store",),
    "scheduler.placement": ("scheduler.store",),
}
#: package that is slow, rare or tied to hardware -> the one file that may import it at all, None = none at load
OWNERS = {
    "cupy": "kernels/cuda/",
    "torch": None,
    "pynvml": "qualify/nvml.py",
    "iperf3": "kernels/iperf.py",
    "ray": "scheduler/node/executors/ray.py",
}
LINES_MAX = 300
#: what the front door may not load: a renter's laptop has none of it, and every command would wait for it
HEAVY = {
    "numpy",
    "torch",
    "numba",
    "llvmlite",
    "matplotlib",
    "psutil",
    "pynvml",
    "iperf3",
    "cupy",
    "sqlite3",
    "fastapi",
}

FOUND = modules()


def upward(found: tuple[Module, ...]) -> list[str]:
    """Imports of a package that lies above or beside, in functions too."""
    return [
        f"{module.path}:{one.line} {module.package} imports {one.name}"
        for module in found
        for one in module.imports
        if (target := one.name.partition(".")[0]) in BELOW
        and target != module.package
        and target not in BELOW[module.package]
    ]


def trespasses(found: tuple[Module, ...]) -> list[str]:
    """Imports between rooms of the scheduler that are to know nothing of each other."""
    return [
        f"{module.path}:{one.line} {module.name} imports {one.name}"
        for module in found
        for room, strangers in APART.items()
        if f"{module.name}.".startswith(f"{room}.")
        for one in module.imports
        if f"{one.name}.".startswith(tuple(f"{stranger}." for stranger in strangers))
    ]


def strays(found: tuple[Module, ...], root: Path = PROJECT) -> list[str]:
    """Loads of an owned package outside of its owner, when the module is loaded; of pynvml and iperf3 anywhere."""
    lines = []
    for module in found:
        place = module.path.relative_to(root).as_posix()
        for one in module.imports:
            name = one.name.partition(".")[0]
            if name in OWNERS and not (OWNERS[name] and place.startswith(OWNERS[name] or "")):
                anywhere = name in ("pynvml", "iperf3")
                if one.at_load or anywhere:
                    lines.append(f"{place}:{one.line} imports {one.name}")
    return lines


def blind_handlers(module: Module) -> list[str]:
    """`except:` and `except Exception`; `except BaseException` unless its line says why (a thread hands it over)."""
    source = module.path.read_text(encoding="utf-8").splitlines()
    lines = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            reasoned = caught == "BaseException" and "noqa: BLE001 - " in source[node.lineno - 1]
            if {"", "Exception", "BaseException"} & set(caught.strip("()").split(", ")) and not reasoned:
                lines.append(f"{module.path}:{node.lineno} except {caught}")
    return lines


def plant(root: Path, **sources: str) -> tuple[Module, ...]:
    """A project of a few modules; "__" in a name stands for a dot."""
    lay(root, {f"{name.replace('__', '/')}.py": source for name, source in sources.items()})
    return modules(root)


def test_the_project_was_found() -> None:
    """The tests below would pass on an empty folder."""
    assert {module.package for module in FOUND} >= set(PACKAGES)
    assert {"qualify.probe", "kernels.spec"} <= {module.name for module in FOUND}


def test_imports_run_one_way() -> None:
    """kernels <- qualify <- scheduler <- server, qualify <- reports <- server."""
    assert upward(FOUND) == []


def test_an_upward_import_is_found_wherever_it_hides(tmp_path: Path) -> None:
    """In a function, for types only, sideways."""
    found = plant(
        tmp_path,
        kernels__a="def f():\n    from qualify import records\n",
        qualify__b="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import server.app\nimport kernels.a\n",
        reports__c="import scheduler\n",
        server__d="import scheduler, reports, qualify, kernels\n",
    )

    assert [line.rpartition("/")[2] for line in upward(found)] == [
        "a.py:2 kernels imports qualify.records",
        "b.py:3 qualify imports server.app",
        "c.py:1 reports imports scheduler",
    ]


def test_no_module_needs_itself_to_be_loaded() -> None:
    """A circle works only from one end, until somebody imports the other."""
    assert circles(FOUND) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    """Three modules round; one that is imported in a function only is no part of it."""
    found = plant(
        tmp_path,
        qualify__a="from qualify import b\n",
        qualify__b="from qualify.c import X\n",
        qualify__c="import qualify.a\nX = 1\n",
        qualify__d="from qualify import a\n",
        qualify__e="import qualify.f\n",
        qualify__f="def f():\n    import qualify.e\n",
    )

    assert circles(found) == [("qualify.a", "qualify.b", "qualify.c")]


def test_the_rooms_of_the_scheduler_keep_apart() -> None:
    """The supplier's side never opens the store; market and placement are pure."""
    assert trespasses(FOUND) == []


def test_a_trespass_is_found(tmp_path: Path) -> None:
    """By whole names: scheduler.nodes is another room."""
    found = plant(
        tmp_path,
        scheduler__node__agent="from scheduler import control\nfrom scheduler.lease import X\n",
        scheduler__market__quote="def f():\n    import scheduler.store.reads\n",
        scheduler__nodes="import scheduler.store\n",
        scheduler__control="import scheduler.placement, scheduler.store\n",
    )

    assert [line.rpartition("/")[2] for line in trespasses(found)] == [
        "quote.py:2 scheduler.market.quote imports scheduler.store.reads",
        "agent.py:1 scheduler.node.agent imports scheduler.control",
    ]


def test_what_is_heavy_or_rare_is_loaded_by_its_owner_only() -> None:
    """cupy, torch, pynvml, iperf3, ray."""
    assert strays(FOUND) == []


def test_a_stray_load_is_found(tmp_path: Path) -> None:
    """torch may be imported in functions anywhere, pynvml in one file."""
    found = plant(
        tmp_path,
        kernels__a="import torch.distributed\n",
        kernels__b="def f():\n    import torch\n    import iperf3\n",
        kernels__cuda__c="import cupy\n",
        qualify__nvml="def f():\n    import pynvml\n",
        qualify__d="try:\n    from pynvml import nvmlInit\nexcept ImportError:\n    pass\n",
    )

    assert strays(found, tmp_path) == [
        "kernels/a.py:1 imports torch.distributed",
        "kernels/b.py:3 imports iperf3",
        "qualify/d.py:2 imports pynvml.nvmlInit",
    ]


def test_a_benchmark_s_file_loads_nothing_heavy() -> None:
    """Every command scans the folder."""
    benches = [module for module in FOUND if module.name.startswith("kernels.benches.")]

    assert benches
    assert [module.name for module in benches if module.top_level() & {"torch", "numba", "llvmlite", "cupy"}] == []


def test_nothing_is_caught_blindly() -> None:
    """An error nobody foresaw must be seen."""
    assert [line for module in FOUND for line in blind_handlers(module)] == []


def test_a_blind_handler_is_found(tmp_path: Path) -> None:
    """With a reason a thread may hand over whatever stopped it; nothing excuses `except Exception`."""
    source = (
        "try:\n    pass\nexcept (OSError, Exception):  # noqa: BLE001 - never\n    pass\n"
        "try:\n    pass\nexcept BaseException as e:  # noqa: BLE001 - raised again by the caller\n    x = e\n"
        "try:\n    pass\nexcept BaseException:\n    pass\n"
        "try:\n    pass\nexcept:\n    pass\n"
        "try:\n    pass\nexcept (OSError, ValueError):\n    pass\n"
    )

    (module,) = plant(tmp_path, kernels__a=source)

    assert [line.rpartition("a.py:")[2] for line in blind_handlers(module)] == [
        "3 except (OSError, Exception)",
        "11 except BaseException",
        "15 except ",
    ]


def test_modules_are_short() -> None:
    """Longer ones are split by what they are about; blank lines are free."""
    lengths = {
        str(module.path.relative_to(PROJECT)): sum(1 for line in module.path.read_text().splitlines() if line.strip())
        for module in FOUND
    }

    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def run(script: str, *, root: Path = PROJECT) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "use", ["", "gridmark.cli(['--help'], standalone_mode=False)", "gridmark.cli(['qualify', '-h'])"]
)
def test_the_front_door_is_light(use: str) -> None:
    """Importing it, asking for help and asking a verb for help load nothing that only measuring needs."""
    script = (
        "import sys, gridmark, contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    {use or 'pass'}\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )

    assert run(script) == "[]"


WATCH = """
import importlib, sys, threading

seen = []
begin = threading.Thread.start

def from_ours(frame):
    # the first frame outside of the standard library tells who called for it
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((sys.base_prefix, "<frozen")):
            return name.startswith(ROOT) and "site-packages" not in name
        frame = frame.f_back
    return False

def hook(event, arguments):
    if event in ("socket.bind", "socket.connect"):
        seen.append(event)
    elif event in ("subprocess.Popen", "os.fork", "os.system"):
        if from_ours(sys._getframe(1)):
            seen.append(event)
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        if from_ours(sys._getframe(1)):
            seen.append("open to write")

def start(thread):
    if from_ours(sys._getframe(1)):
        seen.append("thread")
    begin(thread)

threading.Thread.start = start  # Python 3.11 has no audit event for it
sys.addaudithook(hook)
for name in NAMES:
    importlib.import_module(name)
print(seen)
"""


def happens_on_import(found: tuple[Module, ...], root: Path = PROJECT) -> str:
    """What loading every module does besides; numba's or matplotlib's own doings are not ours."""
    names = [module.name for module in found]
    return run(f"ROOT = {str(root)!r}\nNAMES = {names!r}\n{WATCH}", root=root)


def test_nothing_happens_on_import() -> None:
    """No module of ours opens a port, starts a process or a thread, or writes a file while it is loaded."""
    assert happens_on_import(FOUND) == "[]"


def test_what_happens_on_import_is_found(tmp_path: Path) -> None:
    """A port, a process, a thread and a file."""
    sources = {
        "kernels__a": "import socket\nwith socket.socket() as s:\n    s.bind(('127.0.0.1', 0))\n",
        "kernels__b": "import subprocess\nsubprocess.run(['true'])\n",
        "kernels__c": "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()\n",
        "kernels__d": "from pathlib import Path\nPath('left').write_text('x')\n",
    }

    planted = plant(tmp_path, **sources)
    (tmp_path / "kernels/__init__.py").touch()  # a folder without it would give way to the installed package

    found = happens_on_import(planted, tmp_path).splitlines()[-1]

    assert found == "['socket.bind', 'subprocess.Popen', 'thread', 'open to write']"
