// The walk down a function: its pictures, its controls, and the arithmetic of every step.

// element("button", {class: "x", onclick: f}, "text", child, ...)
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const subscript = (k) => String(k).replace(/\d/g, (d) => "₀₁₂₃₄₅₆₇₈₉"[d]);
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4]];
const RATES = [1e-5, 20]; // the ends of the slider, on a logarithmic scale

class Walk {
  // `data` is what schuss.pages writes: objective, region, start, method, rate, momentum and,
  // for a run of Python's, `recorded`.
  constructor(root, data, texts, language = "en") {
    Object.assign(this, {root, data, texts});
    this.objective = OBJECTIVES[data.objective.kind](data.objective);
    this.n = this.objective.names.length;
    this.start = [...data.start];
    this.methods = [data.method in METHODS ? data.method : "gd"];
    this.rate = data.rate ?? 1 / (curvature(this.objective, this.start) || 1);
    this.momentum = data.momentum ?? 0.9;
    this.live = !data.recorded;
    this.axes = data.axes ?? [0, Math.min(1, this.n - 1)];
    this.k = 0;
    this.setLanguage(language);
    new ResizeObserver(() => this.draw()).observe(this.views);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  setLanguage(language) {
    this.stop();
    this.t = this.texts[language];
    this.language = language;
    this.build();
    this.compute();
  }

  // ------------------------------------------------------------------ runs

  compute() {
    const {rate, momentum, start, objective} = this;
    this.runs = this.methods.map((method) =>
      !this.live && method === this.data.method
        ? this.data.recorded
        : descend(objective, {method, start, rate, momentum, maxIter: this.data.maxIter}));
    this.curvature = objective.bound ?? curvature(objective, start);
    this.k = Math.min(this.k, this.longest);
    this.seek.max = this.longest;
    this.table = null;
    this.grid = null;
    this.write();
    this.draw();
  }

  get longest() {
    return Math.max(...this.runs.map((run) => run.points.length - 1));
  }

  change(settings) {
    Object.assign(this, settings);
    this.live = true;
    this.rateBox.value = Number(this.rate.toPrecision(6));
    this.rateSlider.value = Math.log10(this.rate);
    this.compute();
  }

  go(k) {
    this.k = Math.max(0, Math.min(k, this.longest));
    this.write();
    this.draw();
  }

  play() {
    if (this.timer) { this.stop(); return; }
    if (this.k >= this.longest) this.k = 0;
    this.playButton.textContent = this.t.pause;
    const length = Math.max(1, Math.round(this.longest / 150));
    this.timer = setInterval(() => {
      this.go(this.k + length);
      if (this.k >= this.longest) this.stop();
    }, Math.max(40, Math.min(500, 6000 / (this.longest || 1))));
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    if (this.playButton) this.playButton.textContent = this.t.play;
  }

  // ------------------------------------------------------------------ controls

  build() {
    const {t, n, data} = this;
    const button = (text, onclick, id) => element("button", {type: "button", onclick, "data-do": id}, text);
    this.playButton = button(t.play, () => this.play(), "play");
    this.seek = element("input", {type: "range", min: 0, max: 1, value: 0, "aria-label": t.step,
      oninput: () => { this.stop(); this.go(Number(this.seek.value)); }});
    const move = (id, text, k) => button(text, () => { this.stop(); this.go(k()); }, id);
    const steps = element("div", {class: "row"},
      move("first", t.first, () => 0), move("back", t.back, () => this.k - 1), this.playButton,
      move("forward", t.forward, () => this.k + 1), move("last", t.last, () => this.longest),
      this.seek);

    this.rateSlider = element("input", {type: "range", min: Math.log10(RATES[0]),
      max: Math.log10(RATES[1]), step: 0.01, value: Math.log10(this.rate), "aria-label": t.rate,
      oninput: () => this.change({rate: Number((10 ** this.rateSlider.value).toPrecision(3))})});
    this.rateBox = element("input", {type: "number", min: 0, step: "any", name: "rate",
      value: Number(this.rate.toPrecision(6)), "aria-label": t.rate,
      onchange: () => Number(this.rateBox.value) > 0 && this.change({rate: Number(this.rateBox.value)})});
    const inverse = (factor) => () =>
      this.change({rate: Number((factor / (this.curvature || 1)).toPrecision(4)), k: 0});
    const rates = element("div", {class: "row"}, element("span", {}, t.rate), this.rateSlider,
      this.rateBox, ...data.objective.hidden ? [] : [button(t.small, inverse(0.02), "small"),
        button(t.large, inverse(2.2), "large"), button(t.clever, inverse(1), "clever")]);
    const momentum = element("input", {type: "range", min: 0, max: 0.99, step: 0.01,
      value: this.momentum, name: "momentum",
      oninput: () => this.change({momentum: Number(momentum.value)})});
    this.momentumRow = element("label", {}, t.momentum, momentum);

    this.boxes = this.objective.names.slice(0, n > 4 ? 0 : n).map((name, j) =>
      element("input", {type: "number", step: "any", value: this.start[j], name: `start-${name}`,
        "aria-label": `${t.start} ${name}`,
        onchange: (event) => this.move(this.start.map((v, i) => i === j ? event.target.valueAsNumber : v))}));
    const begin = element("div", {class: "row"},
      this.boxes.length ? element("span", {}, t.start) : null,
      ...this.boxes.map((box, j) => element("label", {}, this.objective.names[j], box)),
      this.momentumRow,
      data.random ? button(t.another, () => this.move(this.start.map(() =>
        (2 * Math.random() - 1) * data.random)), "another") : null,
      data.recorded ? button(t.recorded, () => this.restore(), "recorded") : null);

    const names = Object.keys(METHODS).filter((name) => name !== "newton" || n <= 2 && data.objective.kind !== "network");
    const methods = element("fieldset", {}, element("legend", {}, t.method), ...names.map((name) =>
      element("label", {class: "method"}, element("input", {type: "checkbox", name: "method", value: name,
        checked: this.methods.includes(name), onchange: (event) => this.choose(name, event.target)}),
      element("span", {class: "key", style: `border-bottom: 3px solid var(--run${Object.keys(METHODS).indexOf(name)})`}),
      t.methods[name], " ")));
    methods.classList.add("row");
    const choice = n > 2 ? this.axisChoice() : null;
    const loss = data.objective.kind === "network" ? this.lossChoice() : null;

    this.views = element("div", {class: "views"});
    const view = (caption, events = {}) => {
      const canvas = element("canvas", {tabindex: 0, role: "img", "aria-label": caption, ...events});
      this.views.append(element("figure", {}, canvas, element("figcaption", {}, caption)));
      return canvas;
    };
    const pointer = {
      onpointerdown: (event) => { event.target.setPointerCapture(event.pointerId); this.drag(event); },
      onpointermove: (event) => event.buttons && this.drag(event),
      onkeydown: (event) => this.key(event),
    };
    this.main = new Plot(view(n === 1 ? t.curve : t.contours, pointer));
    this.mountain = n > 1 ? new Mountain(view(t.mountain, {class: "wide",
      onpointermove: (event) => event.buttons && this.turn(event.movementX, event.movementY),
      onkeydown: (event) => this.key(event),
      onpointerdown: (event) => event.target.setPointerCapture(event.pointerId)})) : null;
    this.boundary = this.objective.predict
      ? new Plot(view(data.objective.hidden ? t.boundary_network : t.boundary)) : null;
    this.values = n === 1 ? null : new Plot(view(t.values));

    this.state = element("p", {class: "state", "aria-live": "polite"});
    this.reason = element("p", {class: "reason"});
    this.arithmetic = element("ul", {class: "steps", tabindex: 0, "aria-label": t.step});
    this.summary = element("div", {class: "scroll compared", tabindex: 0, role: "region", "aria-label": t.method});
    this.all = element("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": t.table});
    const details = element("details", {ontoggle: () => this.list()},
      element("summary", {}, t.table), this.all);
    this.details = details;
    this.root.replaceChildren(element("div", {class: "walk", lang: this.language},
      ...[this.views, steps, rates, begin, methods, loss, choice, this.state, this.reason, this.arithmetic,
        this.summary, details, this.objective.approximate
          ? element("p", {class: "quiet"}, t.interpolated) : null].filter(Boolean)));
  }

  axisChoice() {
    const {names} = this.objective;
    const select = (place) => element("select", {"aria-label": `${this.t.axes} ${place + 1}`,
      onchange: (event) => { this.axes[place] = Number(event.target.value); this.grid = null; this.draw(); }},
    ...names.map((name, j) => element("option", {value: j, selected: this.axes[place] === j}, name)));
    return element("div", {class: "row"}, element("span", {}, this.t.axes), select(0), select(1));
  }

  lossChoice() {
    return element("div", {class: "row"}, element("label", {}, this.t.loss, element("select", {
      name: "loss", onchange: (event) => {
        this.data.objective.loss = event.target.value;
        this.objective = OBJECTIVES.network(this.data.objective);
        this.compute();
      },
    }, ...Object.keys(LOSSES).map((name) =>
      element("option", {selected: name === this.objective.loss}, name)))));
  }

  choose(name, box) {
    const order = Object.keys(METHODS);
    const chosen = this.methods.filter((method) => method !== name).concat(box.checked ? name : []);
    if (!chosen.length) { box.checked = true; return; }
    this.methods = chosen.sort((a, b) => order.indexOf(a) - order.indexOf(b));
    this.compute();
  }

  restore() {
    this.methods = [this.data.method];
    this.start = [...this.data.start];
    this.rate = this.data.rate ?? this.rate;
    this.setLanguage(this.language);
    this.live = false;
    this.go(0);
    this.compute();
  }

  move(start) {
    if (!start.every(Number.isFinite)) return;
    this.change({start, k: 0});
    this.boxes.forEach((box, j) => { box.value = Number(this.start[j].toPrecision(6)); });
  }

  drag(event) {
    const place = this.main.at(event.offsetX, event.offsetY), start = [...this.start];
    const region = this.region();
    (this.n === 1 ? [0] : this.axes).forEach((axis, j) => {
      start[axis] = Number(Math.min(Math.max(place[j], region[j][0]), region[j][1]).toPrecision(4));
    });
    event.preventDefault();
    this.move(start);
  }

  turn(dx, dy) {
    this.mountain.angle += dx / 120;
    this.mountain.tilt = Math.min(1.4, Math.max(0.05, this.mountain.tilt + dy / 150));
    this.draw();
  }

  key(event) {
    const moves = {ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity};
    if (event.key === " ") this.play();
    else if (event.key in moves) { this.stop(); this.go(this.k + moves[event.key]); }
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      this.change({rate: Number((this.rate * (event.key === "ArrowUp" ? 1.1 : 1 / 1.1)).toPrecision(3))});
    } else return;
    event.preventDefault();
  }

  // ------------------------------------------------------------------ words and numbers

  write() {
    const {t, k, objective} = this, {names} = objective, run = this.runs[0];
    const last = run.points.length - 1, at = Math.min(k, last), x = run.points[at];
    const point = names.length <= 4 ? names.map((name, j) => `${name} = ${format(x[j])}`).join(", ") : "";
    const f = this.boundary ? "C" : names.length === 1 ? `f(${names[0]})` : "f";
    this.seek.value = k;
    this.state.textContent = `${fill(t.at, {k: at, n: last})}: ${point}${point && ", "}${f} = ${format(run.values[at])}`;
    this.reason.textContent = this.why(run, this.methods[0]);
    this.reason.classList.toggle("warn", ["diverged", "outside"].includes(run.reason));
    this.momentumRow.hidden = !this.methods.includes("momentum");
    this.arithmetic.replaceChildren(...this.sums(run, at).map((line) => element("li", {}, line)));
    this.summary.replaceChildren(this.methods.length > 1 ? this.comparison() : "");
    this.list();
  }

  why(run, method) {
    const {t, rate, curvature: size} = this, plain = method === "gd" || method === "momentum";
    let text = fill(t[run.reason] ?? run.reason, {n: run.points.length - 1});
    if (!this.live && run.message) return run.message;
    if (run.reason === "diverged") {
      const values = {rate: format(rate), limit: format(2 / size), curvature: format(size)};
      text += " " + (rate > 2 / size && method === "gd" ? fill(t.why_large, values) : t.why_unbounded);
    } else if (plain && rate < 0.05 / size && !this.boundary) {
      text += " " + fill(t.why_small, {rate: format(rate), best: format(1 / size)});
    }
    return text;
  }

  // The step to iterate k, written out.
  sums(run, k) {
    const {names, derivative} = this.objective, method = this.methods[0];
    if (k === 0) return names.length > 4 ? [] : names.map((name, j) => `${name}${subscript(0)} = ${format(run.points[0][j])}`);
    const [from, to, gradient] = [run.points[k - 1], run.points[k], run.gradients[k - 1]];
    return names.map((name, j) => {
      const next = `${name}${subscript(k)}`, before = `${name}${subscript(k - 1)}`;
      if (method !== "gd" || !this.usesRate(run)) {
        return `${next} = ${before} + (${format(to[j] - from[j])}) = ${format(to[j])}`;
      }
      const g = derivative ? derivative(format(from[j])) : format(gradient[j]);
      const symbol = names.length === 1 ? `f′(${before})` : `∂f/∂${name}`;
      return `${next} = ${before} − η · ${symbol} = ${format(from[j])} − ${format(this.rate)} · (${g}) = ${format(to[j])}`;
    });
  }

  // Whether the steps are those of the learning rate shown; recorded ones may have a schedule.
  usesRate(run) {
    if (this.live) return true;
    const [a, b] = run.points, g = run.gradients[0];
    return Boolean(b) && a.every((v, j) => Math.abs(v - this.rate * g[j] - b[j]) <= 1e-6 * (1 + Math.abs(b[j])));
  }

  comparison() {
    const {t} = this;
    const rows = this.runs.map((run, i) => {
      const at = Math.min(this.k, run.points.length - 1);
      return [t.methods[this.methods[i]], run.points.length - 1, format(run.values[at]), fill(t[run.reason] ?? "", {n: run.points.length - 1})];
    });
    return rowsTable([t.method, t.steps, t.value, ""], rows);
  }

  list() {
    if (!this.details.open || this.table) return;
    const {t, objective: {names}} = this, run = this.runs[0];
    const shown = run.points.map((x, k) => [k, ...x.map((v) => format(v)), format(run.values[k])]);
    this.table = rowsTable([t.iteration, ...names, t.value], shown.length > 1001
      ? [...shown.slice(0, 1000), shown.at(-1)] : shown);
    this.all.replaceChildren(this.table);
  }

  // ------------------------------------------------------------------ pictures

  // Limits of the two axes.
  region() {
    const {data, start} = this;
    // Formulas can be computed wherever the walk leads.
    const anywhere = data.objective.kind === "expression" && this.runs;
    const seen = anywhere ? this.runs.flatMap((run) => run.points.slice(0, this.k + 1)) : [];
    const wide = (j) => {
      const [low, high] = data.region[j] ?? data.region[0];
      const places = [start[j], ...seen.map((x) => x[j])].filter((v) => Math.abs(v) < 1e6);
      const room = places.some((v) => v < low || v > high) ? 0.05 * (high - low) : 0;
      return [Math.min(low, ...places) - room, Math.max(high, ...places) + room];
    };
    if (this.n > 1) return this.axes.map(wide);
    const across = wide(0), values = linspace(across, 201)
      .map((x) => this.objective.evaluate([x], 0).value).filter(Number.isFinite);
    const low = Math.min(...values), high = Math.max(...values), room = 0.06 * (high - low || 1);
    return [across, [low - room, high + room]];
  }

  style(i) {
    const place = Object.keys(METHODS).indexOf(this.methods[i]);
    return {colour: this.main.colour(`run${place}`), dash: DASHES[place], kind: place};
  }

  draw() {
    if (!this.runs || !this.main.canvas.clientWidth) return;
    if (this.n === 1) this.drawCurve(); else this.drawSurface();
    if (this.values) this.drawValues();
    if (this.boundary) {
      const run = this.runs[0], theta = run.points[Math.min(this.k, run.points.length - 1)];
      drawBoundary(this.boundary, this.objective, theta, this.data.plane);
    }
  }

  drawCurve() {
    const {main, objective, k} = this, region = this.region(), name = objective.names[0];
    main.begin(region);
    main.clip();
    main.line(linspace(region[0], 401).map((x) => [x, objective.evaluate([x], 0).value]), main.colour("quiet"), 2);
    this.runs.forEach((run, i) => {
      const {colour, dash, kind} = this.style(i), shown = run.points.slice(0, k + 1);
      const places = shown.map(([x], at) => [x, run.values[at]]), [x, value] = places.at(-1);
      if (i === 0) {
        // The tangent at the current iterate.
        const rise = run.gradients[shown.length - 1][0], half = 0.16 * (region[0][1] - region[0][0]);
        main.line([[x - half, value - half * rise], [x + half, value + half * rise]], main.colour("accent"), 2);
      }
      main.line(places, colour, 1.2, dash);
      for (const place of places.slice(-300)) main.marker(place, colour, kind, 3.2);
      main.marker(places.at(-1), colour, kind, 6);
    });
    main.marker([this.start[0], objective.evaluate(this.start, 0).value], main.colour("ink"), 0, 6, true);
    main.context.restore();
    main.axes([name, `f(${name})`]);
  }

  drawSurface() {
    const {main, objective, k} = this, region = this.region(), [a, b] = this.axes;
    const run = this.runs[0], now = Math.min(k, run.points.length - 1), at = run.points[now];
    const f = (x, y) => {
      const point = [...at];
      point[a] = x;
      point[b] = y;
      return objective.evaluate(point, 0).value;
    };
    // With more than two parameters, the surface changes with the others.
    const place = String(region);
    if (!this.grid || this.n > 2 || this.gridPlace !== place) {
      this.gridPlace = place;
      this.grid = sampled(f, region, this.n > 2 ? 41 : 101);
      this.coarse = sampled(f, region, 41);
    }
    main.begin(region);
    drawContours(main, this.grid);
    main.clip();
    this.arrow(run, now);
    this.runs.forEach((each, i) => {
      const {colour, dash, kind} = this.style(i), shown = each.points.slice(0, k + 1);
      const places = shown.map((x) => [x[a], x[b]]);
      main.line(places, colour, 1.8, dash);
      for (const place of places.slice(-300)) main.marker(place, colour, kind, 2.6);
      main.marker(places.at(-1), colour, kind, 6);
    });
    main.marker([this.start[a], this.start[b]], main.colour("ink"), 0, 6, true);
    main.context.restore();
    const names = [objective.names[a], objective.names[b]];
    main.axes(names);
    const tangent = {x: [at[a], at[b]], value: run.values[now],
      gradient: [run.gradients[now][a], run.gradients[now][b]]};
    this.mountain.draw(this.coarse, region, this.runs.map((each, i) => ({...this.style(i),
      points: each.points.slice(0, k + 1).map((x, j) =>
        [x[a], x[b], this.n > 2 ? f(x[a], x[b]) : each.values[j]])})), tangent, names);
  }

  // The direction of steepest descent on the map; the tangent plane is in the mountain.
  arrow(run, at) {
    const {main} = this, [a, b] = this.axes, x = run.points[at], g = run.gradients[at];
    const [px, py] = [main.x(x[a]), main.y(x[b])];
    const fall = [main.x(x[a] - g[a]) - px, main.y(x[b] - g[b]) - py], length = norm(fall);
    const over = run.reason === "converged" && at === run.points.length - 1;
    if (over || !(length > 0 && length < Infinity)) return;
    const [dx, dy] = times(34 / length, fall), c = main.context;
    c.strokeStyle = c.fillStyle = main.colour("accent");
    c.lineWidth = 2;
    c.beginPath();
    c.moveTo(px, py);
    c.lineTo(px + dx, py + dy);
    c.stroke();
    c.beginPath();
    c.moveTo(px + 1.25 * dx, py + 1.25 * dy);
    c.lineTo(px + dx - 0.15 * dy, py + dy + 0.15 * dx);
    c.lineTo(px + dx + 0.15 * dy, py + dy - 0.15 * dx);
    c.fill();
  }

  drawValues() {
    const {values, runs, k} = this, all = runs.flatMap((run) => run.values);
    const positive = all.every((v) => v > 0), height = (v) => (positive ? Math.log10(v) : v);
    const low = Math.min(...all.map(height)), high = Math.max(...all.map(height));
    const room = 0.05 * (high - low || 1);
    values.begin([[0, Math.max(1, this.longest)], [low - room, high + room]]);
    runs.forEach((run, i) => {
      const {colour, dash, kind} = this.style(i), places = run.values.map((v, j) => [j, height(v)]);
      values.line(places, colour, 1.8, dash);
      values.marker(places[Math.min(k, places.length - 1)], colour, kind, 5);
    });
    values.axes([this.t.iteration, positive ? `log₁₀ ${this.boundary ? "C" : "f"}` : "f"]);
  }
}

function rowsTable(heads, rows) {
  const line = (tag, cells) => element("tr", {}, ...cells.map((cell) => element(tag, {}, String(cell))));
  return element("table", {}, element("thead", {}, line("th", heads)),
    element("tbody", {}, ...rows.map((row) => line("td", row))));
}
