"use strict";
// What stands in the page is drawn here: curves from the numbers in #data, values under the cursor, and what buttons do.
// Texts from runs get into the page as textContent only.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const paper = matchMedia("print");
  const PAPER_WIDTH = 640; // CSS pixels that fit between the margins of A4 and of US letter.
  const ENDED_EARLY = [4, 4]; // Dashes of thin lines.
  const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
  const brief = (value) => compact.format(value).replace("K", "k");
  const counted = (steps) => Math.round(steps).toLocaleString("en-US");
  const said = (text) => { document.getElementById("said").textContent = text; };
  let scheme = null; // "light" or "dark" once the button was used; before, what the system says.
  let printing = false;

  // Value of the latest evaluation not after each of `xs`; nothing beyond the last one.
  function stepwise(steps, values, xs) {
    let next = 0;
    return xs.map((x) => {
      while (next < steps.length && steps[next] <= x) next += 1;
      return next === 0 || x > steps[steps.length - 1] ? null : values[next - 1];
    });
  }

  function ascending(parts) {
    return [...new Set(parts.flat())].sort((one, other) => one - other);
  }

  function valueText(metric, value) {
    return metric.percent ? `${(100 * value).toFixed(1)} %` : value.toFixed(2);
  }

  function makeChart(figure, chart) {
    const plot = figure.querySelector(".plot");
    const rows = [...figure.querySelectorAll("tbody tr")];
    const showRuns = figure.querySelector(".individual");
    const whole = figure.querySelector(".whole");
    let metric = chart.metrics[0];
    let drawn = null;
    let zoom = null;

    const shown = (index) => rows[index].querySelector("input").checked;

    // The columns of uPlot: one grid of env steps for all, so that the cursor has a value of everyone at each.
    function columns() {
      const lines = metric.groups.flatMap((group, index) => group.runs
        .filter((run) => run.ended || showRuns.checked).map((run) => ({ ...run, index })));
      const xs = ascending([...metric.groups.map((group) => group.steps), ...lines.map((line) => line.steps)]);
      const series = [{}], values = [xs], bands = [];
      const paths = uPlot.paths.stepped({ align: 1 });
      const add = (column, style) => {
        values.push(column);
        return series.push({ paths, points: { show: false }, ...style }) - 1;
      };
      const drawable = metric.groups.map((group, index) => ({
        group, index, dash: chart.dashes[index], colour: getComputedStyle(rows[index].querySelector(".swatch")).color,
      })).filter(({ index }) => shown(index));
      // In this order: no band may lie over a line, and no single run over a median.
      for (const { group, colour } of drawable) {
        const high = add(stepwise(group.steps, group.high, xs), { width: 0 });
        const low = add(stepwise(group.steps, group.low, xs), { width: 0 });
        bands.push({ series: [high, low], fill: colour.replace("rgb(", "rgba(").replace(")", ", 0.16)") });
      }
      for (const { index, colour } of drawable) {
        for (const line of lines.filter((candidate) => candidate.index === index)) {
          const style = line.ended ? { dash: ENDED_EARLY, width: 1.25 } : { width: 0.8 };
          add(stepwise(line.steps, line.values, xs), { stroke: colour, ...style });
        }
      }
      for (const { group, colour, dash } of drawable) {
        add(stepwise(group.steps, group.median, xs), { stroke: colour, width: 2.25, dash });
      }
      return { values, series, bands };
    }

    function draw() {
      const { values, series, bands } = columns();
      const style = getComputedStyle(plot);
      const [ink, rule] = [style.color, style.borderTopColor];
      const axis = { stroke: ink, font: `12px ${style.fontFamily}`, labelFont: `12px ${style.fontFamily}`,
        grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1 }, labelSize: 18, labelGap: 2 };
      drawn?.destroy();
      drawn = new uPlot({
        ...size(),
        series, bands,
        legend: { show: false },
        padding: [10, 14, 0, 0],
        cursor: { y: false, drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
        scales: {
          x: { time: false, range: (_, least, most) => zoom ?? [least, most] },
          y: metric.percent ? { range: [-0.02, 1.02] } : {},
        },
        axes: [
          { ...axis, size: 32, label: "training env steps", space: 70, values: (_, ticks) => ticks.map(brief) },
          { ...axis, size: 48, label: metric.label,
            values: (_, ticks) => ticks.map((y) => metric.percent ? `${Math.round(100 * y)} %` : brief(y)) },
        ],
        hooks: {
          setCursor: [(u) => read(u.cursor.idx)],
          setSelect: [(u) => {
            const { left, width } = u.select;
            if (width === 0) return;
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            zoomTo([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
          }],
        },
      }, values, plot);
      drawn.over.addEventListener("dblclick", () => zoomTo(null));
      const canvas = plot.querySelector("canvas");
      canvas.setAttribute("role", "img");
      read(null);
      canvas.setAttribute("aria-label", `${metric.label} over training env steps. At the end: ${told()}`);
    }

    function zoomTo(range) {
      zoom = range;
      whole.hidden = range === null;
      const [least, most] = range ?? [drawn.data[0][0], drawn.data[0].at(-1)];
      drawn.setScale("x", { min: least, max: most });
    }

    function size() {
      const width = printing ? PAPER_WIDTH : plot.clientWidth;
      return { width, height: width < 500 ? 270 : 350 };
    }

    // Fill in the values at a point of the grid, or at the end of each curve.
    function read(index) {
      const x = index === null || index === undefined ? null : drawn.data[0][index];
      figure.querySelector(".at").textContent = x === null ? "At the end of each curve" : `At ${counted(x)} env steps`;
      metric.groups.forEach((group, position) => {
        const row = rows[position];
        const at = [x ?? group.steps[group.steps.length - 1]];
        const [low, median, high] = ["low", "median", "high"].map((name) => stepwise(group.steps, group[name], at)[0]);
        row.classList.toggle("off", !shown(position));
        row.querySelector(".median").textContent = median === null ? "–" : valueText(metric, median);
        const alone = group.runs.filter((run) => !run.ended).length === 1; // A single run has no quartiles.
        row.querySelector(".quartiles").textContent =
          median === null || alone ? "–" : `${valueText(metric, low).replace(" %", "")} to ${valueText(metric, high)}`;
      });
    }

    function told() {
      return rows.filter((row, index) => shown(index)).map((row) => {
        const [name, median, quartiles] = [".name", ".median", ".quartiles"].map((part) => row.querySelector(part).textContent);
        return quartiles === "–" ? `${name} ${median}` : `${name} ${median}, quartiles ${quartiles}`;
      }).join("; ");
    }

    // Arrow keys go from evaluation to evaluation, a hundredth of what is shown at least; Escape leaves the curves.
    function press(event) {
      const xs = drawn.data[0];
      const { min, max } = drawn.scales.x;
      const inside = xs.filter((x) => x >= min && x <= max);
      const here = drawn.cursor.idx === null || drawn.cursor.idx === undefined ? null : xs[drawn.cursor.idx];
      const pace = (max - min) / 100;
      const goals = {
        ArrowRight: () => here === null ? inside[0] : inside.find((x) => x >= here + pace) ?? inside.at(-1),
        ArrowLeft: () => here === null ? inside.at(-1) : inside.findLast((x) => x <= here - pace) ?? inside[0],
        Home: () => inside[0],
        End: () => inside.at(-1),
      };
      if (event.key === "Escape") {
        drawn.setCursor({ left: -10, top: -10 });
      } else if (event.key in goals) {
        drawn.setCursor({ left: drawn.valToPos(goals[event.key](), "x"), top: drawn.over.clientHeight / 2 });
        said(`${figure.querySelector(".at").textContent}: ${told()}`);
        event.preventDefault();
      }
    }

    plot.addEventListener("keydown", press);
    plot.addEventListener("blur", () => drawn.setCursor({ left: -10, top: -10 }));
    whole.addEventListener("click", () => { zoomTo(null); plot.focus(); });
    showRuns.addEventListener("change", draw);
    rows.forEach((row) => row.querySelector("input").addEventListener("change", draw));
    figure.querySelectorAll("input[type=radio]").forEach((choice) => choice.addEventListener("change", () => {
      metric = chart.metrics.find((candidate) => candidate.name === choice.value);
      draw();
    }));
    draw();
    new ResizeObserver(() => {
      const wanted = size();
      if (wanted.width > 0 && wanted.width !== drawn.width) drawn.setSize(wanted);
    }).observe(plot);
    return draw;
  }

  const figures = [...document.querySelectorAll("figure")];
  const draws = figures.map((figure, index) => makeChart(figure, data[index]));
  const button = document.getElementById("scheme");

  function recolour() {
    const effective = scheme ?? (darkness.matches ? "dark" : "light");
    root.style.colorScheme = printing ? "light" : effective;
    button.textContent = effective === "dark" ? "Light colours" : "Dark colours";
    draws.forEach((draw) => draw());
  }

  // On paper: light, of its width, and nothing folded away.
  function print(begins) {
    if (begins === printing) return;
    printing = begins;
    for (const details of document.querySelectorAll("details")) {
      if (begins) details.dataset.was = String(details.open);
      details.open = begins || details.dataset.was === "true";
    }
    recolour();
  }

  async function copy(source) {
    const text = source.textContent;
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      getSelection().selectAllChildren(source); // At least it is selected, for the keyboard to copy.
      return document.execCommand("copy");
    }
  }

  button.hidden = false;
  button.addEventListener("click", () => {
    scheme = (scheme ?? (darkness.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
    recolour();
  });
  darkness.addEventListener("change", recolour);
  paper.addEventListener("change", () => print(paper.matches));
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  for (const copier of document.querySelectorAll(".copy")) {
    copier.hidden = false;
    copier.addEventListener("click", async () => {
      const done = await copy(copier.parentElement.querySelector("code"));
      copier.textContent = done ? "Copied" : "Selected";
      said(done ? "Command copied" : "Command selected");
      setTimeout(() => { copier.textContent = "Copy"; }, 2000);
    });
  }
  recolour();
})();
