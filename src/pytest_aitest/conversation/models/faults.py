"""Why a model could not be asked: one word, one sentence, and whether another try may do better."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import ProviderFault

from .catalogue import Catalogue
from .evidence import Evidence, Response
from .wording import one_line, seconds, shown_url, without_secrets

NO_CHOICES = "an answer without choices"
_PASSING = frozenset({500, 502, 503, 504, 529})
_LIMITS = "Set Provider(rpm=...) or Provider(tpm=...) to what the account allows."
_NO_KEY = re.compile(r"missing .{0,40}(credentials|api.?key)|api_key is not set|locate credentials", re.IGNORECASE)
_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_API_KEY\b")
_NO_MODEL = re.compile(
    r"(?:invalid response from LLM endpoint|unable to get json response).*?(?:received|original response): (.*?)"
    r"(?:\. Check the reverse proxy.*)?$",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way in which asking failed."""

    kind: ProviderFault
    what: str  # "Model 'gpt-4o' is rate limited: 429 Too Many Requests: slow down"
    advice: str
    passing: bool = False  # whether another try may do better
    wait_seconds: float | None = None  # the provider's own Retry-After

    def message(self, *, tries: int) -> str:
        """The whole of it, after so many tries."""
        notes = [f"after {tries} tries"] if tries > 1 else []
        if self.wait_seconds is not None:
            notes.append(f"told to wait {seconds(self.wait_seconds)}")
        return f"{self.what}{' (' + ', '.join(notes) + ')' if notes else ''}. {self.advice}"


def fault_in(error: BaseException, *, provider: Provider, catalogue: Catalogue, timeout_seconds: float) -> Fault:
    """What `error`, which litellm raised when it had `timeout_seconds`, comes down to."""
    # Hidden before anything is cut short, or half a secret could be left.
    evidence = Evidence.in_error(error, hide=partial(without_secrets, provider=provider))
    if evidence.response is None:
        fault = _without_response(evidence, provider, catalogue, timeout_seconds)
    else:
        fault = _in_conversation(evidence.response, evidence, provider) or _by_status(
            evidence.response, provider, catalogue
        )
    return _as_missing_key(fault, evidence, provider, catalogue) or fault


def blocked(provider: Provider, wait_seconds: float) -> Fault:
    """Not asked at all, because the provider told another session to wait."""
    return Fault(
        kind="rate_limit",
        what=f"Model {provider.label!r} is rate limited, and was not asked again",
        advice=_LIMITS,
        wait_seconds=wait_seconds,
    )


def filtered(provider: Provider, said: str) -> Fault:
    """The provider's content filter took the question or the answer."""
    return Fault(
        kind="content_filter",
        what=f"Model {provider.label!r} gave no answer, because its provider's content filter stopped it{_colon(said)}",
        advice="Word the message otherwise, or relax the filter where the provider lets you.",
    )


def no_model(provider: Provider, said: str) -> Fault:
    """Something answered, but not as a model does."""
    return Fault(
        kind="bad_answer",
        what=f"What answers for model {provider.label!r}{_where(provider)} does not speak its protocol{_colon(said)}",
        advice="Check api_base: for an OpenAI-compatible server it usually ends in '/v1'.",
    )


def _in_conversation(response: Response, evidence: Evidence, provider: Provider) -> Fault | None:
    """A fault that lies in what was said, as litellm recognises it for each provider."""
    if "ContextWindowExceededError" in evidence.names or response.code == "context_length_exceeded":
        return Fault(
            kind="context_window",
            what=f"Model {provider.label!r} can't read this conversation, which is too long{_colon(response.message)}",
            advice="Shorten the conversation or what its tools return, or take a model with a larger context window.",
        )
    if "ContentPolicyViolationError" in evidence.names or response.code == "content_filter":
        return filtered(provider, response.message)
    return None


def _by_status(response: Response, provider: Provider, catalogue: Catalogue) -> Fault:
    status = f"{response.status} {response.reason}".strip()
    said = f"{_colon(status)}{_colon(response.message)}"
    match response.status:
        case 401 | 403:
            return _refused(provider, said)
        case 404 if response.body is not None and response.body.keys() & {"error", "message"}:
            return Fault(
                kind="unknown_model",
                what=f"Model {provider.label!r} does not exist{_where(provider)}{said}",
                advice=f"Check its name.{catalogue.hint()}",
            )
        case 404:
            return no_model(provider, status)
        case 408:
            return _late(provider, f"gave up on the request{said}")
        case 429:
            return _limited(response, provider, said)
    wait = response.retry_after_seconds(datetime.now(UTC))
    return replace(_other(provider, said), passing=response.status in _PASSING, wait_seconds=wait)


def _limited(response: Response, provider: Provider, said: str) -> Fault:
    spent = response.code == "insufficient_quota"  # comes as a 429, and no waiting helps
    return Fault(
        kind="rate_limit",
        what=f"Model {provider.label!r} is rate limited{said}",
        advice="The account's quota is used up; see its billing." if spent else _LIMITS,
        passing=not spent,
        wait_seconds=response.retry_after_seconds(datetime.now(UTC)),
    )


def _without_response(evidence: Evidence, provider: Provider, catalogue: Catalogue, timeout_seconds: float) -> Fault:
    """A fault of the network, of an answer that is none, or of litellm."""
    if evidence.names & {"Timeout", "TimeoutException", "TimeoutError"}:
        return _late(provider, f"did not answer within {seconds(timeout_seconds)}")
    if other := _NO_MODEL.search(evidence.said):
        return no_model(provider, f"it said {other[1] or 'nothing'}")
    if "JSONDecodeError" in evidence.names:
        return no_model(provider, f"no JSON ({one_line(evidence.said)})")
    if "no 'choices'" in evidence.said:
        return no_model(provider, NO_CHOICES)
    if evidence.network:
        return Fault(
            kind="connection",
            what=f"Model {provider.label!r} could not be reached{_where(provider)}{_colon(evidence.cause)}",
            advice="Check that api_base is right and its server runs." if provider.api_base else "Check the network.",
            passing="InvalidURL" not in evidence.names,
        )
    return _of_litellm(evidence, provider, catalogue)


def _of_litellm(evidence: Evidence, provider: Provider, catalogue: Catalogue) -> Fault:
    """A fault that litellm found before it asked anybody."""
    if "BadRequestError" in evidence.names and not catalogue.knows():
        return Fault(
            kind="unknown_model",
            what=f"Model {provider.label!r} is none that litellm knows",
            advice="Write it as 'provider/model', for an OpenAI-compatible server "
            f"'openai/{provider.label}' with its api_base.{catalogue.hint()}",
        )
    if "AuthenticationError" in evidence.names:
        return _refused(provider, _colon(evidence.said))
    return _other(provider, _colon(evidence.said))


def _as_missing_key(fault: Fault, evidence: Evidence, provider: Provider, catalogue: Catalogue) -> Fault | None:
    """The same fault as a matter of a missing key, where it is one.

    Asked first and explained afterwards: litellm's list of the variables that each provider needs lacks second names
    (PERPLEXITY_API_KEY, TOGETHER_API_KEY, HF_TOKEN), profiles and roles, and would refuse calls that work.
    """
    variables = catalogue.key_variables()
    certain = bool(variables) and all(name.endswith("_API_KEY") for name in variables)
    complains = evidence.response is None and _NO_KEY.search(evidence.said) is not None
    kinds = {"authentication"} if provider.api_base else {"authentication", "connection", "timeout"}
    if not complains and not (certain and fault.kind in kinds):
        return None
    names = variables or list(dict.fromkeys(_VARIABLE.findall(evidence.said)))
    listed = (" or " if certain else " and ").join(names) or "its variable"
    return Fault(
        kind="missing_key",
        what=f"Model {provider.label!r} can't be asked, because its key is missing",
        advice=f"Set {listed} in the environment, or give Provider(api_key=...).",
    )


def _refused(provider: Provider, said: str) -> Fault:
    return Fault(
        kind="authentication",
        what=f"Model {provider.label!r} may not be asked with this key{said}",
        advice="Check that the key is right and may use this model.",
    )


def _late(provider: Provider, what: str) -> Fault:
    return Fault(
        kind="timeout",
        what=f"Model {provider.label!r} {what}",
        advice="Raise timeout_seconds if it needs longer, else see whether its provider has trouble.",
    )


def _other(provider: Provider, said: str) -> Fault:
    return Fault(
        kind="provider",
        what=f"Model {provider.label!r} failed{said}",
        advice="This comes from the provider or from litellm; see what their documentation says of it.",
    )


def _colon(said: str) -> str:
    line = one_line(said)
    return f": {line}" if line else ""


def _where(provider: Provider) -> str:
    return f" at {shown_url(provider.api_base)}" if provider.api_base else ""
