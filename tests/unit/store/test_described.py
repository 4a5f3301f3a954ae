"""Descriptions of events: equal exactly if the outcome can depend on nothing that differs, wherever they are made."""

import functools
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_aitest import Agent, MCPServer, Provider
from pytest_aitest.conversation.keys import UnkeyableError
from pytest_aitest.conversation.tree import Called, Said
from pytest_aitest.store.described import described, digest_of, server_described

SRC = str(Path(__file__).parents[3] / "src")


def model(messages: list[Any], tools: list[Any]) -> str:
    return "hello"


def other_model(messages: list[Any], tools: list[Any]) -> str:
    return "hello"


def holding(held: Any) -> Callable[..., str]:
    def holder(messages: list[Any], tools: list[Any]) -> str:
        return str(held)

    return holder


def build() -> Any:
    raise NotImplementedError("nobody opens it")


class Callable_:  # noqa: N801 - what users write
    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(self, messages: list[Any], tools: list[Any]) -> str:
        return self.word


def agent(model: Any = "azure/gpt-5", *, provider: dict[str, Any] | None = None, **fields: Any) -> Agent:
    return Agent(provider=Provider(model=model, **(provider or {})), **fields)


def said(prompt: str = "hello", **fields: Any) -> Said:
    return Said(**{"prompt": prompt, "agent": agent(), "max_model_calls": 10, "timeout_seconds": 60.0} | fields)


def by(*args: Any, **fields: Any) -> Said:
    return said(agent=agent(*args, **fields))


def digest(event: Any) -> str:
    return digest_of(described(event))


def served(**fields: Any) -> Said:
    return by(mcp_servers=[MCPServer(**fields)])


DIFFERENT = [
    said(),
    said("Hello"),
    said(max_model_calls=9),
    said(timeout_seconds=9.0),
    said(messages=()),
    said(messages=({"role": "user", "content": "before"},)),
    by("azure/gpt-6"),
    by("builtin"),
    by(provider={"temperature": 0.0}),
    by(provider={"temperature": 1.0}),
    by(provider={"max_tokens": 10}),
    by(provider={"api_base": "http://127.0.0.1:1"}),
    by(provider={"timeout_seconds": 9.0}),
    by(provider={"extra": {"top_p": 1}}),
    by(provider={"extra": {"top_p": 1.0}}),
    by(provider={"extra": {"top_p": True}}),
    by(provider={"extra": {"top_p": {"$set": [1]}}}),
    by(provider={"extra": {"top_p": {1}}}),
    by(provider={"extra": {"top_p": float("nan")}}),
    by(system_prompt="Be kind."),
    by(allowed_tools=[]),
    by(allowed_tools=["a", "b"]),
    by(model),
    by(other_model),
    by(holding("a")),
    by(holding(["a"])),
    by(holding(re.compile("a"))),
    by(holding(re.compile("b"))),
    by(Callable_("a")),
    by(Callable_("b")),
    by(functools.partial(model, "a")),
    by(functools.partial(model, "b")),
    by(lambda messages, tools: "a"),
    *(by(each) for each in (lambda messages, tools: "b", lambda messages, tools: "c")),
    served(factory=build),
    served(factory=model),
    served(factory=build, reset="reset"),
    served(factory=build, reset=build),
    served(url="http://127.0.0.1:8000/mcp"),
    served(url="http://127.0.0.1:8000/mcp", transport="sse"),
    served(url="http://127.0.0.1:8000/mcp", headers={"X-Who": "me"}),
    served(command=["bank"]),
    served(command=["bank", "a"]),
    served(command=["bank"], env={"WHO": "me"}),
    served(command=["bank"], env={"WHO": "${WHO}"}),
    served(command=["bank"], cwd="there"),
    Called(tool="hello", arguments={}),
    Called(tool="hello", arguments={"by": 1}),
    Called(tool="hello", arguments={"by": 1.0}),
    Called(tool="hello", arguments={}, server="counter"),
    Called(tool="hello", arguments={}, agent=agent()),
]


def test_events_that_may_come_to_something_else_are_described_otherwise() -> None:
    assert len({digest(event) for event in DIFFERENT}) == len(DIFFERENT)


def test_a_description_is_plain_data() -> None:
    for event in DIFFERENT:
        assert digest_of(json.loads(json.dumps(described(event)))) == digest(event)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (by(name="another"), by()),
        (by(provider={"rpm": 1, "tpm": 1, "price": (1, 2), "api_key": "a-key-of-mine-1"}), by()),
        (by(allowed_tools=["b", "a"]), by(allowed_tools=["a", "b", "a"])),
        (served(factory=build, name="another"), served(factory=build)),
        (served(command=["bank", "a"]), served(command=["bank"], args=["a"])),
        (served(command=[sys.executable, "x"]), served(command=["python", "x"])),
        (served(command=[os.path.realpath(sys.executable), "x"]), served(command=["python3", "x"])),
        (said(timeout_seconds=60), said()),
        (Called(tool="a", arguments={"a": 1, "b": 2}), Called(tool="a", arguments={"b": 2, "a": 1})),
    ],
)
def test_what_makes_no_difference_is_not_described(one: Any, other: Any) -> None:
    assert described(one) == described(other)


def test_a_description_says_what_it_is() -> None:
    description = described(by(model, system_prompt="Be kind.", mcp_servers=[MCPServer(command=["bank", "--fast"])]))
    code = description["agent"]["provider"]["model"].pop("code")
    assert re.fullmatch("[0-9a-f]{64}", code)
    assert description == {
        "kind": "said",
        "prompt": "hello",
        "max_model_calls": 10,
        "timeout_seconds": 60.0,
        "agent": {
            "provider": {
                "model": {"callable": f"{__name__}.model"},
                "temperature": None,
                "max_tokens": None,
                "api_base": None,
                "timeout_seconds": 60.0,
                "extra": {},
            },
            "system_prompt": "Be kind.",
            "allowed_tools": None,
            "servers": [{"command": ["bank", "--fast"], "files": {}, "env": {}, "cwd": None, "reset": None}],
        },
    }


def test_the_builtin_model_is_one_of_our_version() -> None:
    assert described(by("builtin"))["agent"]["provider"].keys() >= {"version"}


def test_files_of_a_command_are_told_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(*command: str, **fields: Any) -> Any:
        description = server_described(MCPServer(command=command, **fields))
        return description["command"], list(description["files"]), description["cwd"]

    there = tmp_path / "there"
    (there / "pack").mkdir(parents=True)
    for name in ("bank.py", "rules.json", "pack/shop.py", "pack/__main__.py"):
        (there / name).write_text(name)
    outside = tmp_path / "outside.py"
    outside.write_text("outside")
    monkeypatch.chdir(there)
    here = ["bank.py"]
    assert of("python", "bank.py") == (["python", "bank.py"], here, None)
    assert of("python", str(there / "bank.py")) == (["python", "bank.py"], here, None)
    assert of("python", "--rules=rules.json") == (["python", "--rules=rules.json"], ["rules.json"], None)
    assert of("python", str(outside)) == (["python", "outside.py"], ["outside.py"], None)
    assert of("python", "-m", "pack.shop") == (["python", "-m", "pack.shop"], ["pack/shop.py"], None)
    assert of("python", "-m", "pack") == (["python", "-m", "pack"], ["pack/__main__.py"], None)
    assert of("python", "shop.py", cwd="pack") == (["python", "pack/shop.py"], ["pack/shop.py"], "pack")
    assert of("./bank.py") == (["bank.py"], here, None)
    assert of("/bin/sh", "-c", "true") == (["sh", "-c", "true"], [], None)
    before = digest(served(command=["python", "bank.py"]))
    (there / "bank.py").write_text("changed!")
    assert digest(served(command=["python", "bank.py"])) != before
    (there / "bank.py").write_text("bank.py")
    assert digest(served(command=["python", "bank.py"])) == before


def test_a_run_may_start_in_any_folder_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "bank.py").touch()
    server = MCPServer(command=["python", str(tests / "bank.py"), f"--data={tests}"])
    for folder in (tmp_path, tests, tmp_path.parent):
        monkeypatch.chdir(folder)
        description = server_described(server, tmp_path)
        assert description["command"] == ["python", "tests/bank.py", "--data=tests"]
        assert list(description["files"]) == ["tests/bank.py"]


def test_servers_of_two_folders_are_two(tmp_path: Path) -> None:
    for name in ("eu", "us"):
        written(tmp_path / name, server="import bank")
        (tmp_path / name / "pyproject.toml").touch()
    one, other = (
        [
            server_described(MCPServer(command=command, cwd=str(tmp_path / name)), tmp_path)
            for command in (["uv", "run", "server"], ["python", "server.py"])
        ]
        for name in ("eu", "us")
    )
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_two_files_of_one_name_from_elsewhere_both_count(tmp_path: Path) -> None:
    def described_now() -> Any:
        return server_described(MCPServer(command=["bank", *map(str, rates)]), tmp_path / "project")

    rates = [tmp_path / name / "rates.json" for name in ("one", "other")]
    for path in rates:
        path.parent.mkdir()
        path.write_text(path.parent.name)
    seen = [described_now()]
    assert list(seen[0]["files"]) == ["rates.json", "rates.json (2)"]
    for path in rates:
        path.write_text("changed")
        seen.append(described_now())
    assert all(seen[at] != seen[at + 1] for at in range(2))


def test_a_program_of_the_running_environment_is_another_on_each_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = [tmp_path / name / "bin" / "bank" for name in (".venv", "own")]
    for program in programs:
        program.parent.mkdir(parents=True)
        program.touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    named = [server_described(MCPServer(command=[str(program)]), tmp_path)["files"] for program in programs]
    assert [list(files) for files in named] == [[], ["own/bin/bank"]]


def test_a_secret_is_nowhere_in_a_description_and_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def events(secret: str) -> list[Any]:
        monkeypatch.setenv("BANK_TOKEN", secret)
        return [
            served(command=["bank", "--token", secret], env={"API_TOKEN": secret}),
            served(url=f"http://127.0.0.1:1/{secret}", headers={"Authorization": f"Bearer {secret}"}),
            said(f"my token is {secret}"),
            Called(tool="enter", arguments={"with": [secret]}),
        ]

    before = [described(event) for event in events("s3cr3t-desc-1")]
    assert "s3cr3t" not in str(before)
    assert [described(event) for event in events("s3cr3t-desc-2")] == before


@pytest.mark.parametrize("held", [threading.Lock(), [sys.__stdin__], {"lock": threading.Lock()}, (_ for _ in "")])
def test_what_can_not_be_told_is_refused(held: Any) -> None:
    with pytest.raises(UnkeyableError):
        described(Called(tool="a", arguments={"held": held}))
    with pytest.raises(UnkeyableError):
        described(by(holding(held)))


CROWD = [f"{number}" for number in range(20_000)]


def crowded(messages: list[Any], tools: list[Any]) -> str:
    return CROWD[len(messages)]


def test_what_reaches_too_much_is_refused() -> None:
    with pytest.raises(UnkeyableError, match=r"crowded that reaches more than can be compared"):
        described(by(crowded))


def written(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


MODELS = {
    "rules": """
        import json, threading
        LOCK = threading.Lock()
        FEE = 3
        SEEN = {"a": frozenset("abc")}
        def fee(): return FEE
        class Book:
            rate = 2
            def price(self): return fee() * self.rate
    """,
    "models": """
        import itertools, logging
        import rules
        from rules import Book, LOCK
        log = logging.getLogger(__name__)
        turns = itertools.count(1)
        def wrapped(function):
            def wrapper(messages, tools): return function(messages, tools)
            return wrapper
        def hint(): return rules.SEEN
        @wrapped
        def model(messages, tools):
            log.info("asked"); next(turns); hint()
            with LOCK:
                return f"{Book().price()} {'x' in {'a', 'b', 'c'}}"
    """,
}


def told(folder: Path) -> str:
    """The digest that another process in `folder` finds for a model and a server there; its sets have another order."""
    program = """
        import models
        from pytest_aitest import Agent, MCPServer, Provider
        from pytest_aitest.conversation.tree import Said
        from pytest_aitest.store.described import described, digest_of
        server = MCPServer(command=["python", "rules.py"])
        agent = Agent(provider=Provider(model=models.model), mcp_servers=[server])
        print(digest_of(described(Said(prompt="a", agent=agent, max_model_calls=1, timeout_seconds=1))))
    """
    hash_seed = 2 if os.environ.get("PYTHONHASHSEED") == "1" else 1
    env = os.environ | {"PYTHONHASHSEED": f"{hash_seed}", "PYTHONPATH": f"{SRC}{os.pathsep}{folder}"}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout.strip()


def test_another_process_in_another_folder_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (written(tmp_path / name, **MODELS) for name in ("one", "another"))
    monkeypatch.chdir(other)

    def asked(model: Any) -> Said:
        served = agent(model, mcp_servers=[MCPServer(command=["python", "rules.py"])])
        return said("a", agent=served, max_model_calls=1, timeout_seconds=1)

    assert told(one) == model_digest(other, asked)


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("rules", "FEE = 3", "FEE = 4"),
        ("rules", "rate = 2", "rate = 1"),
        ("rules", '"abc"', '"abd"'),
        ("rules", "threading.Lock()", "threading.RLock()"),
        ("models", "count(1)", "count(2)"),
        ("models", "return function(messages", "return function(messages[1:]"),
        ("models", "return f", "return 'x' + f"),
    ],
)
def test_whatever_a_model_reaches_is_a_part_of_it(file: str, before: str, after: str, tmp_path: Path) -> None:
    assert before in MODELS[file]
    digests = set()
    for name, text in {"one": MODELS[file], "other": MODELS[file].replace(before, after)}.items():
        digests.add(model_digest(written(tmp_path / name, **MODELS | {file: text})))
    assert len(digests) == 2


def model_digest(folder: Path, asked: Callable[[Any], Said] = by) -> str:
    """The same in this process, with modules of its own, of what asks the model."""
    with pytest.MonkeyPatch.context() as patch:
        for name in MODELS:
            patch.delitem(sys.modules, name, raising=False)
        patch.syspath_prepend(folder)
        import models  # type: ignore[import-not-found, unused-ignore]

        try:
            return digest(asked(models.model))
        finally:
            for name in MODELS:
                sys.modules.pop(name)
