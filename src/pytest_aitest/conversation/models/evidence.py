"""What an exception from litellm tells of what happened.

litellm gives one name to several faults: refused, dropped, not JSON and no key are all an InternalServerError. So this
looks beneath: at the HTTP response, if there was one, and at the exceptions in the chain, by name.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_MOST_LINKS = 20  # a chain may also lead to what the caller was handling
_ADDITIONS = re.compile(
    r"^(?:(?:litellm\.)?\w*(?:Error|Timeout)(?: Error)?: "  # "litellm.InternalServerError: InternalServerError: "
    r"|\w+Exception(?: \w+)? - )*"  # "OpenAIException - "
    r"|\.? Handle with `litellm\.\w+`\.?$"
    r"|\n\s*Traceback .*$",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Response:
    """An HTTP response that was an error."""

    status: int
    reason: str  # "Too Many Requests"
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: Mapping[str, Any] | None = None  # where it is a JSON object

    @property
    def code(self) -> str:
        """OpenAI's word for the error, like "insufficient_quota"."""
        error = (self.body or {}).get("error")
        return str(error.get("code")) if isinstance(error, Mapping) else ""

    @property
    def message(self) -> str:
        """What the body says, in the ways in which providers put it."""
        body = self.body or {}
        error = body.get("error", body)
        if isinstance(error, Mapping):
            error = error.get("message") or error.get("detail") or ""
        return error if isinstance(error, str) else json.dumps(error)

    def retry_after_seconds(self, now: datetime) -> float | None:
        """How long the provider asks to wait, in whichever of three ways it says so."""
        milliseconds = _number(self.headers.get("retry-after-ms"))
        if milliseconds is not None:
            return milliseconds / 1000
        written = self.headers.get("retry-after")
        seconds = _number(written)
        if seconds is not None or written is None:
            return seconds
        try:
            date = parsedate_to_datetime(written)
        except ValueError:
            return None
        # A date without a zone is in UTC by the protocol.
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One failed call."""

    names: frozenset[str]  # of all exception classes in the chain, their parents too
    said: str  # litellm's words, without its additions
    cause: str  # the network's words where it failed, else the innermost exception's
    network: bool  # whether the connection failed
    response: Response | None

    @classmethod
    def in_error(cls, error: BaseException, hide: Callable[[str], str] = str) -> "Evidence":
        """Read `error` and what it was raised from; `hide` takes the secrets out of all words."""
        chain = list(_chain(error))
        inmost_first = [link for link in reversed(chain) if str(link)]
        of_network = [link for link in inmost_first if _is_of_the_network(link)]
        return cls(
            names=frozenset(kind.__name__ for link in chain for kind in type(link).__mro__),
            said=hide(_ADDITIONS.sub("", str(error))),
            cause=hide(str(next(iter(of_network or inmost_first), ""))),
            network=bool(of_network) or any(_is(link, "openai", "APIConnectionError") for link in chain),
            # httpx's own exception holds the response that came; those made from it lose headers.
            response=next((_response(link, hide) for link in chain if _is(link, "httpx", "HTTPStatusError")), None),
        )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_MOST_LINKS):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__  # `from None` too: openai hides the response that way


def _is(link: BaseException, package: str, name: str) -> bool:
    return type(link).__name__ == name and type(link).__module__.partition(".")[0] == package


def _is_of_the_network(link: BaseException) -> bool:
    return isinstance(link, OSError) or type(link).__module__.partition(".")[0] in {"aiohttp", "httpx"}


def _response(status_error: Any, hide: Callable[[str], str]) -> Response:
    response = status_error.response
    return Response(
        status=response.status_code,
        reason=response.reason_phrase,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=_json_object(response, hide),
    )


def _json_object(response: Any, hide: Callable[[str], str]) -> Mapping[str, Any] | None:
    try:
        body = json.loads(hide(response.text))
    except Exception:  # noqa: BLE001 - no JSON, or a body that was not read: the status must do
        return None
    if isinstance(body, list) and len(body) == 1:  # Gemini's way
        body = body[0]
    return body if isinstance(body, dict) else None


def _number(written: str | None) -> float | None:
    try:
        number = float(written or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
