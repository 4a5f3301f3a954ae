"""Servers that are forked from a Python that has imported mcp: nobody can tell them from those that were started."""

import json
import math
import os
import py_compile
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import DEFAULT, Mock

import anyio
import psutil
import pytest

from pytest_aitest.conversation.servers import Connection, ServerPool, forked, process, warm
from pytest_aitest.conversation.servers.launch import Launch, PythonRun
from pytest_aitest.values.agent import MCPServer, Wait
from pytest_aitest.values.errors import DeclarationError, ServerDiedError, ServerStartError
from tests.support import servers
from tests.support.servers import command
from tests.support.servers.megabytes import SIZE

from .test_pool import pid, pooled, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="servers are forked on Linux only")

AWARE = MCPServer(command=command("self_aware"))
FOLDER = Path(servers.__file__).parent
ODD = str(FOLDER / "odd.py")

AT_EXIT = """
import atexit, json, os, pathlib, sys, odd

@atexit.register
def last():
    main = sys.modules["__main__"]
    pathlib.Path(str(os.getpid())).write_text(json.dumps([sys.argv, vars(main) is globals()]))

odd.environment()
"""

FAILING_SECOND = """
import itertools, os
fork, number = os.fork, itertools.count(1)
def failing():
    if next(number) == 2:
        raise BlockingIOError("no more processes")
    return fork()
os.fork = failing
"""

Quick = Callable[..., MCPServer]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Quick:
    """Declare servers by hand whose templates import an empty mcp: 0.1 s instead of 0.6."""
    stand_in = tmp_path / "quick"
    (stand_in / "mcp" / "server").mkdir(parents=True)
    for module in ("__init__", "server/__init__", "server/stdio"):
        (stand_in / "mcp" / f"{module}.py").touch()
    monkeypatch.setattr(warm, "_MARK", "")

    def declare(way: str = "environment", *, at_start: str = "", **fields: Any) -> MCPServer:
        (stand_in / "sitecustomize.py").write_text(at_start)
        env = {"PYTHONPATH": str(stand_in), **fields.pop("env", {})}
        return MCPServer(**{"command": command("odd", way), **fields}, env=env)

    return declare


def known(pool: ServerPool, server: MCPServer) -> MCPServer:
    """`server`, as if a first process of it had come up and was found to be worth a template."""
    pool._templates._templates[Launch.of(server)] = None
    return server


async def told(connection: Connection) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((await connection.call_tool("tell")).text)
    return told


async def parent(connection: Connection) -> int:
    return psutil.Process(await pid(connection)).ppid()


def template() -> psutil.Process:
    """The only one that there is."""
    (found,) = templates()
    return found


def templates() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it is ending
            if any(word.endswith("template.py") for word in child.cmdline()):
                found.append(child)
    return found


def gone(*pids: int) -> bool:
    """Whether the processes have ended; the fixture can't see those that outlived their template."""
    for each in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(each).status() != psutil.STATUS_ZOMBIE:  # who inherits it may be slow to bury it
                return False
    return True


async def death(connection: Connection, tool: str) -> str:
    with pytest.raises(ServerDiedError) as caught:
        await connection.call_tool(tool)
    return str(caught.value)


async def start_error(pool: ServerPool, server: MCPServer) -> str:
    with pytest.raises(ServerStartError) as caught:
        await pool.open(server)
    return str(caught.value)


# What it is to be forked.


def test_from_the_second_on_servers_are_forked_from_one_template() -> None:
    async def work(pool: ServerPool) -> None:
        first, *others = [await told(await pool.open(AWARE)) for _ in range(3)]
        assert first["ppid"] == template().ppid() == os.getpid()
        assert [other["ppid"] for other in others] == [template().pid] * 2
        assert all(each["pid"] == each["pgid"] == each["sid"] for each in (first, *others))

    pooled(work)


@pytest.mark.parametrize("words", [["-B", "link.py", "-m", "x y"], ["-P", "link.py"], ["-u", "-m", "aware", "--loud"]])
def test_a_forked_program_sees_what_a_started_one_sees(words: list[str], tmp_path: Path) -> None:
    async def work(pool: ServerPool) -> None:
        server = MCPServer(command=["python", *words], cwd=str(tmp_path), env={"WHO": "anna"})
        started, forked = [await told(await pool.open(server)) for _ in range(2)]
        assert (started["ppid"], forked["ppid"]) == (os.getpid(), template().pid)
        assert started["start"]["env"]["WHO"] == "anna"
        for what, value in started["start"].items():
            assert (what, forked["start"][what]) == (what, value)
        assert forked["descriptors"].keys() == started["descriptors"].keys()

    (tmp_path / "link.py").symlink_to(FOLDER / "self_aware.py")
    (tmp_path / "aware").mkdir()
    (tmp_path / "aware" / "__init__.py").write_text("import sys\nARGV = list(sys.argv)\n")
    shutil.copy(FOLDER / "self_aware.py", tmp_path / "aware" / "__main__.py")
    pooled(work)


@pytest.mark.parametrize("program", [["main.py"], ["-m", "main"]])
def test_a_forked_program_runs_where_its_folder_is_by_then(program: list[str], quick: Quick, tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        folder.mkdir()
        shutil.copy(ODD, folder / "odd.py")
        source = "import os, odd\nos.environ['BESIDE'] = odd.__file__\nodd.environment()"
        (folder / "main.py").write_text(source)

    async def work(pool: ServerPool) -> None:
        warm_one = known(pool, quick(command=["python", *program], cwd=str(cwd)))
        plain = warm_one.model_copy(update={"warm": False})
        assert (await told(await pool.open(warm_one)))["cwd"] == str(one)
        cwd.unlink()
        cwd.symlink_to(other)
        forked, started = [await told(await pool.open(each)) for each in (warm_one, plain)]
        assert psutil.Process(forked.pop("pid")).ppid() == template().pid != psutil.Process(started.pop("pid")).ppid()
        assert forked == started
        assert (forked["cwd"], forked["env"]["BESIDE"]) == (str(other), str(other / "odd.py"))
        shutil.rmtree(other)
        fill(other)
        anew = await told(await pool.open(warm_one))
        assert (anew["cwd"], psutil.Process(anew["pid"]).ppid()) == (str(other), template().pid)
        (other / "main.py").unlink()
        assert await start_error(pool, warm_one) == await start_error(pool, plain)
        shutil.rmtree(other)
        assert await start_error(pool, warm_one) == await start_error(pool, plain)
        assert templates()

    one, other, cwd = (tmp_path / name for name in ("one", "other", "cwd"))
    fill(one)
    fill(other)
    cwd.symlink_to(one)
    pooled(work)


def test_forked_servers_share_nothing() -> None:
    def descriptors(process: psutil.Process) -> dict[str, str]:
        return {each.name: str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()}

    def streams(descriptors: dict[str, str]) -> set[str]:
        return {each for each in descriptors.values() if each.startswith(("pipe:", "socket:"))}

    async def work(pool: ServerPool) -> None:
        known(pool, AWARE)
        one, other = [await pool.open(AWARE) for _ in range(2)]
        assert await parent(one) == await parent(other) == template().pid
        assert [(await each.call_tool("count")).text for each in (one, one, other)] == ["1", "2", "1"]
        assert (await one.call_tool("draw")).text != (await other.call_tool("draw")).text
        held = [streams((await told(each))["descriptors"]) for each in (one, other)]
        held.append(streams(descriptors(template())))
        assert all(held)
        assert len(set.union(*held)) == sum(map(len, held))
        its_pid = await pid(one)
        await one.close()
        assert gone(its_pid)
        assert (await other.call_tool("count")).text == "2"

    pooled(work)


def test_five_megabytes_arrive_whole_from_a_forked_server() -> None:
    async def work(pool: ServerPool) -> None:
        connection = await pool.open(known(pool, MCPServer(command=command("megabytes"))))
        assert template().children()
        assert len((await connection.call_tool("dump")).text) == SIZE

    pooled(work)


def test_a_forked_server_can_be_waited_for_by_its_log(quick: Quick) -> None:
    async def work(pool: ServerPool) -> None:
        connection = await pool.open(known(pool, quick("logs", wait=Wait.for_log(r"port \d+"))))
        assert template().children()
        assert (await connection.call_tool("hello")).text == "called hello"

    pooled(work)


# Its end.


def test_the_end_of_a_forked_server_is_told_as_that_of_a_started_one() -> None:
    async def work(pool: ServerPool) -> None:
        known(pool, AWARE)
        leaving, dying, begetting = [await pool.open(AWARE) for _ in range(3)]
        assert len(template().children()) == 3
        assert await death(leaving, "leave") == (
            "Server 'self_aware' died while its tool 'leave' was called: its process ended with exit code 3. "
            f"Run it in a terminal: {' '.join(AWARE.command)}\n"
            "The end of its stderr:\n"
            "    I am awake\n"
            "    I am leaving"
        )
        assert await death(dying, "die") == (
            "Server 'self_aware' died while its tool 'die' was called: its process was killed by SIGKILL. "
            f"Run it in a terminal: {' '.join(AWARE.command)}\n"
            "The end of its stderr:\n"
            "    I am awake"
        )
        child = int((await begetting.call_tool("beget")).text)
        assert psutil.pid_exists(child)
        await begetting.close()
        await until(lambda: gone(child))

    pooled(work)


@pytest.mark.parametrize("program", [["failing.py"], ["-m", "failing"]])
@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("import os\ndef main():\n    raise OSError(f'no child of {os.getppid()}')\nmain()", "OSError: no child of {}"),
        ("import os, sys\nsys.stderr.write(f'no child of {os.getppid()}')\nsys.exit(4)", "no child of {}"),
        ("def", "SyntaxError: invalid syntax"),
    ],
)
def test_a_start_that_fails_is_told_without_a_word_of_the_template(
    program: list[str], source: str, word: str, quick: Quick, tmp_path: Path
) -> None:
    async def work(pool: ServerPool) -> None:
        server = known(pool, quick(command=["python", *program], cwd=str(tmp_path)))
        forked, started = [
            await start_error(pool, each) for each in (server, server.model_copy(update={"warm": False}))
        ]
        assert forked.endswith(word.format(template().pid))
        assert forked.replace(str(template().pid), str(os.getpid())) == started

    (tmp_path / "failing.py").write_text(source)
    pooled(work)


def test_a_module_that_is_missing_is_told_as_by_python(quick: Quick) -> None:
    async def work(pool: ServerPool) -> None:
        server = known(pool, quick(command=["python", "-m", "no_such_module"]))
        forked, started = [
            await start_error(pool, each) for each in (server, server.model_copy(update={"warm": False}))
        ]
        assert forked == started
        assert forked.endswith("/python: No module named no_such_module")
        assert templates()

    pooled(work)


@pytest.mark.parametrize("program", [["main.py"], ["-m", "main"]])
def test_a_forked_program_is_still_itself_as_it_exits(program: list[str], quick: Quick, tmp_path: Path) -> None:
    async def work(pool: ServerPool) -> None:
        server = known(pool, quick(command=["python", *program, "--loud"], cwd=str(tmp_path)))
        forked, started = [await pool.open(each) for each in (server, server.model_copy(update={"warm": False}))]
        assert (await parent(forked), await parent(started)) == (template().pid, os.getpid())
        pids = [await pid(each) for each in (forked, started)]
        await forked.close()
        await started.close()
        seen, expected = [json.loads((tmp_path / str(each)).read_text()) for each in pids]
        assert seen == expected == [[str(tmp_path / "main.py") if "-m" in program else "main.py", "--loud"], True]

    shutil.copy(ODD, tmp_path / "odd.py")
    (tmp_path / "main.py").write_text(AT_EXIT)
    pooled(work)


def test_a_forked_server_that_does_not_end_by_itself_is_ended(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: ServerPool) -> None:
        await pool.open(known(pool, quick("stubborn")))
        pids.extend(child.pid for child in template().children())
        assert len(pids) == 1

    pids: list[int] = []
    monkeypatch.setattr(process, "_PATIENCE_SECONDS", 0.1)
    pooled(work)
    assert gone(*pids)


def test_a_server_that_is_given_up_while_it_is_forked_is_gone(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: ServerPool) -> None:
        await pool.open(known(pool, late))
        (first,) = template().children()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.open, late)
            await until(lambda: len(template().children()) == 2)
            (second,) = {*template().children()} - {first}
            tasks.cancel_scope.cancel()
        await until(lambda: len(pool._connections) == 1)
        assert (gone(first.pid), gone(second.pid)) == (False, True)

    monkeypatch.setattr(process, "_PATIENCE_SECONDS", 0.1)
    late = quick("stubborn", at_start="import os, time; it = os.setsid; os.setsid = lambda: (time.sleep(0.3), it())")
    pooled(work)


# Who is not forked.


@pytest.mark.parametrize(
    ("fields", "is_forked"),
    [
        ({}, True),
        ({"warm": False}, False),
        ({"env": {"COVERAGE_PROCESS_START": "setup.cfg"}}, False),
        ({"command": ["sh", "-c", 'exec "$0" "$@"', *command("odd", "environment")]}, False),
        ({"command": ["env", *command("odd", "environment")]}, False),
        ({"command": [sys.executable, "-c", "import odd; odd.environment()"]}, False),
        ({"command": [sys.executable, "folder", "environment"]}, False),
        ({"command": [sys.executable, "odd.pyc", "environment"]}, False),
    ],
)
def test_python_is_forked_where_that_makes_no_difference(
    fields: dict[str, Any], is_forked: bool, quick: Quick, tmp_path: Path
) -> None:
    async def work(pool: ServerPool) -> None:
        for _ in range(2):
            connection = await pool.open(server)
        assert (await parent(connection) != os.getpid()) == is_forked

    (tmp_path / "folder").mkdir()
    shutil.copy(ODD, tmp_path / "folder" / "__main__.py")
    shutil.copy(ODD, tmp_path / "odd.py")
    py_compile.compile(ODD, str(tmp_path / "odd.pyc"))
    server = quick(cwd=str(tmp_path), **fields)
    pooled(work)


def test_a_server_without_mcp_is_not_forked() -> None:
    async def work(pool: ServerPool) -> None:
        server = MCPServer(command=command("odd", "environment"))
        assert {await parent(await pool.open(server)) for _ in range(2)} == {os.getpid()}

    pooled(work)


def test_a_server_is_not_forked_where_another_like_it_may_be(quick: Quick, tmp_path: Path) -> None:
    async def work(pool: ServerPool) -> None:
        known(pool, quick())
        for server in (quick(warm=False), quick(env={"WHO": "anna"}), quick(cwd=str(tmp_path))):
            assert await parent(await pool.open(server)) == os.getpid()
        assert await parent(await pool.open(quick(name="equal"))) == template().pid

    pooled(work)


@pytest.mark.parametrize("kind", [{"url": "http://127.0.0.1:1/mcp"}, {"factory": list}])
def test_only_a_command_can_be_kept_from_being_forked(kind: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="'warm' can't go with"):
        MCPServer(**kind, warm=False)


# The template.


@pytest.mark.parametrize(
    "at_start",
    [
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import sys; 'template' in sys.orig_argv[1] and sys.exit()",
    ],
)
def test_where_there_can_be_no_template_servers_are_started(at_start: str, quick: Quick) -> None:
    async def work(pool: ServerPool) -> None:
        server = known(pool, quick(at_start=at_start))
        assert [await parent(await pool.open(server)) for _ in range(2)] == [os.getpid()] * 2
        await until(lambda: not templates())

    pooled(work)


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (Launch, "python", PythonRun(interpreter=["/no/such/python"], arguments=["bank.py"])),
        (socket, "socketpair", Mock(side_effect=OSError("Too many open files"))),
    ],
)
def test_where_a_template_can_not_be_created_servers_are_started(
    owner: Any, name: str, broken: Any, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: ServerPool) -> None:
        known(pool, quick())
        monkeypatch.setattr(owner, name, broken)
        with anyio.fail_after(10):
            assert [await parent(await pool.open(quick())) for _ in range(2)] == [os.getpid()] * 2

    monkeypatch.setattr(warm, "_START_SECONDS", math.inf)
    pooled(work)


def test_a_template_that_is_killed_takes_its_servers_along_and_is_not_missed(quick: Quick) -> None:
    async def work(pool: ServerPool) -> None:
        server = quick()
        started, *forked = [await pool.open(server) for _ in range(3)]
        pids = [await pid(each) for each in forked]
        template().kill()
        await until(lambda: gone(*pids))
        for each in forked:
            assert "its process was killed by SIGKILL" in await death(each, "tell")
        assert await parent(await pool.open(server)) == await parent(started) == os.getpid()

    pooled(work)


def test_a_template_that_is_killed_while_nobody_needs_it_is_not_missed(quick: Quick) -> None:
    async def work(pool: ServerPool) -> None:
        await (await pool.open(known(pool, quick()))).close()
        template().kill()
        assert await parent(await pool.open(quick())) == os.getpid()

    pooled(work)


def test_a_fork_that_fails_harms_nobody(quick: Quick) -> None:
    async def work(pool: ServerPool) -> None:
        server = known(pool, quick(at_start=FAILING_SECOND))
        first = await pool.open(server)
        held = template().num_fds()
        second = await pool.open(server)
        assert template().num_fds() == held
        parents = [await parent(each) for each in (first, second, await pool.open(server))]
        assert parents == [template().pid, os.getpid(), template().pid]

    pooled(work)


def test_a_template_that_can_not_be_asked_now_can_be_asked_later(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: ServerPool) -> None:
        server = known(pool, quick())
        first = await pool.open(server)
        failing = [OSError("Too many references"), DEFAULT]
        monkeypatch.setattr(socket, "send_fds", Mock(wraps=socket.send_fds, side_effect=failing))
        parents = [await parent(each) for each in (first, await pool.open(server), await pool.open(server))]
        assert parents == [template().pid, os.getpid(), template().pid]

    pooled(work)


def test_a_template_that_does_not_answer_is_ended_with_its_servers(
    quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: ServerPool) -> None:
        server = known(pool, quick())
        living = await pool.open(server)
        its_pid = await pid(living)
        template().suspend()
        monkeypatch.setattr(forked, "_ANSWER_SECONDS", 0.05)
        with anyio.fail_after(10):
            assert [await parent(await pool.open(server)) for _ in range(2)] == [os.getpid()] * 2
        await until(lambda: not templates() and gone(its_pid))
        assert "its process was killed by SIGKILL" in await death(living, "tell")

    pooled(work)


@pytest.mark.parametrize("hanging", ["{}", "it(), {}"])
def test_a_fork_that_hangs_is_ended(
    hanging: str, quick: Quick, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def work(pool: ServerPool) -> None:
        server, patience = known(pool, quick(at_start=f"import os, signal; {hang}")), anyio.CancelScope()
        with monkeypatch.context() as patch:
            patch.setattr(forked, "anyio", Mock(wraps=anyio, move_on_after=lambda _: patience))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pool.open, server)
                await until(at_work.exists)
                (hung,) = template().children()
                patience.cancel()
        await until(lambda: gone(hung.pid))

    at_work = tmp_path / "at work"
    writing = f"open({str(at_work)!r}, 'w').close()"
    hang = f"it = os.setsid; os.setsid = lambda: ({hanging.format(writing)}, signal.pause())"
    pooled(work)


def test_a_child_of_the_template_that_is_no_server_is_none_of_ours(quick: Quick, tmp_path: Path) -> None:
    async def work(pool: ServerPool) -> None:
        server = known(pool, quick(at_start=f"import subprocess, sys; {begetting}"))
        first = await pool.open(server)
        (its_pid,) = {child.pid for child in template().children()} - {await pid(first)}
        fifo.write_text("")  # at which it ends
        await until(lambda: not psutil.pid_exists(its_pid))
        assert [await parent(each) for each in (first, await pool.open(server))] == [template().pid] * 2

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    begetting = f"'template' in sys.orig_argv[1] and subprocess.Popen(['cat', {str(fifo)!r}])"
    pooled(work)


def test_servers_that_are_opened_at_once_make_one_template(quick: Quick) -> None:
    async def work(pool: ServerPool) -> None:
        async def open_one() -> None:
            parents.append(await parent(await pool.open(server)))

        server = known(pool, quick())
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(open_one)
        assert parents == [template().pid] * 4

    parents: list[int] = []
    pooled(work)


def test_who_gives_up_waiting_for_a_template_leaves_it_to_the_next(quick: Quick) -> None:
    async def work(pool: ServerPool) -> None:
        known(pool, quick())
        with anyio.move_on_after(0) as scope:
            await pool.open(quick())
        assert scope.cancelled_caught
        assert await parent(await pool.open(quick())) == template().pid

    pooled(work)


def test_spares_are_forked_too(quick: Quick) -> None:
    async def work(pool: ServerPool) -> None:
        pool.start_ahead(known(pool, quick()))
        assert await parent(await pool.open(quick())) == template().pid
        assert pool.started == 1

    pooled(work)


def test_templates_are_few(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: ServerPool) -> None:
        one, other = (known(pool, quick(env={"NUMBER": number})) for number in "12")
        first = await pool.open(one)
        ended = template()
        await first.close()
        connection = await pool.open(other)
        assert await parent(connection) == template().pid != ended.pid
        assert await parent(await pool.open(one)) in {each.pid for each in templates()} - {ended.pid}
        assert len(templates()) == 2  # for the other is in use
        await connection.close()

    monkeypatch.setattr(warm, "_MOST", 1)
    pooled(work)


def test_a_block_that_is_cancelled_leaves_no_template(quick: Quick) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with ServerPool() as pool:
                await pool.open(known(pool, quick()))
                assert template().children()
                scope.cancel()
                await anyio.sleep_forever()
        assert psutil.Process().children(recursive=True) == []

    anyio.run(main)
