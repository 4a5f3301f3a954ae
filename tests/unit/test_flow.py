"""A session class as steps: where its tests decide, what is noted of the order, and what each is called with."""

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_aitest import Agent, DeclarationError, Provider, ProviderError, Session, SessionError, ToolError
from pytest_aitest.checks import called_only_after
from pytest_aitest.exploration.attempt import UNDECIDED
from pytest_aitest.flow import ExploredFlow, FlowSubject, FlowTest, OrderNotes, ValueSet, check_invariants
from pytest_aitest.search.arguments import Listed
from pytest_aitest.search.plan import LeftOut, Step
from pytest_aitest.search.runner import StopSearchError
from pytest_aitest.stateful import invariant, precondition


class Failed(BaseException):
    pass


class Skipped(BaseException):
    pass


def echo(messages: Any, tools: Any) -> str:
    return " | ".join(message["content"] for message in messages if message["role"] == "user")


ECHO = Agent(name="echo", provider=Provider(model=echo))


class Chat:
    """Its tests raise what they are told to, in `faults`."""

    def test_first(self, aitest_session: Session, faults: dict[str, BaseException]) -> None:
        aitest_session.say("one", agent=ECHO)
        self._raise(faults, "test_first")

    async def test_second(self, aitest_session: Session, faults: dict[str, BaseException]) -> None:
        await aitest_session.say_async("two", agent=ECHO)
        self._raise(faults, "test_second")

    def test_third(self, faults: dict[str, BaseException]) -> None:
        self._raise(faults, "test_third")

    def _raise(self, faults: dict[str, BaseException], name: str) -> None:
        if name in faults:
            raise faults[name]


def flow_of(*tests: FlowTest, kind: type = Chat, **more: Any) -> ExploredFlow:
    tests = tests or (FlowTest(name="test_first"), FlowTest(name="test_second"), FlowTest(name="test_third"))
    given = {
        "fixtures": {"faults": {}},
        "speaking": lambda session: session,
        "instance": kind,
        "fails": (Failed,),
    }
    return ExploredFlow(kind=kind, tests=tests, **{**given, **more})


BEGUN: list[FlowSubject] = []


@pytest.fixture(autouse=True)
def all_end() -> Iterator[None]:
    yield
    while BEGUN:
        BEGUN.pop().end()


def begun(flow: ExploredFlow) -> FlowSubject:
    BEGUN.append(FlowSubject(flow, Session(name="chat")))
    return BEGUN[-1]


def taken(flow: ExploredFlow, *steps: str) -> FlowSubject:
    subject = begun(flow)
    for step in steps:
        subject.take(Step(rule=step), {})
    subject.count()
    return subject


FIRST, SECOND, THIRD = "test_first", "test_second", "test_third"


# Where a test decides


@pytest.mark.parametrize(
    ("after", "decides"),
    [((FIRST,), True), ((), False), ((FIRST, FIRST), False), ((THIRD,), False), ((FIRST, SECOND), False)],
)
def test_without_a_promise_a_test_decides_in_the_documented_order_only(after: tuple[str, ...], decides: bool) -> None:
    assert flow_of().decides(FlowTest(name=SECOND), after=after, as_written=True) is decides
    assert not flow_of().decides(FlowTest(name=SECOND), after=after, as_written=False)


@pytest.mark.parametrize(
    ("needs", "after", "decides"),
    [
        ((), (), True),
        ((), (THIRD, THIRD), True),
        ((FIRST,), (FIRST,), True),
        ((FIRST,), (THIRD, FIRST, THIRD), True),
        ((FIRST,), (THIRD,), False),
        ((FIRST, THIRD), (FIRST,), False),
        ((FIRST, THIRD), (THIRD, FIRST), True),
    ],
)
def test_a_promised_test_decides_once_what_it_needs_has_run(
    needs: tuple[str, ...], after: tuple[str, ...], decides: bool
) -> None:
    test = FlowTest(name=SECOND, needs=frozenset(needs))
    for as_written in (True, False):
        assert flow_of().decides(test, after=after, as_written=as_written) is (
            decides or (as_written and after == (FIRST,))
        )


def test_in_a_strict_flow_all_decides_but_what_is_expected_to_fail() -> None:
    strict = flow_of(is_strict=True)
    assert strict.decides(FlowTest(name=SECOND), after=(THIRD,), as_written=False)
    assert not strict.decides(FlowTest(name=SECOND, never_decides=True), after=(FIRST,), as_written=True)
    assert not strict.decides(
        FlowTest(name=SECOND, never_decides=True, needs=frozenset()), after=(FIRST,), as_written=True
    )


# What a failure becomes

ERRORS = [AssertionError("no"), ValueError("no"), ToolError("no"), SessionError("no"), Failed("no")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_failure_decides_in_the_documented_order_and_is_noted_elsewhere(error: BaseException) -> None:
    flow = flow_of(fixtures={"faults": {SECOND: error}})
    with pytest.raises(type(error)):
        taken(flow, FIRST, SECOND)
    assert list(flow.notes.lines()) == []
    taken(flow, SECOND)
    assert len(list(flow.notes.lines())) == 1


@pytest.mark.parametrize(
    "error",
    [DeclarationError("no"), ProviderError("no", kind="timeout"), StopSearchError(), Skipped()],
    ids=repr,
)
def test_what_is_no_verdict_of_the_test_goes_on_from_everywhere(error: BaseException) -> None:
    flow = flow_of(fixtures={"faults": {SECOND: error}})
    with pytest.raises(type(error)):
        taken(flow, SECOND)
    assert list(flow.notes.lines()) == []


@pytest.mark.parametrize("needs", [None, frozenset({FIRST})])
def test_a_step_says_that_it_failed_in_what_does_not_count_there(needs: frozenset[str] | None) -> None:
    faults: dict[str, BaseException] = {}
    flow = flow_of(FlowTest(name=FIRST), FlowTest(name=SECOND, needs=needs), fixtures={"faults": faults})
    assert begun(flow).take(Step(rule=SECOND), {}) is not UNDECIDED
    assert taken(flow, FIRST).take(Step(rule=SECOND), {}) is not UNDECIDED
    faults[SECOND] = AssertionError()
    assert begun(flow).take(Step(rule=SECOND), {}) is UNDECIDED


def test_what_fails_where_its_promise_does_not_hold_is_not_even_noted() -> None:
    tests = FlowTest(name=FIRST), FlowTest(name=SECOND, needs=frozenset({FIRST}))
    flow = flow_of(*tests, fixtures={"faults": {SECOND: AssertionError()}})
    taken(flow, SECOND)
    assert list(flow.notes.lines()) == []


def test_what_is_expected_to_fail_is_not_noted() -> None:
    tests = FlowTest(name=FIRST), FlowTest(name=SECOND, never_decides=True)
    flow = flow_of(*tests, fixtures={"faults": {SECOND: AssertionError()}})
    taken(flow, FIRST, SECOND)
    taken(flow, SECOND)
    assert list(flow.notes.lines()) == []


def test_what_holds_in_the_documented_order_is_noted_where_nothing_was_promised() -> None:
    promised = FlowTest(name=SECOND, needs=frozenset())
    flow = flow_of(FlowTest(name=FIRST), promised, FlowTest(name=THIRD))
    taken(flow, FIRST, SECOND, THIRD)
    assert flow.notes.verdicts == {FIRST: {(): True}, THIRD: {(FIRST, SECOND): True}}


# The words of a note


def notes(*verdicts: tuple[tuple[str, ...], bool]) -> str:
    noted = OrderNotes(documented=("a", "b", "test_x"))
    for after, held in verdicts:
        noted.note("test_x", after, held=held)
    return "\n".join(noted.lines())


ADVICE = ". If it should hold anywhere, mark it turn(needs=())."


def test_what_holds_everywhere_gets_no_line() -> None:
    assert notes(((), True), (("a",), True)) == ""


def test_a_test_whose_absence_tells_failures_from_the_rest_is_named() -> None:
    verdicts = [((), False), (("b",), False), (("a",), True), (("b", "a"), True), (("b", "b"), False)]
    assert notes(*verdicts) == f"test_x fails unless a has run (3 of 3 orders){ADVICE}"


def test_a_test_whose_presence_does_is_named() -> None:
    verdicts = [((), True), (("b",), True), (("a",), False), (("b", "a"), False)]
    assert notes(*verdicts) == f"test_x fails once a has run (2 of 2 orders){ADVICE}"


def test_where_no_single_test_explains_it_all_orders_but_the_documented_one_are_counted() -> None:
    verdicts = [(("a", "b"), True), (("b", "a"), False), ((), False), (("b", "b", "a"), True)]
    assert notes(*verdicts) == f"test_x fails in 2 of 3 other orders{ADVICE}"


def test_an_order_met_again_is_counted_once() -> None:
    assert notes(((), False), ((), False), (("a",), True)) == f"test_x fails unless a has run (1 of 1 orders){ADVICE}"


def test_the_documented_order_is_an_order_too() -> None:
    """There the third test holds without having run before: that can't be what the other orders lack."""
    faults: dict[str, BaseException] = {}
    flow = flow_of(fixtures={"faults": faults})
    taken(flow, FIRST, SECOND, THIRD)
    taken(flow, THIRD, THIRD)  # the second time it holds
    faults[THIRD] = AssertionError()
    taken(flow, THIRD)
    assert list(flow.notes.lines()) == [f"test_third fails in 1 of 2 other orders{ADVICE}"]


def test_other_words_do_not_overwrite_what_is_known_of_an_order() -> None:
    faults: dict[str, BaseException] = {THIRD: AssertionError()}
    phrased = FlowTest(name=THIRD, phrasings=("please",))
    flow = flow_of(FlowTest(name=FIRST), phrased, fixtures={"faults": faults})
    taken(flow, THIRD)
    faults.clear()
    begun(flow).take(Step(rule=THIRD), {"phrasing": "please"})
    assert len(list(flow.notes.lines())) == 1


# What a test is called with


def test_the_plan_is_the_documented_order_in_its_own_words() -> None:
    flow = flow_of(FlowTest(name=FIRST), FlowTest(name=SECOND, phrasings=("b",)))
    assert [str(step) for step in flow.plan] == ["test_first()", "test_second()"]
    assert flow.plan[1].arguments == {"phrasing": LeftOut()}


def test_a_test_with_phrasings_is_a_rule_with_an_argument() -> None:
    test = FlowTest(name=FIRST, phrasings=("a", "b"))
    assert list(test.pool) == [{"phrasing": LeftOut()}, {"phrasing": "a"}, {"phrasing": "b"}]
    assert test.shrunk("phrasing", "b", lambda value: True) == LeftOut()
    assert test.shrunk("phrasing", "b", lambda value: False) == "b"
    assert list(FlowTest(name=FIRST).pool) == [{}]
    assert [*flow_of(test).signatures[FIRST].parameters] == ["phrasing"]
    assert [*flow_of().signatures[FIRST].parameters] == []


# Other values


class Paying:
    """Its second test pays; what it is told to raise stands in `faults`."""

    def test_first(self, faults: dict[str, BaseException]) -> None:
        self._raise(faults, "test_first")

    def test_pay(self, amount: int, account: str, faults: dict[str, BaseException], paid: list[object]) -> None:
        paid.append((amount, account))
        self._raise(faults, "test_pay")

    def test_last(self, faults: dict[str, BaseException]) -> None:
        self._raise(faults, "test_last")

    def _raise(self, faults: dict[str, BaseException], name: str) -> None:
        if name in faults:
            raise faults[name]


USUAL: dict[str, Any] = {"amount": 200, "account": "savings"}
OTHER: dict[str, Any] = {"amount": 1, "account": "checking"}
EXPECTED_TO_FAIL: dict[str, Any] = {"amount": 0, "account": "savings"}
SETS = ValueSet(values=USUAL), ValueSet(values=OTHER), ValueSet(values=EXPECTED_TO_FAIL, never_decides=True)
PAY, LAST = "test_pay", "test_last"


def paying(*, faults: dict[str, BaseException] | None = None, needs: dict[str, Any] | None = None, **more: Any) -> Any:
    promised = {name: frozenset(each) for name, each in (needs or {}).items()}
    tests = [
        FlowTest(name=FIRST, needs=promised.get(FIRST)),
        FlowTest(name=PAY, needs=promised.get(PAY), values=SETS),
        FlowTest(name=LAST, needs=promised.get(LAST)),
    ]
    fixtures = {"faults": faults or {}, "paid": [], "account": "of a fixture"}
    return flow_of(*tests, kind=Paying, fixtures=fixtures, **more)


def paid(flow: ExploredFlow, *steps: Step | str) -> FlowSubject:
    subject = begun(flow)
    for step in steps:
        taken = Step(rule=step) if isinstance(step, str) else step
        subject.take(taken, taken.arguments)
    return subject


def pay(values: dict[str, Any]) -> Step:
    return Step(rule=PAY, arguments=values)


def test_a_test_with_values_is_a_rule_with_arguments_that_stay_together() -> None:
    test = FlowTest(name=PAY, values=SETS)
    assert test.simplest == USUAL
    assert isinstance(test.pool, Listed)
    assert list(test.pool) == [USUAL, OTHER, EXPECTED_TO_FAIL]
    assert test.shrunk("amount", 1, lambda value: True) == 200
    assert test.shrunk("amount", 1, lambda value: False) == 1
    assert [step.code for step in flow_of(test).plan] == ["test_pay(amount=200, account='savings')"]
    assert str(flow_of(test).signatures[PAY]) == "(*, amount=200, account='savings')"


def test_each_set_of_values_is_put_in_all_words() -> None:
    pool = FlowTest(name=PAY, values=SETS[:2], phrasings=("please",)).pool
    assert list(pool) == [{**values, "phrasing": words} for values in (USUAL, OTHER) for words in (LeftOut(), "please")]


def test_a_step_is_taken_with_its_values_which_go_before_fixtures() -> None:
    flow = paying()
    paid(flow, pay(OTHER), pay(USUAL))
    assert flow.fixtures["paid"] == [(1, "checking"), (200, "savings")]


@pytest.mark.parametrize(
    "values",
    [{"amount": 1, "account": "savings"}, {"amount": 200, "account": "checking"}, {"amount": 1}, {}, {"amount": "1"}],
    ids=repr,
)
def test_values_that_are_not_listed_together_are_not_taken(values: dict[str, Any]) -> None:
    subject = begun(paying())
    assert subject.can_take(pay(OTHER))
    assert not subject.can_take(pay(values))


def test_values_are_told_apart_by_how_they_are_written() -> None:
    """As two steps are; a type that refuses to be compared, or that is equal to all, is as good as any other."""

    class Odd:
        def __init__(self, name: str) -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            raise TypeError("no")

        __hash__ = None  # type: ignore[assignment]

        def __repr__(self) -> str:
            return f"Odd({self.name!r})"

    sets = ValueSet(values={"odd": Odd("a")}), ValueSet(values={"odd": Odd("b")})
    test = FlowTest(name=PAY, values=sets)
    assert test.chosen({"odd": Odd("b")}) is sets[1]
    assert test.chosen({"odd": Odd("c")}) is None


FAULT = AssertionError("no")


def test_in_the_documented_order_a_test_decides_with_its_documented_values_only() -> None:
    with pytest.raises(AssertionError):
        paid(paying(faults={PAY: FAULT}), FIRST, pay(USUAL))
    flow = paying(faults={PAY: FAULT})
    paid(flow, FIRST, pay(OTHER))
    assert list(flow.notes.lines()) == []


def test_after_other_values_no_later_test_decides_in_the_documented_order() -> None:
    with pytest.raises(AssertionError):
        paid(paying(faults={LAST: FAULT}), FIRST, pay(USUAL), LAST)
    flow = paying(faults={LAST: FAULT})
    paid(flow, FIRST, pay(OTHER), LAST)
    assert list(flow.notes.lines()) == []  # nor is the order to blame


def test_a_promise_holds_with_whatever_values() -> None:
    for step, needs in ((PAY, {PAY: ()}), (LAST, {LAST: {PAY}})):
        with pytest.raises(AssertionError):
            paid(paying(faults={step: FAULT}, needs=needs), pay(OTHER), LAST)
    with pytest.raises(AssertionError):
        paid(paying(faults={PAY: FAULT}, is_strict=True), pay(OTHER))


def test_with_values_that_are_expected_to_fail_a_test_never_decides() -> None:
    flow = paying(faults={PAY: FAULT}, needs={PAY: ()}, is_strict=True)
    assert begun(flow).take(pay(EXPECTED_TO_FAIL), EXPECTED_TO_FAIL) is UNDECIDED
    assert list(flow.notes.lines()) == []


def test_a_pinned_order_is_completed_by_the_documented_values() -> None:
    flow = flow_of(FlowTest(name=FIRST), FlowTest(name=PAY, values=SETS, phrasings=("please",)))
    kept = (Step(rule=PAY, arguments={"phrasing": "please"}), Step(rule=FIRST), pay(OTHER))
    plan = flow.completed({"kept": kept})["kept"]
    assert [step.code for step in plan] == [
        "test_pay(amount=200, account='savings', phrasing='please')",
        "test_first()",
        "test_pay(amount=1, account='checking')",
    ]
    assert [list(step.arguments) for step in plan] == [
        ["amount", "account", "phrasing"],
        [],
        ["amount", "account", "phrasing"],
    ]


def test_a_pinned_order_that_names_values_that_are_not_listed_is_refused() -> None:
    with pytest.raises(
        DeclarationError, match=r"Paying.kept calls test_pay\(amount=1, account='savings'\), and .* ever"
    ):
        paying().completed({"kept": (pay({"amount": 1}),)})
    many = FlowTest(name=PAY, values=tuple(ValueSet(values={"amount": amount}) for amount in range(12)))
    with pytest.raises(DeclarationError, match=r"test_pay\(amount=7\), 4 more\. Name one of these"):
        flow_of(many).completed({"kept": (pay({"amount": 12}),)})


# Words


def test_whatever_speaks_is_given_the_session_which_knows_the_words() -> None:
    heard: list[tuple[Session, str | None]] = []

    class Talk:
        async def test_talk(self, aitest_run: Any) -> None: ...

    def speaking(session: Session) -> None:
        heard.append((session, session.rephrased))

    flow = flow_of(FlowTest(name="test_talk", phrasings=("please",)), kind=Talk, speaking=speaking)
    subject = begun(flow)
    subject.take(Step(rule="test_talk"), {"phrasing": "please"})
    subject.take(Step(rule="test_talk"), {"phrasing": LeftOut()})  # what the first one left unsaid is forgotten
    assert heard == [(subject.session, "please"), (subject.session, None)]


def test_other_words_take_the_place_of_what_a_test_says_first_and_of_nothing_else() -> None:
    class Talk:
        def test_talk(self, aitest_session: Session) -> None:
            aitest_session.say("one", agent=ECHO)
            aitest_session.say("two")

    subject = begun(flow_of(FlowTest(name="test_talk", phrasings=("please",)), kind=Talk))
    subject.take(Step(rule="test_talk"), {"phrasing": "please"})
    subject.take(Step(rule="test_talk"), {"phrasing": LeftOut()})
    assert subject.session.turns[-1].final_response == "please | two | one | two"


def test_each_step_has_an_instance_of_its_own_and_all_share_a_session_and_a_loop() -> None:
    import asyncio

    seen: list[tuple[object, object, object]] = []

    class Talk:
        async def test_a(self, aitest_session: Session) -> None:
            seen.append((self, aitest_session, asyncio.get_running_loop()))

        async def test_b(self, aitest_session: Session) -> None:
            seen.append((self, aitest_session, asyncio.get_running_loop()))

    taken(flow_of(FlowTest(name="test_a"), FlowTest(name="test_b"), kind=Talk), "test_a", "test_b").end()
    (one, session, loop), (other, same_session, same_loop) = seen
    assert one is not other
    assert (session, loop) == (same_session, same_loop)


def test_a_step_that_is_no_test_any_more_is_not_taken() -> None:
    assert not FlowSubject(flow_of(), Session()).can_take(Step(rule="test_gone"))


def test_a_flow_can_be_ended_twice() -> None:
    subject = taken(flow_of(), FIRST, SECOND)
    subject.end()
    subject.end()


# Invariants


class Watched(Chat):
    @invariant()
    def sync(self, aitest_session: Session) -> None:
        assert len(aitest_session.turns) < 2, "sync"

    @invariant()
    async def coroutine(self, aitest_session: Session) -> None:
        assert len(aitest_session.turns) < 3, "async"

    @precondition(lambda self: False)
    @invariant()
    def never(self) -> None:
        raise AssertionError("never")

    looks = called_only_after("pay", "look")


def complaints(subject: FlowSubject) -> Iterator[str]:
    for name, check in subject.checks():
        try:
            check()
        except AssertionError as error:
            yield f"{name}: {str(error).partition(chr(10))[0]}"


def test_invariants_look_at_the_session_once_something_was_said() -> None:
    flow = flow_of(kind=Watched)
    assert list(complaints(taken(flow))) == []
    assert [name for name, _ in taken(flow).checks()] == []
    assert [name for name, _ in taken(flow, FIRST).checks()] == ["sync", "coroutine", "never", "looks"]
    assert list(complaints(taken(flow, FIRST))) == []
    assert list(complaints(taken(flow, FIRST, FIRST))) == ["sync: sync"]
    assert list(complaints(taken(flow, FIRST, FIRST, FIRST))) == ["sync: sync", "coroutine: async"]


class Prepared(Chat):
    """Its fixtures give it a limit."""

    limit: int

    def test_within(self) -> None:
        assert self.limit

    @invariant()
    def within(self, aitest_session: Session) -> None:
        assert len(aitest_session.turns) <= self.limit, "over"

    @precondition(lambda self: self.limit > 1)
    @invariant()
    async def generous(self) -> None:
        raise AssertionError("generous")


def prepared(limit: int) -> Prepared:
    made = Prepared()
    made.limit = limit
    return made


def test_tests_and_invariants_are_those_of_instances_as_fixtures_prepared_them() -> None:
    tests = FlowTest(name=FIRST), FlowTest(name="test_within", needs=frozenset())
    flow = flow_of(*tests, kind=Prepared, instance=lambda: prepared(1))
    assert list(complaints(taken(flow, FIRST, "test_within"))) == []
    assert list(complaints(taken(flow, FIRST, FIRST))) == ["within: over"]
    assert list(complaints(taken(flow_of(*tests, kind=Prepared, instance=lambda: prepared(2)), FIRST))) == [
        "generous: generous"
    ]


def test_after_a_test_of_its_own_the_instance_of_that_test_is_looked_at() -> None:
    session = taken(flow_of(), FIRST, FIRST).session

    def fixture(name: str) -> Session:
        assert name == "aitest_session"
        return session

    for limit, complaint in {1: "over", 2: "generous"}.items():
        with pytest.raises(AssertionError, match=complaint):
            check_invariants(prepared(limit), session, fixture)
        assert session.call_mode == "event"


def test_what_invariants_call_after_a_test_of_its_own_is_an_observation() -> None:
    modes: list[str] = []

    class Looking:
        @invariant()
        def looks(self, aitest_session: Session) -> None:
            modes.append(aitest_session.call_mode)

    session = begun(flow_of()).session
    check_invariants(Looking(), session, lambda name: session)
    assert (modes, session.call_mode) == (["observation"], "event")


def test_no_cause_is_named_where_several_tell_the_failures_from_the_rest() -> None:
    notes = OrderNotes(documented=("test_add", "test_cart", "test_pay"))
    notes.note("test_pay", ("test_add", "test_cart"), held=True)
    notes.note("test_pay", (), held=False)
    assert list(notes.lines()) == [
        "test_pay fails in 1 of 1 other orders. If it should hold anywhere, mark it turn(needs=())."
    ]
    notes.note("test_pay", ("test_cart",), held=False)  # now it is known that the cart is not enough
    assert list(notes.lines()) == [
        "test_pay fails unless test_add has run (2 of 2 orders). If it should hold anywhere, mark it turn(needs=())."
    ]
