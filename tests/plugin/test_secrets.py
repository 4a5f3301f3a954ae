"""No secret reaches any output of a run, and all that is said to models and servers is what the test said."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from .conftest import Project

SECRETS = {
    name: f"{name.lower()}/{number * 7919:x}+c0ffee=="
    for number, name in enumerate(("KEY", "BANK", "ECHO", "BEARER", "OPENAI", "PRINTED", "LATE", "PATTERN"), 11)
}
PRIVATE_KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nw0BAQEFAASCBKcwggSj\n-----END KEY-----"
ORDINARY = {"TOKEN": "test", "DB_PASSWORD": "postgres", "MODE_AUTH": "enabled", "TLS_KEY": sys.executable}

BANK = '''
    import os
    import sys

    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError:
        from mcp.server.fastmcp import FastMCP as MCPServer
        from mcp.server.fastmcp.exceptions import ToolError

    server = MCPServer("bank", log_level="ERROR")


    @server.tool(structured_output=False)
    def check(token: str) -> str:
        """Whether it is the one that the bank was given."""
        assert token == os.environ["ECHO_TOKEN"]
        return f"{os.environ['ECHO_TOKEN']} and {os.environ['BANK']} are welcome"


    @server.tool(structured_output=False)
    def refuse() -> str:
        """Fail."""
        raise ToolError(f"{os.environ['ECHO_TOKEN']} is no good")


    @server.tool(structured_output=False)
    def die() -> str:
        """Die."""
        print(f"who needs {os.environ['ECHO_TOKEN']}", file=sys.stderr, flush=True)
        os._exit(3)


    server.run()
'''
WEB = '''
    import socket
    import sys

    import uvicorn

    try:
        from mcp.server import MCPServer
    except ImportError:
        from mcp.server.fastmcp import FastMCP as MCPServer

    server = MCPServer("web")


    @server.tool(structured_output=False)
    def hello() -> str:
        """Say hello."""
        return "hello from afar"


    async def guarded(scope, receive, send):
        given = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
        if scope["type"] == "http" and given != f"Bearer {sys.argv[1]}":
            raise SystemExit(f"not authorised: {given}")
        await app(scope, receive, send)


    app = server.streamable_http_app()
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(guarded, log_level="error")).run(sockets=[listening])
'''
TEST_BANK = """
    import os
    import sys
    import warnings

    import pytest
    from pytest_aitest import Agent, MCPServer, ModelAnswer, Provider, Session, ToolRequest


    def model(messages, tools):
        last = messages[-1]
        if last["role"] == "tool":
            return f"It said {last['content']}"
        verb, *words = last["content"].split()
        if verb in ("check", "refuse", "die", "hello"):
            arguments = {"token": os.environ["ECHO"]} if verb == "check" else {}
            return ModelAnswer(tool_requests=[ToolRequest(name=verb, arguments=arguments)])
        return " ".join(words)


    key, echoed, printed = os.environ["KEY"], os.environ["ECHO"], os.environ["PRINTED_TOKEN"]
    bank = MCPServer(
        name="bank",
        command=["python", "bank.py", "--api-key", os.environ["BANK"]],
        env={"ECHO_TOKEN": "${ECHO}", "BANK": "${BANK}"},
    )
    web = MCPServer(
        name="web",
        url=f"http://127.0.0.1:{os.environ['WEB_PORT']}/mcp",
        transport="streamable-http",
        headers={"Authorization": "Bearer ${BEARER}"},
        reset=lambda: None,
    )
    agent = Agent(
        name="teller",
        provider=Provider(model=model, api_key=key),
        mcp_servers=[bank, web],
        system_prompt=f"Ask {echoed}",
    )


    @pytest.mark.session("banking")
    class TestBanking:
        async def test_check(self, aitest_run):
            result = await aitest_run(agent, "check")
            assert result.tool_calls[0].error is None  # the server was given the token as it is
            assert echoed in result.final_response and os.environ["BANK"] in result.final_response

        async def test_hello(self, aitest_run):
            assert "hello from afar" in (await aitest_run(agent, "hello")).final_response

        async def test_refuse(self, aitest_run):
            # pytest shows 240 characters, the first and the last ones: here a part of each secret.
            long = "x" * 105 + echoed + "y" * 150 + echoed + "z" * 108
            result = await aitest_run(agent, "refuse")
            assert "is no good" in result.final_response
            assert long == result.final_response


    async def test_die(aitest_run):
        result = await aitest_run(agent, "die")
        assert result.success


    async def test_said(aitest_run):
        openai, private = os.environ["OPENAI_API_KEY"], os.environ["PRIVATE_KEY"]
        result = await aitest_run(agent, f"say {openai}. This test asks postgres if it is enabled in {sys.executable}.")
        print("printed", printed)
        print("logged", openai, private, file=sys.stderr)
        warnings.warn(f"{printed} will expire")
        assert result.final_response == private


    async def test_passes(aitest_run, monkeypatch):
        monkeypatch.setenv("LATE_TOKEN", os.environ["LATE"])
        await aitest_run(agent, f"say {os.environ['LATE']} and IBAN {os.environ['PATTERN']}")
        print("late", os.environ["LATE"], "pattern", "IBAN", os.environ["PATTERN"])


    async def test_skips(aitest_run):
        pytest.skip(f"no {printed} today")


    async def test_xfails(aitest_run):
        pytest.xfail(f"still no {printed}")


    @pytest.mark.parametrize("token", [printed])
    async def test_parameter(aitest_run, token):
        assert not await aitest_run(agent, f"say {token}")


    @pytest.fixture
    def account(aitest_session):
        raise LookupError(f"no account for {printed}")


    def test_setup(account):
        pass


    def test_plain(subtests):
        with subtests.test("a"):
            print(printed)
            assert printed == ""


    def test_by_itself():
        with Session(agent) as session:
            assert session.say(f"say {key}").final_response == ""
"""
TEST_WRONG = """
    import os
    from pytest_aitest import Provider

    provider = Provider(model="m", api_key=os.environ["KEY"])
    assert provider.api_key == "another"
"""
OUTPUTS = ("run.json", "run.html", "run.md", "run.xml")


@pytest.fixture
def web(project: Project) -> Iterator[int]:
    """A server on loopback that answers only to who has the token; its port."""
    project.write(web=WEB)
    command = [sys.executable, "web.py", SECRETS["BEARER"]]
    with subprocess.Popen(command, cwd=project.path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def parts(secret: str) -> list[str]:
    """What would give it away."""
    first, *lines = secret.splitlines()
    return lines[:-1] if lines else [first[:9], first[-9:]]


@pytest.mark.parametrize("how", [(), ("-n2", "--dist=loadfile")], ids=["one process", "workers"])
def test_no_output_shows_a_secret(
    project: Project, web: int, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]
) -> None:
    variables = {
        "KEY": SECRETS["KEY"],  # known by its name, and by what it is given to
        "BANK": SECRETS["BANK"],  # known only by the option of the command
        "ECHO": SECRETS["ECHO"],  # known only by the name that the server has for it
        "BEARER": SECRETS["BEARER"],
        "OPENAI_API_KEY": SECRETS["OPENAI"],
        "PRINTED_TOKEN": SECRETS["PRINTED"],
        "LATE": SECRETS["LATE"],
        "PATTERN": SECRETS["PATTERN"],
        "PRIVATE_KEY": PRIVATE_KEY,
        "WEB_PORT": str(web),
        **ORDINARY,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    project.write(bank=BANK, test_bank=TEST_BANK, test_wrong=TEST_WRONG)
    shown = [f"--aitest-{path.partition('.')[2]}={path}" for path in OUTPUTS[:3]]
    result = project.run(
        "-v", "-rA", "--tb=long", "-l", "--junitxml=run.xml", "-o", "junit_logging=all", *shown,
        "-o", "aitest_secrets=IBAN (\\S+)", "-p", "no:cacheprovider", "--continue-on-collection-errors",
        *how, plugins=("xdist",),
    )  # fmt: skip
    outputs = {path: (project.path / path).read_text(encoding="utf-8") for path in OUTPUTS}
    outputs["terminal"] = result.stdout.str() + result.stderr.str()
    errors = 1 + (2 if how else 1)  # each worker collects
    result.assert_outcomes(passed=3, failed=7, skipped=1, xfailed=1, errors=errors, warnings=1)
    for name, text in outputs.items():
        for secret in (*SECRETS.values(), PRIVATE_KEY):
            for part in parts(secret):
                assert not [line for line in text.splitlines() if part in line], (name, part)
        assert "[hidden " in text or "&#91;hidden " in text or "\\[hidden " in text, name
        unescaped = text.replace("\\", "")
        assert name == "run.xml" or "This test asks postgres if it is enabled in" in " ".join(unescaped.split()), name
    assert "test_bank.py::test_parameter[hidden PRINTED_TOKEN]" in outputs["terminal"]
    assert "hello from afar" in outputs["run.json"]
    for label in ("api_key", "api-key", "ECHO_TOKEN", "OPENAI_API_KEY", "PRINTED_TOKEN", "LATE_TOKEN", "PRIVATE_KEY"):
        assert f"[hidden {label}]" in outputs["terminal"], label
    assert "pattern IBAN [hidden]" in outputs["terminal"]


def test_a_project_that_declares_nothing_shows_what_it_would_without_us(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRETS["OPENAI"])
    project.write(
        test_plain="""
        import os

        def test_it():
            assert os.environ["OPENAI_API_KEY"] == ""
        """
    )
    assert SECRETS["OPENAI"] in project.output()
