"""The page in a browser, opened from a disk: it shows, filters, copies, folds, prints, and lets nothing out or in."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_aitest.report.html import render
from pytest_aitest.values.run_record import RunRecord

from ..support.browser import chromium, executable
from ..support.hostile_run import hostile_run
from ..support.sample_run import call, sample_run, turn
from ..support.sample_run import test as a_test

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser; see the `dev` extra")
pytestmark = pytest.mark.skipif(executable() is None, reason="there is no chromium here; AITEST_CHROMIUM may name one")

Opens = Callable[..., Any]
MINI, NANO = "#session-shopping-flow-azure-gpt-5-mini", "#session-shopping-flow-azure-gpt-5-nano"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files with runs."""
    folder = tmp_path_factory.mktemp("pages")
    runs = {"sample": sample_run(), "hostile": hostile_run(), "large": large_run(), "empty": RunRecord()}
    for name, run in runs.items():
        (folder / f"{name}.html").write_text(render(run), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in runs}


@pytest.fixture
def opens(browser: Any, pages: dict[str, Path]) -> Iterator[Opens]:
    """Opens a page; at the end nothing must have gone wrong in it, or have been asked of the network."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_page(name: str = "sample", *, anchor: str = "", width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(5000)
        tab.on("console", lambda message: wrong.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        file = pages[name].as_uri()
        tab.on("request", lambda request: wrong.append(request.url) if request.url.partition("#")[0] != file else None)
        tab.goto(file + anchor)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert [each for each in wrong if each != "data:,"] == []


def large_run() -> RunRecord:
    """Enough turns for passed sessions to be folded, and one result that is long."""
    result = "\n".join(f"line {number}" for number in range(100))
    tests = [
        a_test(f"t.py::test_{at}", turn(f"Say {at}", call("say", result)), session=f"t.py::flow-{flow}", first_turn=at)
        for flow in range(20)
        for at in range(1, 11)
    ]
    return replace(sample_run(), tests=(*tests, *sample_run().tests))


def shown(tab: Any, selector: str) -> list[str]:
    """Ids of elements that are not hidden."""
    found: list[str] = tab.eval_on_selector_all(
        selector, "all => all.filter(each => each.getClientRects().length).map(each => each.id)"
    )
    return found


def box(tab: Any, selector: str) -> Any:
    return tab.locator(selector).first.bounding_box()


def test_a_flow_stands_in_lanes_with_arrows_between_them(opens: Opens) -> None:
    tab = opens()
    user, ask, back, answer = (box(tab, f"{MINI} {each}") for each in (".user .t", ".ask", ".s1 .back", ".answer .t"))
    assert user["x"] + user["width"] < ask["x"]
    assert ask["x"] + ask["width"] < back["x"]
    assert answer["x"] == ask["x"]
    assert user["y"] < ask["y"] == back["y"] < answer["y"]
    second = box(tab, f"{MINI} .s2 .back")
    assert second["x"] > back["x"]


def test_where_there_is_little_room_it_stands_in_one_column_with_labels(opens: Opens) -> None:
    tab = opens(width=390)
    user, ask, answer = (box(tab, f"{MINI} {each}") for each in (".user .t", ".ask", ".answer .t"))
    assert user["width"] > 280
    assert abs(user["x"] - answer["x"]) < 1 < ask["x"] - user["x"]
    label = "each => { const style = getComputedStyle(each, '::before'); return [style.content, style.position]; }"
    assert tab.eval_on_selector(f"{MINI} .s1 .back", label) == ['"catalogue "', "static"]
    for name in ("sample", "hostile", "large", "empty"):
        assert opens(name, width=390).evaluate("document.documentElement.scrollWidth") == 390


def test_sessions_are_filtered_by_outcome_agent_and_server(opens: Opens) -> None:
    tab = opens()
    for label, choice, sessions in (
        ("outcome", "failed", [NANO[1:]]),
        ("outcome", "not run", [NANO[1:]]),
        ("server", "cart", [MINI[1:]]),
        ("agent", "shop", [MINI[1:], NANO[1:]]),
    ):
        tab.get_by_label(label, exact=True).select_option(label=choice)
        assert shown(tab, "article.session") == sessions
        assert len(shown(tab, ".index [data-for]")) == len(sessions)
        assert tab.locator("output").text_content() == f"{len(sessions)} of 7 sessions"
        tab.get_by_role("button", name="Show all").click()
        assert len(shown(tab, "article.session")) == 7
        assert tab.locator("output").text_content() == ""


def test_filters_work_together_and_text_is_searched(opens: Opens) -> None:
    tab = opens()
    tab.get_by_label("text", exact=True).fill("WHICH SHOES")
    assert shown(tab, "article.session") == [NANO[1:]]
    tab.get_by_label("outcome").select_option(label="noted")
    assert shown(tab, "article.session") == []


def test_a_link_to_what_is_filtered_away_shows_it(opens: Opens) -> None:
    tab = opens()
    tab.get_by_label("outcome").select_option(label="noted")
    tab.evaluate(f"location.hash = '{MINI}-turn-2'")
    playwright.expect(tab.locator(MINI)).to_be_visible()
    assert tab.get_by_label("outcome").input_value() == ""


def test_the_code_to_keep_and_the_command_are_copied(opens: Opens) -> None:
    tab = opens(permissions=["clipboard-read", "clipboard-write"])
    card = tab.locator("article.card").first
    for name, text in (("code to keep", "@pinned\n"), ("command", "pytest ")):
        button = card.get_by_role("button", name=f"Copy {name}")
        button.click()
        playwright.expect(button).to_have_text("Copied")
        assert text in tab.evaluate("navigator.clipboard.readText()")
        assert tab.evaluate("navigator.clipboard.readText()") == card.get_by_role("group", name=name).text_content()


@pytest.mark.parametrize(("system", "chosen"), [("light", "dark"), ("dark", "light")])
def test_colours_follow_the_system_unless_others_are_chosen(opens: Opens, system: Any, chosen: str) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    background = {"light": "rgb(247, 247, 245)", "dark": "rgb(20, 22, 26)"}
    tab = opens(color_scheme=system)
    assert tab.evaluate(colour) == background[system]
    tab.get_by_text(chosen, exact=True).click()
    assert tab.evaluate(colour) == background[chosen]
    tab.reload()
    assert tab.evaluate(colour) == background[chosen]


def test_a_link_opens_what_is_folded_around_a_turn(opens: Opens) -> None:
    tab = opens("large", anchor="#session-flow-15-turn-7")
    turn_7 = tab.locator("[id='session-flow-15-turn-7']")
    assert tab.locator("#session-flow-16 > details").get_attribute("open") is None
    playwright.expect(turn_7).to_be_in_viewport()
    assert "Say 7" in turn_7.text_content()
    tab.locator(".index a[href='#session-flow-16']").click()
    assert tab.locator("#session-flow-16 .user").first.is_visible()


@pytest.mark.parametrize(("name", "width"), [("large", 1280), ("sample", 1000), ("large", 390)])
def test_a_link_leads_to_the_top_of_a_session(opens: Opens, name: str, width: int) -> None:
    tab = opens(name, anchor=NANO, width=width)
    playwright.expect(tab.locator(f"{NANO} h3")).to_be_in_viewport()
    assert 0 <= box(tab, NANO)["y"] < 200


def test_large_runs_begin_with_what_failed_open(opens: Opens) -> None:
    tab = opens("large")
    assert tab.locator(f"{NANO} > details").get_attribute("open") is not None
    assert tab.locator("#session-flow-19 > details").get_attribute("open") is None


def test_a_long_result_is_unfolded_by_keyboard(opens: Opens) -> None:
    tab = opens("large", anchor="#session-flow-1-turn-1")
    fold = tab.locator("[id='session-flow-1-turn-1'] .long")
    fold.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert fold.get_by_text("line 99").is_visible()


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(opens: Opens) -> None:
    tab = opens()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "To the report"
    stops = []
    for _ in range(25):
        tab.keyboard.press("Tab")
        stops.append(tab.evaluate(
            """() => {
                const each = document.activeElement;
                const marked = each.name === "theme" ? each.parentElement : each;
                const top = each.getBoundingClientRect().top + scrollY;
                return [each.localName, getComputedStyle(marked).outlineStyle, top];
            }"""
        ))  # fmt: skip
    assert {outline for _, outline, _ in stops} <= {"solid", "auto"}
    assert [tag for tag, _, _ in stops[:2]] == ["input", "a"]
    assert {"select", "input", "a"} <= {tag for tag, _, _ in stops}
    tab.locator(".skip").focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"


def test_without_javascript_everything_is_there(opens: Opens) -> None:
    tab = opens(java_script_enabled=False)
    for hidden in (".filters", ".copy"):
        assert not tab.locator(hidden).first.is_visible()
    assert tab.locator(f"{MINI} .answer").first.is_visible()
    tab.get_by_text("why each turn is needed").click()
    assert tab.get_by_text("Without turn 1: passes (2 samples).").is_visible()
    tab.get_by_text("dark", exact=True).click()
    assert tab.locator("#theme-dark").is_checked()


def test_on_paper_nothing_is_folded_and_no_controls_are_left(opens: Opens) -> None:
    tab = opens("sample")
    tab.emulate_media(media="print")
    folded = "main details:not([open])"
    before = tab.locator(folded).count()
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert before > tab.locator(folded).count() == 0
    for hidden in (".filters", ".copy", ".index", ".theme"):
        assert not tab.locator(hidden).first.is_visible()
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator(folded).count() == before
    assert tab.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_to_complain_of(opens: Opens, colours: Any, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = opens(color_scheme=colours, width=width, bypass_csp=True)
    tab.add_style_tag(content="* { content-visibility: visible !important }")  # axe passes over what is not drawn
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    found = axe.run(tab)
    assert found.violations_count == 0, found.generate_report()


def test_texts_of_others_do_nothing(opens: Opens) -> None:
    tab = opens("hostile")
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    tab.mouse.move(640, 450)
    for name in ("script", "style"):
        assert tab.locator(name).count() == 1
    for name in ("iframe", "img", "form", "base", "textarea", "[onload]", "[onerror]", "[onmouseover]", "main [style]"):
        assert tab.locator(name).count() == 0
    assert tab.evaluate("[...document.links].every(each => each.getAttribute('href').startsWith('#'))")
    assert tab.locator("article.session").first.is_visible()
    tab.get_by_label("text", exact=True).fill("window.hacked = 1")
    assert len(shown(tab, "article.session")) == 7
    assert tab.evaluate("window.hacked") is None


def test_what_an_attack_would_add_is_refused_by_the_policy(
    browser: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    """Should a text ever break out, the page's own policy still stands."""
    broken = tmp_path / "broken.html"
    attack = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'><style>body{color:red}</style>"
    broken.write_text(pages["sample"].read_text(encoding="utf-8").replace("<main", f"{attack}<main"), encoding="utf-8")
    tab = browser.new_page()
    refused: list[str] = []
    tab.on("console", lambda message: refused.append(message.text))
    tab.goto(broken.as_uri())
    assert tab.evaluate("window.hacked") is None
    assert tab.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"
    assert len([text for text in refused if "Content Security Policy" in text]) >= 3
    tab.close()
