"""A report on runs: one HTML file with curves, scores, settings, costs and commands, which loads nothing else.

Texts and tables are made here, curves are drawn by `page/page.js` with uPlot (MIT, its licence is kept in the file).
"""

import dataclasses
import html
import json
import math
import os
import pathlib
import shlex
import string
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from seca import files
from seca.config import WATCHING, RunConfig, decisive, to_dict
from seca.errors import RunError, UsageError
from seca.report import compare, curves, scores, statistics
from seca.report.compare import Comparison
from seca.report.curves import METRICS, Curve
from seca.report.markup import Html, element, embedded, join, policy, resource, warnings
from seca.report.scores import Score, Scored
from seca.runs import bands, stats
from seca.runs import folder as folders
from seca.runs.folder import RunFolder

HUES = 7
"""Colours in `page/page.css`."""

DASHES: tuple[tuple[int, ...], ...] = ((), (9, 4), (3, 3), (12, 4, 3, 4), (18, 5))
"""Lengths of strokes and gaps; 5 and `HUES` have no common divisor, so 35 methods differ in one or the other."""

LEVELS = (0.5, 0.95)
"""Test win rates of which the table says when they were reached."""

PICTURES = (".html", ".npz", ".gif", ".mp4", ".png")
"""What is linked of a run's recordings."""

NOTHING = "–"
"""In cells without a value."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run: its curve, and what its folder says beside."""

    curve: Curve
    config: RunConfig
    scored: Scored
    sessions: list[dict[str, Any]]
    env_steps: float
    """Of its last line, as all of the following."""
    seconds: float | None
    """Wall clock over all sessions."""
    gradient_steps: float | None
    rate: float | None
    """Env steps per second of the usual iteration: the median, of playing and learning alone."""
    recordings: list[pathlib.Path]


def write(
    paths: Sequence[pathlib.Path],
    out: pathlib.Path,
    title: str | None = None,
    notes: Sequence[str] = (),
    tell: Callable[[float, int], None] = lambda share, count: None,
) -> pathlib.Path:
    """Write the report on these runs to `out`, an .html file, and return it; a file of that name is replaced.

    `notes` are further things to be said of the runs; `tell(share, runs)` is told how far reading is.

    Raises UsageError when a run cannot be read or the file cannot be written; what was there is kept then.
    """
    files.usable("out", out)
    if out.suffix != ".html":
        raise UsageError(f"`out` is {out}: it must be a file name that ends in .html")
    if out.is_dir():
        raise UsageError(f"`out` is {out}: it is a folder; choose another name")
    made = page(paths, title, out.parent, notes, tell)
    try:
        files.write(out, made)
    except RunError as error:
        raise UsageError(f"`out` is {out}: {error}") from None
    return out


def page(
    paths: Sequence[pathlib.Path],
    title: str | None = None,
    home: pathlib.Path = pathlib.Path(),
    notes: Sequence[str] = (),
    tell: Callable[[float, int], None] = lambda share, count: None,
) -> str:
    """The report as text; of the same runs it is the same. Links to recordings start from the folder `home`.

    `notes` are further things to be said of the runs; `tell(share, runs)` is told how far reading is.

    Raises UsageError when a run cannot be read, none has been evaluated, or they do not compare
    (`compare.refuse_unlike`).
    """
    if not paths:
        raise UsageError("`runs` is empty: give at least one run folder")
    scored, left_out = scores.read(paths, tell)
    found = compare.compare(scored)
    runs = [_read(run) for run in scored]
    methods = {name: index for index, name in enumerate(dict.fromkeys(run.curve.preset for run in runs))}
    environments = _by(runs, lambda run: run.curve.env)
    named = {env: f"environment-{index}" for index, env in enumerate(environments)}
    title = title or f"{_counted(methods, 'methods')} on {_counted(map(_name, environments), 'environments')}"
    charts, data = _charts(environments, methods, named)
    texts = {name: _resource(name) for name in ("page.css", "page.js", "uPlot.iife.min.js", "uPlot.min.css")}
    return string.Template(_resource("page.html")).substitute(
        policy=policy([texts["uPlot.iife.min.js"], texts["page.js"]]),
        title=html.escape(title),
        about=html.escape(_about(runs, methods, environments)),
        contents=_contents(named),
        notes=warnings([*notes, *left_out]),
        charts=charts,
        scores=_scores(found, environments),
        settings=_settings(runs),
        cost=_cost(environments),
        commands=_commands(runs, home),
        data=embedded(data),
        css=texts["page.css"],
        js=texts["page.js"],
        uplot_js=texts["uPlot.iife.min.js"],
        uplot_css=texts["uPlot.min.css"],
        uplot_licence=html.escape(_resource("uPlot.LICENSE")),
    )


def _resource(name: str) -> str:
    return resource("seca.report", name)


def _by(runs: Iterable[Run], key: Callable[[Run], str]) -> dict[str, list[Run]]:
    """Runs by a text, in the order in which the texts come first."""
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(key(run), []).append(run)
    return grouped


def _counted(names: Iterable[str], several: str) -> str:
    """Up to three names, or how many there are."""
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct) if len(distinct) <= 3 else f"{len(distinct)} {several}"


def _read(scored: Scored) -> Run:
    """What the folder of an evaluated run says."""
    curve = scored.curve
    folder = RunFolder(pathlib.Path(curve.run))
    lines = folders.read_metrics(folder)
    trained = [line for line in lines if line["kind"] == "train"]
    rates = [rate for line in trained if (rate := scores.number(line.get("time_env_steps_per_s"))) is not None]
    counted = (scores.number(line.get("gradient_steps")) for line in trained)
    gradient_steps = [count for count in counted if count is not None]
    environment = folders.read_environment(folder) or {"sessions": []}
    return Run(
        curve=curve,
        config=scored.config,
        scored=scored,
        sessions=environment["sessions"],
        env_steps=max(curve.steps[-1], scores.number(lines[-1].get("env_steps")) or 0.0),
        seconds=scores.number(lines[-1].get("time_elapsed")),
        gradient_steps=gradient_steps[-1] if gradient_steps else None,
        rate=float(np.median(rates)) if rates else None,
        recordings=sorted(path for path in folder.recordings.glob("*") if path.suffix in PICTURES),
    )


def _about(runs: Sequence[Run], methods: Iterable[str], environments: Iterable[str]) -> str:
    """What this is a report on, and when it was made: from the runs, not by the clock."""
    counts = [
        f"{len(list(things))} {name}{'' if len(list(things)) == 1 else 's'}"
        for name, things in (("run", runs), ("method", list(methods)), ("environment", list(environments)))
    ]
    started = sorted(str(session["started"])[:10] for run in runs for session in run.sessions if "started" in session)
    dates = " to ".join(dict.fromkeys([started[0], started[-1]])) if started else "at an unknown time"
    return f"{counts[0]} of {counts[1]} on {counts[2]}, started {dates}"


def _contents(named: dict[str, str]) -> Html:
    """Links to the parts of the page."""
    parts = {"Scores": "scores", "Settings": "settings", "Cost": "cost", "Runs and commands": "repeat"}
    curves_of = {"Curves": "curves"} if len(named) == 1 else {_short_name(env, named): to for env, to in named.items()}
    links = [element("li", element("a", text, href=f"#{to}")) for text, to in (curves_of | parts).items()]
    return element("nav", element("ul", *links), aria_label="Contents")


def _short_name(env: str, envs: Iterable[str]) -> str:
    """An environment without its version, unless there are several of that name."""
    return env if sum(_name(other) == _name(env) for other in envs) > 1 else _name(env)


def _name(env: str) -> str:
    """An environment without version and options."""
    return env.split(" version ")[0]


def _charts(
    environments: Mapping[str, Sequence[Run]], methods: Mapping[str, int], named: Mapping[str, str]
) -> tuple[Html, list[dict[str, Any]]]:
    """A figure for each environment, and the numbers that the script draws into it."""
    figures, data = [], []
    for env, runs in environments.items():
        members = [run.curve for run in runs]
        groups = curves.group(members)
        names = [name for name in METRICS if all(name in curves.metrics(group) for group in groups.values())]
        figures.append(element("h3", env, id=named[env]))
        figures.append(_figure(members, {label: methods[label] for label in groups}, names, named[env]))
        figures.append(warnings([*curves.warnings(members), *_short_of_budget(members)]))
        dashes = [DASHES[methods[label] % len(DASHES)] for label in groups]
        data.append({"dashes": dashes, "metrics": [_drawn(groups.values(), name) for name in names]})
    return join(figures), data


def _short_of_budget(members: Sequence[Curve]) -> list[str]:
    """A warning for each run that counts though it has not done what it was asked for: none of its method has more."""
    counted = [curve for group in curves.group(members).values() for curve in curves.whole(group)]
    return [
        f"{curve.run} ends at {curve.steps[-1]:,.0f} of {curve.budget:,} env steps; its scores are those of there"
        for curve in counted
        if curve.steps[-1] < curve.budget
    ]


def _figure(members: Sequence[Curve], methods: Mapping[str, int], metrics: Sequence[str], name: str) -> Html:
    """Controls, a place for the chart, the values under the cursor and the caption."""
    choices = [
        element(
            "label",
            element("input", type="radio", name=f"{name}-metric", value=metric, checked=metric == metrics[0]),
            METRICS[metric],
        )
        for metric in metrics
    ]
    individual = element("label", element("input", type="checkbox", class_="individual"), "every single run")
    controls = [
        element("fieldset", element("legend", "What is drawn", class_="unseen"), *choices, hidden=len(metrics) == 1),
        individual,
        element("button", "Whole range", type="button", class_="whole", hidden=True),
        element("span", "Drag over the chart to look closer.", class_="hint"),
    ]
    plot = element(
        "div",
        class_="plot",
        tabindex=0,
        role="group",
        aria_label=f"Learning curves on {members[0].env}. Arrow keys read them out along the env steps.",
    )
    heads = ("Method", "Median", "Quartiles", "Runs")
    rows = [_key_row(label, methods[label], group) for label, group in curves.group(members).items()]
    values = element(
        "table",
        element("caption", element("span", "At the end of each curve", class_="at")),
        element("thead", element("tr", *(_head(text, text != "Method") for text in heads))),
        element("tbody", *rows),
        class_="key",
    )
    told = curves.caption(members).split(" Warning: ")[0]
    return element(
        "figure",
        element("div", *controls, class_="controls"),
        plot,
        element("div", values, class_="wide"),
        element("figcaption", f"{told} Thin dashes: runs that ended early."),
    )


def _key_row(label: str, index: int, group: Sequence[Curve]) -> Html:
    """The row of a method: a switch, its colour and dashes, and cells that the script fills in."""
    dashes = " ".join(map(str, DASHES[index % len(DASHES)]))
    line = element(
        "line", x1=1, y1=6, x2=43, y2=6, stroke="currentColor", stroke_width=2.5, stroke_dasharray=dashes or "none"
    )
    swatch = element("svg", line, class_=f"swatch hue-{index % HUES}", viewBox="0 0 44 12", aria_hidden="true")
    switch = element("input", type="checkbox", checked=True, aria_label=f"draw {label}")
    cells = [element("td", class_=f"number {name}") for name in ("median", "quartiles")]
    name = element("label", switch, swatch, element("span", label, class_="name"))
    return element("tr", element("th", name, scope="row"), *cells, _cell(_of(curves.whole(group), group), True))


def _drawn(groups: Iterable[Sequence[Curve]], metric: str) -> dict[str, Any]:
    """The numbers of one metric: median and quartiles of each method, and its runs."""
    drawn = []
    for group in groups:
        counted = curves.whole(group)
        band = curves.band(counted, metric)
        runs = [
            {
                "steps": _short(curve.steps),
                "values": _short(curve.values[metric]),
                "ended": not any(curve is other for other in counted),
            }
            for curve in group
        ]
        quartiles = {"low": _short(band.low), "median": _short(band.median), "high": _short(band.high)}
        drawn.append({"steps": _short(band.steps), **quartiles, "runs": runs})
    return {"name": metric, "label": METRICS[metric], "percent": metric == "win_rate", "groups": drawn}


def _short(values: np.ndarray) -> list[int | float]:
    """Numbers with six digits: more than can be seen, and whole env steps as they are."""
    return [int(value) if value == int(value) else float(f"{value:.6g}") for value in values.tolist()]


def _of(counted: Sequence[object], all_of_them: Sequence[object]) -> str:
    few = len(counted) < len(all_of_them)
    return f"{len(counted)} of {len(all_of_them)}" if few else str(len(counted))


def _head(text: str, number: bool = False) -> Html:
    return element("th", text, scope="col", class_="number" if number else "text")


def _cell(text: str, number: bool = False) -> Html:
    return element("td", text, class_="number" if number else "text")


def _table(caption: str, heads: Sequence[str], bodies: Mapping[str, Sequence[Sequence[str]]], numbers: int = 0) -> Html:
    """A table whose rows start with their name, under a heading for each body that has one.

    The last `numbers` columns hold numbers. Where it is too wide for the page it is moved by itself, hence in the reach
    of the keyboard.
    """
    first = len(heads) - numbers
    written = []
    for heading, rows in bodies.items():
        lines = [element("tr", element("th", heading, scope="rowgroup", colspan=len(heads), class_="group"))]
        for name, *cells in rows:
            told = [_cell(text, index >= first) for index, text in enumerate(cells, start=1)]
            lines.append(element("tr", element("th", name, scope="row"), *told))
        written.append(element("tbody", *(lines if heading else lines[1:])))
    head = element("thead", element("tr", *(_head(text, index >= first) for index, text in enumerate(heads))))
    table = element("table", element("caption", caption), head, *written)
    return element("div", table, class_="wide", tabindex=0, role="region", aria_label=caption)


def _counted_runs(runs: Sequence[Run]) -> list[Run]:
    """Those of a method on an environment that did not end early."""
    counted = curves.whole([run.curve for run in runs])
    return [run for run in runs if any(run.curve is curve for curve in counted)]


def _scores(found: Comparison, environments: Mapping[str, Sequence[Run]]) -> Html:
    """What `compare` says of these runs, and how soon and how far each method came."""
    heads = ["Method", "Runs", "Median", "Quartiles", "IQM", "95 % interval", "Return", "Best evaluation"]
    heads += [f"Env steps to {100 * level:.0f} %" for level in LEVELS]
    bodies = {}
    for env, rows in found.environments.items():
        groups = _by(environments[env], lambda run: run.curve.preset)
        bodies[env] = [_score_row(row, groups[row.method], found.score, found.metrics[env]) for row in rows]
    scored = _table("Scores", heads, bodies, numbers=9)
    told = element("p", f"{found.caption} {SCORES}", class_="told")
    return join([scored, _together(found), told, warnings(found.notes), _standings(environments)])


SCORES = (
    "With few runs such an interval is too narrow. That of a single run is Wilson's, over its battles, and says "
    "nothing of other seeds. Best evaluation: of each run, mean over runs; a best of many is better than the policy "
    "is. Env steps to a win rate: until the first evaluation that reached it, median over runs; in brackets how many "
    "did. Runs that ended early do not count. The same numbers, with all runs: seca compare."
)


def _standings(environments: Mapping[str, Sequence[Run]]) -> Html:
    """Where runs stand beside finished ones of their method, of those that seca comes with."""
    rows = []
    for runs in environments.values():
        for run in runs:
            at, mean = float(run.curve.steps[-1]), float(run.curve.values["return_mean"][-1])
            version = run.curve.env.partition(" version ")[2].split(" ")[0]
            found = bands.standing(run.config, version, int(at), mean)
            if found is not None:
                rows.append([pathlib.Path(run.curve.run).name, found.where, found.words])
    if not rows:
        return Html("")
    told = "Returns of the last evaluation. Reference runs are few: a run below them may be chance, or a mistake."
    words = element("p", told, class_="told")
    return join([_table("Beside reference runs", ("Run", "Stands", "How"), {"": rows}), words])


def _score_row(row: compare.Row, group: Sequence[Run], kind: Score, metric: str) -> list[str]:
    """Cells of a method on an environment."""
    runs = _counted_runs(group)
    shown = _percent if metric == "win_rate" else "{:.2f}".format
    quartiles = row.quartiles
    cells = [row.method, _of(runs, group), shown(quartiles.median)]
    between = _between(quartiles.low, quartiles.high, shown) if row.runs > 1 else NOTHING
    cells += [between, shown(row.iqm.value)]
    if row.runs > 1:
        cells.append(_between(row.iqm.low, row.iqm.high, shown))
    elif metric == "win_rate":
        episodes = int(runs[0].scored.scores[kind]["episodes"])
        cells.append(_between(*stats.wilson(round(row.scores[0] * episodes), episodes), shown))
    else:
        cells.append(NOTHING)
    returns = np.array([run.scored.scores[kind]["return_mean"] for run in runs])
    best = shown(float(np.mean([run.curve.values[metric].max() for run in runs])))
    reached = [_reached(runs, level) if metric == "win_rate" else NOTHING for level in LEVELS]
    return [*cells, f"{statistics.iqm([returns]):.2f}", best, *reached]


def _together(found: Comparison) -> Html:
    """Methods over all environments, and the first beside each other one."""
    tables = []
    if len(found.environments) > 1 and any(found.together.values()):
        heads = ["Method", *(text for name in compare.STATISTICS for text in (name, "95 % interval"))]
        rows = [
            [
                method,
                *(
                    text
                    for x in row.values()
                    for text in (
                        _percent(x.value),
                        "one run" if method in found.single else _between(x.low, x.high, _percent),
                    )
                ),
            ]
            for method, row in found.together.items()
        ]
        caption = f"Over all {len(found.environments)} environments"
        tables.append(_table(caption, heads, {"": rows}, numbers=len(heads) - 1))
    if found.improvement:
        rows = [
            [other, _percent(x.value), "one run each" if found.alone(other) else _between(x.low, x.high, _percent)]
            for other, x in found.improvement.items()
        ]
        caption = f"Probability that a run of {found.first} is better than one of"
        tables.append(_table(caption, ["Method", "Probability", "95 % interval"], {"": rows}, numbers=2))
    return join(tables)


def _between(low: float, high: float, shown: Callable[[float], str]) -> str:
    """An interval whose unit stands once."""
    return f"{shown(low).removesuffix(' %')} to {shown(high)}"


def _reached(runs: Sequence[Run], level: float) -> str:
    """When the median run first had this win rate: a run that never had it had it later than all that did."""
    first = [
        float(run.curve.steps[np.argmax(reached)]) if reached.any() else math.inf
        for run in runs
        for reached in [run.curve.values["win_rate"] >= level]
    ]
    did = sum(map(math.isfinite, first))
    middle = float(np.median(first))
    told = f"{middle:,.0f}" if math.isfinite(middle) else "not reached"
    return told if did in (0, len(first)) else f"{told} ({did} of {len(first)})"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _settings(runs: Sequence[Run]) -> Html:
    """Settings in which methods, or runs of one method, differ; and all settings of each."""
    methods = {
        label: [_flat(run.config) for run in members]
        for label, members in _by(runs, lambda run: run.curve.preset).items()
    }
    everyone = [flat for members in methods.values() for flat in members]
    fields = dict.fromkeys(name for flat in everyone for name in flat)
    rows = {name: [name, *(_values(name, members) for members in methods.values())] for name in fields}
    different = [
        row
        for name, row in rows.items()
        if name not in SAID_ELSEWHERE and len({flat[name] for flat in everyone if name in flat}) > 1
    ]
    table = join(
        [_table("Settings that differ", ["Setting", *methods], {"": different}), element("p", SETTINGS, class_="told")]
    )
    folded = [
        element(
            "details",
            element("summary", f"All settings of {label}"),
            _table(f"Settings of {label}", ["Setting", "Value"], {"": _all_settings(members)}),
        )
        for label, members in methods.items()
    ]
    return join([table if different else element("p", "No setting that methods share differs."), *folded])


SAID_ELSEWHERE = ("format", "preset", "env", "seed", *WATCHING)

SETTINGS = (
    "Several values in one cell: runs of one method differ. A dash: the method has no such setting. What only methods "
    "have that agree in it stands in the lists below."
)


def _all_settings(members: Sequence[Mapping[str, str]]) -> list[list[str]]:
    fields = dict.fromkeys(name for flat in members for name in flat)
    return [[name, _values(name, members)] for name in fields]


def _flat(config: RunConfig) -> dict[str, str]:
    """Every setting as text: those that decide numbers, then how long and where it ran."""
    written = to_dict(config)
    free = {name: written[name] for name in WATCHING}
    flat = decisive(written) | {"loop.steps": config.loop.steps} | free
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in flat.items()}


def _values(name: str, members: Sequence[Mapping[str, str]]) -> str:
    return "; ".join(dict.fromkeys(flat.get(name, NOTHING) for flat in members))


def _cost(environments: Mapping[str, Sequence[Run]]) -> Html:
    """What the runs took, and on what."""
    heads = [
        "Method", "Runs", "Wall clock", "Env steps", "Env steps/s, whole", "Env steps/s, training", "Gradient steps",
        "per 1,000 env steps",
    ]  # fmt: skip
    bodies = {
        env: [_cost_row(label, group) for label, group in _by(runs, lambda run: run.curve.preset).items()]
        for env, runs in environments.items()
    }
    everyone = [run for runs in environments.values() for run in runs]
    total = _total(run.seconds for run in everyone)
    told = (
        "All runs of a method together, those that ended early too. "
        "Env steps/s: of the whole run with compiling and evaluating, and of the median iteration of training. "
        f"All runs: {NOTHING if total is None else _clock(total)} one after another."
    )
    table = _table("What the runs took", heads, bodies, numbers=7)
    return join([table, element("p", told, class_="told"), _machines(everyone)])


def _cost_row(label: str, runs: Sequence[Run]) -> list[str]:
    """Cells of a method on an environment."""
    seconds, gradient_steps = _total(run.seconds for run in runs), _total(run.gradient_steps for run in runs)
    steps = sum(run.env_steps for run in runs)
    rates = [run.rate for run in runs if run.rate is not None]
    return [
        label,
        str(len(runs)),
        NOTHING if seconds is None else _clock(seconds),
        f"{steps:,.0f}",
        NOTHING if not seconds else f"{steps / seconds:,.0f}",
        f"{np.median(rates):,.0f}" if rates else NOTHING,
        NOTHING if gradient_steps is None else f"{gradient_steps:,.0f}",
        NOTHING if gradient_steps is None or not steps else f"{1000 * gradient_steps / steps:.2f}",
    ]


def _total(values: Iterable[float | None]) -> float | None:
    """The sum, where all are known."""
    known = list(values)
    return None if None in known else math.fsum(value for value in known if value is not None)


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes else f"{seconds:.0f} s"


MACHINE = ("processor", "cores", "devices", "seca", "commit", "python", "jax")


def _machines(runs: Sequence[Run]) -> Html:
    """On what the runs ran: one row for each kind of session."""
    rows: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        for session in run.sessions:
            packages = session.get("packages")
            known = session | {"jax": packages.get("jax") if isinstance(packages, dict) else None}
            rows.setdefault(tuple(_machine_text(name, known.get(name)) for name in MACHINE), []).append(run)
    heads = ["Processor", *(name.capitalize() for name in MACHINE[1:]), "Runs"]
    counted = [[*row, str(len({id(run) for run in members}))] for row, members in rows.items()]
    return _table("Machines and versions of the sessions", heads, {"": counted}) if counted else Html()


def _machine_text(name: str, value: object) -> str:
    if isinstance(value, list):
        kinds = dict.fromkeys(map(str, value))
        return ", ".join(f"{value.count(kind)} {kind}" for kind in kinds)
    text = NOTHING if value is None else str(value)
    return text[:10] if name == "commit" else text


def _commands(runs: Sequence[Run], home: pathlib.Path) -> Html:
    """Every run with its recordings and the command that repeats it."""
    entries = []
    for run in runs:
        curve = run.curve
        again = ["seca", "train", "--config", str(RunFolder(pathlib.Path(curve.run)).config), "--out", "NEW"]
        steps = f"{run.env_steps:,.0f}" + ("" if run.env_steps >= curve.budget else f" of {curve.budget:,}")
        told = f": {curve.preset} on {_name(curve.env)}, seed {curve.seed}, {steps} env steps"
        links = [element("a", path.name, href=_link(path, home)) for path in run.recordings]
        between = [part for link in links for part in (", ", link)][1:]
        name = pathlib.Path(curve.run).name
        copy = element(
            "button", "Copy", type="button", class_="copy", hidden=True, aria_label=f"Copy command of {name}"
        )
        entries.append(
            element(
                "li",
                element("p", element("strong", name), told),
                *([element("p", "Recordings: ", *between)] if links else []),
                element("div", element("pre", element("code", shlex.join(again))), copy, class_="command"),
            )
        )
    hint = element("p", "Each command trains a run again, into a new folder in place of ", element("code", "NEW"), ".")
    return join([hint, element("ul", *entries, class_="runs", role="list")])


def _link(path: pathlib.Path, home: pathlib.Path) -> str:
    """Relative, so that page and runs can be moved together."""
    return urllib.parse.quote(pathlib.Path(os.path.relpath(path, home)).as_posix())
