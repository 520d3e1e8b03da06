"""The report: what is in the page, what is refused, and how it behaves in a browser."""

import contextlib
import dataclasses
import html
import json
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import browsing
import pytest
from report import scored

from seca import config as configs
from seca.errors import UsageError
from seca.report import compare, page

HOSTILE = "</script><script>alert(1)</script><!--<b>&amp;\u2028"
"""A text that would end a script, open a comment and be markup, if it were not escaped."""


def _evaluation(steps: int, rate: float, episodes: int, wins: bool) -> dict[str, Any]:
    won = round(rate * episodes)
    told = {"win_rate": won / episodes, "episode_won": [1] * won + [0] * (episodes - won)} if wins else {}
    episode_returns, lengths = [20 * rate] * episodes, [50] * episodes
    measured = {"return_mean": 20 * rate, "episode_return": episode_returns, "episode_length": lengths}
    return {"kind": "eval", "env_steps": steps, **told, **measured, "time_elapsed": steps / 1000}


def _make_run(
    path: pathlib.Path,
    rates: list[float],
    preset: str = "seca",
    seed: int = 0,
    env: str = "smac/2s3z",
    version: str = "smac-1",
    steps: int | None = None,
    wins: bool = True,
    result: float | None = None,
    **algorithm: Any,
) -> pathlib.Path:
    """A run folder with an evaluation each 1,000 env steps, which is whole unless `steps` is more."""
    path.mkdir(parents=True)
    config: Any = configs.from_preset(preset)
    config = dataclasses.replace(
        config,
        env=env,
        seed=seed,
        loop=dataclasses.replace(config.loop, steps=steps or 1000 * (len(rates) - 1), eval_interval=1000),
        algorithm=dataclasses.replace(config.algorithm, **algorithm),
    )
    (path / "config.json").write_text(configs.to_json(config))
    session = {
        "started": "2026-03-04T05:06:07+00:00",
        "seca": "0.1.0",
        "commit": "0123456789abcdef",
        "python": "3.11.7",
        "packages": {"jax": "0.8.0"},
        "processor": "a processor",
        "cores": 2,
        "devices": ["cpu", "cpu"],
    }
    (path / "environment.json").write_text(json.dumps({"env": {"version": version}, "sessions": [session]}))
    lines: list[dict[str, Any]] = []
    for index, rate in enumerate(rates):
        if index:
            trained = {"env_steps": 1000 * index, "gradient_steps": 3 * index, "time_env_steps_per_s": 1500.0}
            lines.append({"kind": "train", **trained, "time_elapsed": float(index)})
        lines.append(_evaluation(1000 * index, rate, 32, wins))
    if lines[-1]["env_steps"]:  # All its episodes were lost, so that it counts no gradient steps.
        lost = {"env_steps": lines[-1]["env_steps"], "episodes_lost": 32, "time_env_steps_per_s": 0.0}
        lines.insert(-1, {"kind": "train", **lost, "time_elapsed": float(len(rates) - 1)})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if result is not None:
        trained = {"episodes": 100, "win_rate": result, "return_mean": 20 * result}
        (path / "result.json").write_text(json.dumps({"env_steps": lines[-1]["env_steps"], "trained": trained}))
    return path


@pytest.fixture(name="runs", scope="module")
def runs_fixture(tmp_path_factory: pytest.TempPathFactory) -> list[pathlib.Path]:
    """Two methods, one of them with a run that ended early, on one of two environments; the other cannot be won."""
    home = tmp_path_factory.mktemp("report")
    runs = [
        _make_run(home / f"runs/seca-s{seed}", [0, 0.25, 0.5 + 0.1 * seed, 1.0], seed=seed, result=0.9 + 0.05 * seed)
        for seed in range(3)
    ]
    runs.append(_make_run(home / "runs/seca-cut", [0, 0.5], seed=3, steps=3000))
    runs.append(_make_run(home / "runs/mappo", [0, 0, 0.25, 0.5], "mappo"))
    runs.append(_make_run(home / "runs/matrix", [0, 0.5, 1], "qmix", env="matrix/climbing", version="m-1", wins=False))
    (runs[0] / "recordings").mkdir()
    for name in ("battle 0.npz", "battle 0.gif", "battle 0.html", "notes.txt"):
        (runs[0] / "recordings" / name).write_bytes(b"")
    return runs


@pytest.fixture(name="report", scope="module")
def report_fixture(runs: list[pathlib.Path]) -> pathlib.Path:
    """The page on these runs, beside them."""
    return page.write(runs, runs[0].parents[1] / "report.html")


def _data(text: str) -> Any:
    """What is embedded for the charts."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def _rows(text: str, caption: str) -> list[list[str]]:
    """Texts of the cells of the table with this caption, row by row."""
    table = re.search(f"<caption>{re.escape(caption)}</caption>(.*?)</table>", text, re.DOTALL)
    assert table is not None, caption
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table[1], re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def test_charts_get_what_curves_draws(report: pathlib.Path) -> None:
    """Median and quartiles of the runs that count, every run beside, and those that ended early as such."""
    [smac, matrix] = _data(report.read_text())
    [rate, returns] = smac["metrics"]
    assert (rate["name"], returns["name"]) == ("win_rate", "return_mean")
    [seca, mappo] = rate["groups"]
    assert seca["steps"] == [0, 1000, 2000, 3000]
    assert seca["median"] == [0, 0.25, 0.59375, 1]
    assert [run["ended"] for run in seca["runs"]] == [False, False, False, True]
    assert seca["runs"][3]["values"] == [0, 0.5]
    assert mappo["low"] == mappo["median"] == mappo["high"] == [0, 0, 0.25, 0.5]
    assert smac["dashes"][0] != smac["dashes"][1]
    assert [metric["name"] for metric in matrix["metrics"]] == ["return_mean"]


def test_scores(report: pathlib.Path) -> None:
    """Three runs by result.json; one by its last evaluation, Wilson's interval of 16 of 32 by hand; no wins."""
    text = report.read_text()
    rows = {row[0]: row[1:] for row in _rows(text, "Scores")}
    assert rows["seca"][:5] == ["3 of 4", "100.0 %", "100.0 to 100.0 %", "100.0 %", "100.0 to 100.0 %"]
    assert rows["seca"][5:] == ["20.00", "100.0 %", "2,000", "3,000"]
    mappo = ["1", "50.0 %", "–", "50.0 %", "33.6 to 66.4 %", "10.00", "50.0 %", "3,000", "not reached"]
    assert rows["mappo"] == mappo
    assert rows["qmix"] == ["1", "20.00", "–", "20.00", "–", "20.00", "20.00", "–", "–"]
    assert "of the last evaluation of training, 32 episodes" in text  # Which is what all of them have.
    assert "Over all" not in text


def test_scores_after_training_where_all_have_them(tmp_path: pathlib.Path) -> None:
    runs = [
        _make_run(tmp_path / str(seed), [0, 0.5, 1.0], seed=seed, result=rate)
        for seed, rate in enumerate((0.9, 0.95, 1))
    ]
    [_, _, seca] = _rows(page.page(runs), "Scores")
    # A bootstrap of three runs goes from the worst to the best.
    assert seca[1:7] == ["3", "95.0 %", "92.5 to 97.5 %", "95.0 %", "90.0 to 100.0 %", "19.00"]


def test_scores_are_those_of_compare(tmp_path: pathlib.Path) -> None:
    """Absolute metrics, all four statistics over environments, and who is better than whom."""
    cases = [(preset, name, seed) for preset in ("seca", "qmix") for name in ("3m", "2s3z") for seed in range(3)]
    runs = [
        scored.leave(tmp_path, scored.config(preset, f"smac/{name}", seed), absolute=(5 * number % 17) / 20)
        for number, (preset, name, seed) in enumerate(cases)
    ]
    found, text = compare.compare(scored.read(*runs)), page.page(runs)
    assert found.score == "absolute" and found.caption in html.unescape(text)
    expected = []
    for env, rows in found.environments.items():
        expected.append([env])
        for row in rows:
            numbers = (row.quartiles.median, row.quartiles.low, row.quartiles.high, row.iqm.value, row.iqm.low)
            median, low, high, iqm, least = (f"{100 * x:.1f}" for x in numbers)
            most = f"{100 * row.iqm.high:.1f} %"
            expected.append([row.method, "3", f"{median} %", f"{low} to {high} %", f"{iqm} %", f"{least} to {most}"])
    assert [cells[:6] for cells in _rows(text, "Scores")[1:]] == expected
    assert len({tuple(cells[2:]) for cells in expected if len(cells) > 1}) == 4
    [heads, first, _] = _rows(text, "Over all 2 environments")
    assert heads[1::2] == ["IQM", "median", "mean", "optimality gap"]
    assert first[1::2] == [f"{100 * x.value:.1f} %" for x in found.together["seca"].values()]
    [_, better] = _rows(text, "Probability that a run of seca is better than one of")
    chance = found.improvement["qmix"]
    assert better == ["qmix", f"{100 * chance.value:.1f} %", f"{100 * chance.low:.1f} to {100 * chance.high:.1f} %"]


def test_a_method_on_all_environments_has_a_score_over_all(tmp_path: pathlib.Path) -> None:
    runs = [
        _make_run(tmp_path / f"{env[-4:]}-{seed}", [0, 0.25 + 0.25 * seed], env=env, seed=seed)
        for env in ("smac/2s3z", "smac/3s5z")
        for seed in (0, 1)
    ]
    other = _make_run(tmp_path / "other", [0, 1], "mappo", env="smac/3s5z")
    [_, together] = _rows(page.page([*runs, other]), "Over all 2 environments")
    assert together[:3] == ["seca", "37.5 %", "25.0 to 50.0 %"]


def test_when_a_rate_was_reached_counts_runs_that_never_did(tmp_path: pathlib.Path) -> None:
    runs = [_make_run(tmp_path / str(seed), [0, rate, rate], seed=seed) for seed, rate in enumerate([0.5, 1.0, 0.25])]
    [_, _, seca] = _rows(page.page(runs), "Scores")
    assert seca[8:] == ["1,000 (2 of 3)", "not reached (1 of 3)"]


def test_a_run_gone_on_with_is_scored_by_its_last_evaluation(tmp_path: pathlib.Path) -> None:
    """Its result.json is of before."""
    run = _make_run(tmp_path / "run", [0, 0.5, 0.75], result=0.5)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"env_steps": 1000}))
    text = page.page([run])
    assert _rows(text, "Scores")[-1][2] == "75.0 %" and "of the last evaluation of training, 32 episodes" in text


def test_settings_that_differ(tmp_path: pathlib.Path) -> None:
    """Those of methods, those of runs of one method, and no others; not what each run has of its own."""
    runs = [
        _make_run(tmp_path / "a", [0, 1], "seca"),
        _make_run(tmp_path / "b", [0, 1], "seca", seed=1, steps=5000),
        _make_run(tmp_path / "c", [0, 1], "seca", seed=2, td_lambda=0.5),
    ]
    text = page.page(runs)
    rows = {row[0]: row[1:] for row in _rows(text, "Settings that differ")}
    default = configs.decisive(configs.to_dict(configs.from_preset("seca")))["algorithm.td_lambda"]
    assert rows == {
        "Setting": ["seca", "seca (td_lambda=0.5)"],
        "loop.steps": ["1000; 5000", "1000"],
        "algorithm.td_lambda": [str(default), "0.5"],
    }
    everything = {row[0]: row[1] for row in _rows(text, "Settings of seca")}
    assert everything["seed"] == "0; 1" and everything["devices"] == "0"
    assert "No setting that methods share differs" in page.page(runs[:1])


def test_cost(report: pathlib.Path) -> None:
    text = report.read_text()
    rows = _rows(text, "What the runs took")
    seca = next(row for row in rows if row[0] == "seca")
    assert seca[1:] == ["4", "10 s", "10,000", "1,000", "1,500", "30", "3.00"]
    assert "All runs: 15 s one after another" in text
    machines = _rows(text, "Machines and versions of the sessions")
    assert machines[1:] == [["a processor", "2", "2 cpu", "0.1.0", "0123456789", "3.11.7", "0.8.0", "6"]]


def test_commands_and_recordings(report: pathlib.Path, runs: list[pathlib.Path], tmp_path: pathlib.Path) -> None:
    """Commands are quoted for a shell; links start at the page, so that page and runs can be moved together."""
    text = report.read_text()
    assert f"<code>seca train --config {runs[0]}/config.json --out NEW</code>" in text
    assert 'href="runs/seca-s0/recordings/battle%200.gif"' in text
    assert 'href="runs/seca-s0/recordings/battle%200.html"' in text
    assert 'href="runs/seca-s0/recordings/battle%200.npz"' in text
    assert "notes.txt" not in text
    spaced = _make_run(tmp_path / "it's here", [0, 1])
    assert "seca train --config &#x27;" in page.page([spaced])


def test_warnings_stand_under_the_chart(report: pathlib.Path, tmp_path: pathlib.Path) -> None:
    text = report.read_text()
    assert "seca-cut ends at 1,000 of 3,000 env steps; drawn dashed" in text
    assert "only 3 of 5 seeds for seca" in text and "only 1 of 5 seeds for mappo" in text
    runs = [_make_run(tmp_path / "a", [0, 1]), _make_run(tmp_path / "b", [0, 0, 0, 1], steps=9000)]
    (tmp_path / "d").mkdir()
    shutil.copy(runs[0] / "config.json", tmp_path / "d")
    (tmp_path / "d" / "metrics.jsonl").write_text("")
    text = page.page([*runs, tmp_path / "d"])
    for fragment in (
        "mixed budgets: 1,000; 9,000",
        "seca has the same seed more than once",
        "b ends at 3,000 of 9,000 env steps; its scores are those of there",
        "d: it has no evaluation yet",
    ):
        assert re.search(f"<li>[^<]*{re.escape(fragment)}", text), fragment


def test_the_same_runs_give_the_same_page(report: pathlib.Path, runs: list[pathlib.Path]) -> None:
    """No clock in it: the date is that of the runs."""
    text = report.read_text()
    assert page.page(runs, home=report.parent) == text
    assert "6 runs of 3 methods on 2 environments, started 2026-03-04" in text


def test_nothing_is_loaded_and_licences_are_kept(report: pathlib.Path) -> None:
    text = report.read_text()
    assert re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", text) == []
    assert re.findall(r"@import|url\(", text) == []
    assert "The MIT License (MIT)" in text and "Leon Sorokin" in text
    folder = pathlib.Path(page.__file__).parent / "page"
    version = re.search(r"uPlot \(v([\d.]+)\)", (folder / "uPlot.iife.min.js").read_text())
    assert version is not None and f"uPlot {version[1]}" in (folder / "page.html").read_text()
    for script in folder.glob("*.js"):
        assert "</script" not in script.read_text() and "<!--" not in script.read_text()
    assert "innerHTML" not in (folder / "page.js").read_text()


def test_texts_from_runs_are_no_markup(tmp_path: pathlib.Path) -> None:
    run = _make_run(tmp_path / "<b>run&", [0, 1], version=HOSTILE)
    environment = json.loads((run / "environment.json").read_text())
    environment["sessions"][0]["processor"] = HOSTILE
    (run / "environment.json").write_text(json.dumps(environment))
    text = page.page([run], title=HOSTILE)
    assert "<script>alert" not in text and "<b>" not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text
    assert text.count("<script") == text.count("</script>") == 3


def test_it_is_small(tmp_path: pathlib.Path) -> None:
    """40 runs of 20 evaluations in less than 300 kB."""
    rates = [index / 20.3 for index in range(20)]
    runs = [_make_run(tmp_path / method, rates, method) for method in ("seca", "mappo", "qmix", "vdn")]
    assert page.write(10 * runs, tmp_path / "report.html").stat().st_size < 300_000


@pytest.mark.parametrize(
    ("name", "message"),
    [("report.htm", "ends in .html"), ("report", "ends in .html"), ("folder.html", "it is a folder")],
)
def test_refused_names(runs: list[pathlib.Path], tmp_path: pathlib.Path, name: str, message: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match=f"`out` is .*{message}"):
        page.write(runs, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


def test_a_folder_that_takes_nothing(runs: list[pathlib.Path], tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UsageError, match=r"`out` is .*report\.html"):
        page.write(runs, tmp_path / "file" / "report.html")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "result.json cannot be read"),
        ("[]", "result.json holds no object `trained`"),
        ('{"trained": {"episodes": 0, "win_rate": 1, "return_mean": 1}}', "`episodes` of result.json is 0"),
        ('{"trained": {"episodes": 9, "win_rate": NaN, "return_mean": 1}}', "`win_rate` of result.json is nan"),
        ('{"trained": {"episodes": 9, "win_rate": 2, "return_mean": 1}}', "`win_rate` of result.json is 2"),
        ('{"trained": {"episodes": 9, "win_rate": 1}}', "`return_mean` of result.json is None"),
    ],
)
def test_damaged_results_are_named(tmp_path: pathlib.Path, content: str, message: str) -> None:
    """One line, and what was there stays."""
    run, out = _make_run(tmp_path / "run", [0, 1]), tmp_path / "report.html"
    (run / "result.json").write_text(content)
    out.write_text("kept")
    with pytest.raises(UsageError) as error:
        page.write([run], out)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert out.read_text() == "kept"


def test_no_runs() -> None:
    with pytest.raises(UsageError, match="`runs` is empty"):
        page.page([])


def test_a_run_without_times_or_sessions(tmp_path: pathlib.Path) -> None:
    """Runs of older versions: what is not known is a dash."""
    run = _make_run(tmp_path / "run", [0, 1])
    (run / "environment.json").unlink()
    (run / "metrics.jsonl").write_text(
        '{"kind": "eval", "env_steps": 0, "win_rate": 0, "return_mean": 0}\n'
        '{"kind": "eval", "env_steps": 1000, "win_rate": 1, "return_mean": 20}\n'
    )
    text = page.page([run])
    assert _rows(text, "What the runs took")[-1][1:] == ["1", "–", "1,000", "–", "–", "–", "–"]
    assert "started at an unknown time" in text and "Machines and versions" not in text


# In a browser.


@pytest.fixture(name="browser", scope="module")
def browser_fixture() -> Iterator[Any]:
    """Debian's Chromium."""
    yield from browsing.chromium()


@contextlib.contextmanager
def _opened(browser: Any, report: pathlib.Path, width: int = 1280, scheme: str = "light") -> Iterator[Any]:
    """The report in a window of its own."""
    with browsing.opened(browser, report, "figure canvas", width, color_scheme=scheme) as window:
        yield window


COLOURS = """canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
  const found = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 250) found.add(data.slice(i, i + 3).join());
  return [...found];
}"""
"""Colours of the opaque pixels of a canvas."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_charts_are_drawn_and_nothing_overflows(browser: Any, report: pathlib.Path, width: int, scheme: str) -> None:
    with _opened(browser, report, width, scheme) as window:
        canvases = window.query_selector_all("figure canvas")
        assert len(canvases) == 2
        for canvas in canvases:
            box = canvas.bounding_box()
            assert 300 < box["width"] <= width and box["height"] > 200
            assert len(canvas.evaluate(COLOURS)) > 10
        seca = {"light": "0,114,178", "dark": "86,180,233"}[scheme]
        assert seca in canvases[0].evaluate(COLOURS)
        assert window.evaluate("document.documentElement.scrollWidth") == width
        ground = window.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]


def _values(window: Any) -> list[str]:
    """The line above the values of the first chart, and the values of its methods."""
    told = window.query_selector_all("figure >> nth=0 >> css=.at, .median, .quartiles")
    return [cell.inner_text() for cell in told]


def test_hover_shows_values(browser: Any, report: pathlib.Path) -> None:
    """A little beyond a third of the way it is those of 1,000 env steps; away from the chart, those of the end."""
    end = ["At the end of each curve", "100.0 %", "100.0 to 100.0 %", "50.0 %", "–"]
    with _opened(browser, report) as window:
        assert _values(window) == end
        box = window.query_selector("figure .u-over").bounding_box()
        window.mouse.move(box["x"] + box["width"] * 0.36, box["y"] + 50)
        assert _values(window) == ["At 1,000 env steps", "25.0 %", "25.0 to 25.0 %", "0.0 %", "–"]
        window.mouse.move(5, 5)
        assert _values(window) == end
        window.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
        window.mouse.down()
        window.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50)
        window.mouse.up()
        assert window.is_visible("figure .whole")
        window.click("figure .whole")
        assert window.is_hidden("figure .whole")


def test_the_return_can_be_drawn_and_every_run(browser: Any, report: pathlib.Path) -> None:
    with _opened(browser, report) as window:
        label = window.get_attribute("figure canvas", "aria-label")
        assert label.startswith("test win rate over training env steps. At the end: seca 100.0 %, quartiles 100.0 to")
        before = len(window.query_selector("figure canvas").evaluate(COLOURS))
        window.check("figure .individual")
        assert len(window.query_selector("figure canvas").evaluate(COLOURS)) != before
        window.check("figure input[value=return_mean]")
        assert window.get_attribute("figure canvas", "aria-label").startswith("test return over")
        assert _values(window)[1] == "20.00"


def _tab_to(window: Any, selector: str) -> None:
    """Go to the first element of this kind by the Tab key; wherever it stops, that can be seen."""
    for _ in range(60):
        window.keyboard.press("Tab")
        if window.evaluate("selector => document.activeElement.matches(selector)", selector):
            style = window.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid"
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def test_by_keyboard(browser: Any, report: pathlib.Path) -> None:
    """Colours, the choice of metric, reading along the curves, methods on and off, and copying a command."""
    with _opened(browser, report) as window:
        _tab_to(window, "#scheme")
        window.keyboard.press("Enter")
        assert window.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert window.inner_text("#scheme") == "Light colours"
        window.keyboard.press("Enter")
        _tab_to(window, "input[type=radio]")
        _tab_to(window, ".plot")
        for expected in ("0", "1,000", "2,000"):
            window.keyboard.press("ArrowRight")
            assert _values(window)[0] == f"At {expected} env steps"
        window.keyboard.press("ArrowLeft")
        assert _values(window)[0] == "At 1,000 env steps"
        assert "seca 25.0 %" in window.inner_text("#said")
        window.keyboard.press("Escape")
        assert _values(window)[0] == "At the end of each curve"
        _tab_to(window, "input[aria-label='draw seca']")
        window.keyboard.press("Space")
        assert "0,114,178" not in window.query_selector("figure canvas").evaluate(COLOURS)
        assert "seca" not in window.get_attribute("figure canvas", "aria-label")
        window.keyboard.press("Space")
        assert "0,114,178" in window.query_selector("figure canvas").evaluate(COLOURS)
        _tab_to(window, "summary")
        window.keyboard.press("Enter")
        assert window.is_visible("details table")
        _tab_to(window, ".copy")
        window.keyboard.press("Enter")
        window.wait_for_selector(".copy:focus:has-text('Copied'), .copy:focus:has-text('Selected')")


def test_everything_can_be_seen_on_paper(browser: Any, report: pathlib.Path) -> None:
    """In light colours, with nothing folded away; afterwards all is as it was."""
    with _opened(browser, report, scheme="dark") as window:
        window.emulate_media(media="print")
        window.wait_for_selector("details[open] >> nth=0")
        assert all(part.is_visible() for part in window.query_selector_all("table, pre, canvas"))
        assert "0,114,178" in window.query_selector("figure canvas").evaluate(COLOURS)
        assert window.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert window.is_hidden("#scheme")
        window.emulate_media(media="screen", color_scheme="dark")
        window.wait_for_selector("details:not([open]) >> nth=0")
        assert "86,180,233" in window.query_selector("figure canvas").evaluate(COLOURS)
        assert len(window.pdf(format="A4")) > 10_000


def test_texts_from_runs_do_nothing_in_a_browser(browser: Any, tmp_path: pathlib.Path) -> None:
    run = _make_run(tmp_path / "run", [0, 1], version=HOSTILE)
    with _opened(browser, page.write([run], tmp_path / "report.html", title=HOSTILE)) as window:
        window.on("dialog", lambda dialog: pytest.fail("a text was run"))
        assert window.inner_text("h1") == HOSTILE
        assert window.title() == HOSTILE
