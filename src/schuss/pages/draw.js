// Drawing on canvases: a curve, contours, a mountain, a decision boundary; and numbers as text.

function format(value, digits = 6) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value < 0 ? "−∞" : "∞";
  const size = Math.abs(value);
  let text = size !== 0 && (size >= 1e7 || size < 1e-4)
    ? value.toExponential(Math.min(digits - 1, 3)).replace(/\.?0+e/, "e").replace("e+", "e")
    : String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", "−");
}
const superscript = (n) => String(n).replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);

// A canvas in the pixels of the screen, with a map from the region to places on it.
class Plot {
  constructor(canvas, margins = {left: 52, right: 20, top: 12, bottom: 30}) {
    this.canvas = canvas;
    this.margins = margins;
  }

  begin(region) {
    const ratio = window.devicePixelRatio || 1, canvas = this.canvas;
    this.width = canvas.clientWidth;
    this.height = canvas.clientHeight;
    canvas.width = Math.round(this.width * ratio);
    canvas.height = Math.round(this.height * ratio);
    this.region = region;
    const c = (this.context = canvas.getContext("2d"));
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, this.width, this.height);
    const style = getComputedStyle(canvas);
    this.colour = (name) => style.getPropertyValue(`--${name}`).trim();
    c.font = `12px ${style.fontFamily}`;
    c.lineJoin = "round";
    return c;
  }

  x(value) {
    const [low, high] = this.region[0], {left, right} = this.margins;
    return left + ((value - low) / (high - low)) * (this.width - left - right);
  }
  y(value) {
    const [low, high] = this.region[1], {top, bottom} = this.margins;
    return this.height - bottom - ((value - low) / (high - low)) * (this.height - top - bottom);
  }
  // The inverse of x and y, for pointers.
  at(px, py) {
    const {left, right, top, bottom} = this.margins, [[a, b], [c, d]] = this.region;
    return [a + ((px - left) / (this.width - left - right)) * (b - a),
      c + ((this.height - bottom - py) / (this.height - top - bottom)) * (d - c)];
  }

  clip() {
    const {left, right, top, bottom} = this.margins, c = this.context;
    c.save();
    c.beginPath();
    c.rect(left, top, this.width - left - right, this.height - top - bottom);
    c.clip();
  }

  axes(labels) {
    const c = this.context, {left, right, top, bottom} = this.margins;
    c.strokeStyle = this.colour("line");
    c.fillStyle = this.colour("quiet");
    c.lineWidth = 1;
    c.strokeRect(left, top, this.width - left - right, this.height - top - bottom);
    c.textAlign = "center";
    c.textBaseline = "top";
    const wide = this.width - left - right;
    for (const v of ticks(...this.region[0], Math.max(2, Math.floor(wide / 70)))) {
      c.fillText(format(v, 4), this.x(v), this.height - bottom + 5);
    }
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const v of ticks(...this.region[1], 5)) c.fillText(format(v, 4), left - 5, this.y(v));
    c.fillStyle = this.colour("ink");
    c.textAlign = "right";
    c.textBaseline = "bottom";
    c.fillText(labels[0], this.width - right - 4, this.height - bottom - 3);
    c.textAlign = "left";
    c.textBaseline = "top";
    c.fillText(labels[1], left + 5, top + 4);
  }

  line(points, colour, width = 1.5, dash = []) {
    const c = this.context;
    c.beginPath();
    let pen = false;
    for (const [x, y] of points) {
      const px = this.x(x), py = this.y(y);
      // Far outside, canvases draw nothing at all.
      if (!Number.isFinite(px + py) || Math.abs(px) + Math.abs(py) > 1e6) { pen = false; continue; }
      if (pen) c.lineTo(px, py); else c.moveTo(px, py);
      pen = true;
    }
    c.strokeStyle = colour;
    c.lineWidth = width;
    c.setLineDash(dash);
    c.stroke();
    c.setLineDash([]);
  }

  marker([x, y], colour, kind = 0, size = 4, open = false) {
    const c = this.context;
    c.beginPath();
    shape(c, this.x(x), this.y(y), kind, size);
    c.fillStyle = open ? this.colour("page") : colour;
    c.strokeStyle = open ? colour : this.colour("page");
    c.lineWidth = open ? 2 : 1;
    c.fill();
    c.stroke();
  }
}

// A circle, a square, a triangle, or a diamond.
function shape(c, x, y, kind, size) {
  const corners = [null, [4, Math.PI / 4, 1.25], [3, -Math.PI / 2, 1.4], [4, 0, 1.3]][kind % 4];
  if (!corners) { c.arc(x, y, size, 0, 2 * Math.PI); return; }
  const [count, turned, factor] = corners;
  for (let k = 0; k < count; k++) {
    const angle = turned + (2 * Math.PI * k) / count;
    c.lineTo(x + factor * size * Math.cos(angle), y + factor * size * Math.sin(angle));
  }
  c.closePath();
}

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((s) => s * power >= raw);
  const result = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) result.push(k * step);
  return result;
}

const linspace = ([low, high], count) =>
  Array.from({length: count}, (_, i) => low + ((high - low) * i) / (count - 1));

// Values of f(x, y) on a grid over the region, with levels of equal shares of the values.
function sampled(f, region, count) {
  const xs = linspace(region[0], count), ys = linspace(region[1], count);
  const values = ys.map((y) => xs.map((x) => f(x, y)));
  const sorted = values.flat().filter(Number.isFinite).sort((a, b) => a - b);
  const quantile = (q) => sorted[Math.round(q * (sorted.length - 1))];
  const levels = sorted.length ? linspace([0.01, 0.97], 14).map(quantile) : [];
  return {xs, ys, values, levels: [...new Set(levels)]};
}

// Colour of a level among all: from the valley to the peaks.
function heightColour(plot, share) {
  const mix = (name) => plot.colour(name).match(/\w\w/g).map((h) => parseInt(h, 16));
  const low = mix("valley"), high = mix("peak");
  return `rgb(${low.map((v, i) => Math.round(v + share * (high[i] - v))).join(",")})`;
}

function drawContours(plot, grid) {
  const {xs, ys, values, levels} = grid, c = plot.context;
  plot.clip();
  const colours = levels.concat(Infinity).map((_, i) => heightColour(plot, i / levels.length));
  for (let i = 0; i + 1 < ys.length; i++) {
    for (let j = 0; j + 1 < xs.length; j++) fillCell(plot, grid, i, j, colours);
  }
  c.strokeStyle = plot.colour("contour");
  c.lineWidth = 0.8;
  c.beginPath();
  for (const level of levels) {
    for (let i = 0; i + 1 < ys.length; i++) {
      for (let j = 0; j + 1 < xs.length; j++) crossing(plot, grid, i, j, level);
    }
  }
  c.stroke();
  c.restore();
}

// The bands of heights within one cell: each level covers what is above it.
function fillCell(plot, {xs, ys, values, levels}, i, j, colours) {
  const c = plot.context;
  // Cells overlap a little, so that no seam shows.
  const seam = [[0, 1], [1, 1], [1, 0], [0, 0]];
  const corners = [[i, j], [i, j + 1], [i + 1, j + 1], [i + 1, j]]
    .map(([a, b], k) => [plot.x(xs[b]) + seam[k][0], plot.y(ys[a]) + seam[k][1], values[a][b]]);
  const heights = corners.map((corner) => corner[2]);
  if (!heights.every(Number.isFinite)) return;
  const lowest = Math.min(...heights), highest = Math.max(...heights);
  const first = levels.filter((level) => level <= lowest).length;
  for (let k = first; k <= levels.length && (k === first || levels[k - 1] < highest); k++) {
    const above = k === first ? corners : cut(corners, levels[k - 1]);
    c.beginPath();
    for (const [x, y] of above) c.lineTo(x, y);
    c.fillStyle = colours[k];
    c.fill();
  }
}

// The part of a polygon of (x, y, height) that is not below a level, or not above it.
function cut(corners, level, sign = 1) {
  const isOut = (height) => sign * height < sign * level;
  return corners.flatMap(([x0, y0, a], k) => {
    const [x1, y1, b] = corners[(k + 1) % corners.length], t = (level - a) / (b - a);
    const kept = isOut(a) ? [] : [[x0, y0, a]];
    if (isOut(a) !== isOut(b)) kept.push([x0 + t * (x1 - x0), y0 + t * (y1 - y0), level]);
    return kept;
  });
}

// The pieces of a contour within one cell (marching squares).
function crossing(plot, {xs, ys, values}, i, j, level) {
  const corners = [[i, j], [i, j + 1], [i + 1, j + 1], [i + 1, j]], found = [];
  for (let k = 0; k < 4; k++) {
    const [i0, j0] = corners[k], [i1, j1] = corners[(k + 1) % 4];
    const a = values[i0][j0], b = values[i1][j1];
    if (!Number.isFinite(a + b) || a < level === b < level) continue;
    const t = (level - a) / (b - a);
    found.push([xs[j0] + t * (xs[j1] - xs[j0]), ys[i0] + t * (ys[i1] - ys[i0])]);
  }
  for (let k = 0; k + 1 < found.length; k += 2) {
    plot.context.moveTo(plot.x(found[k][0]), plot.y(found[k][1]));
    plot.context.lineTo(plot.x(found[k + 1][0]), plot.y(found[k + 1][1]));
  }
}

// The mountain in three dimensions, cut off where a tenth of it is higher.
class Mountain {
  constructor(canvas) {
    this.plot = new Plot(canvas);
    this.angle = 0.7;
    this.tilt = 0.55;
  }

  draw(grid, region, runs, tangent, labels) {
    const plot = this.plot, c = plot.begin(region), {xs, ys, values} = grid;
    const all = values.flat().filter(Number.isFinite).sort((a, b) => a - b);
    if (!all.length) return;
    const low = all[0], high = all[Math.floor(0.9 * (all.length - 1))];
    const top = low + 1.15 * (high - low || 1);
    const height = (v) => Math.min(Math.max((v - low) / (high - low || 1), -0.3), 1.15);
    const scale = Math.min(0.66 * plot.width, 0.72 * plot.height);
    const unit = ([a, b], v) => (v - a) / (b - a) - 0.5;
    const {sin, cos} = Math;
    // Place on the canvas, and depth.
    this.project = (x, y, v) => {
      const p = unit(region[0], x), q = unit(region[1], y), h = height(v) - 0.5;
      const right = p * cos(this.angle) - q * sin(this.angle);
      const back = p * sin(this.angle) + q * cos(this.angle);
      return [plot.width / 2 + scale * right,
        0.53 * plot.height - scale * (0.6 * h * cos(this.tilt) + back * sin(this.tilt)), back];
    };
    const cells = [];
    for (let i = 0; i + 1 < ys.length; i++) {
      for (let j = 0; j + 1 < xs.length; j++) {
        const corners = [[i, j], [i, j + 1], [i + 1, j + 1], [i + 1, j]]
          .map(([a, b]) => [xs[b], ys[a], values[a][b]]);
        if (!corners.every(([, , v]) => Number.isFinite(v))) continue;
        const isCut = corners.some(([, , v]) => v > top);
        for (const part of isCut ? [cut(corners, top, -1), cut(corners, top)] : [corners]) {
          if (part.length < 3) continue;
          const at = part.map((place) => this.project(...place)), mean = (k, of) =>
            of.reduce((sum, place) => sum + place[k], 0) / of.length;
          cells.push([mean(2, at), at, mean(2, part)]);
        }
      }
    }
    cells.sort((a, b) => b[0] - a[0]);
    for (const [, at, value] of cells) {
      c.beginPath();
      at.forEach(([x, y], k) => (k ? c.lineTo(x, y) : c.moveTo(x, y)));
      c.closePath();
      c.fillStyle = heightColour(plot, Math.min(Math.max(height(value), 0), 1));
      c.strokeStyle = plot.colour("contour");
      c.lineWidth = 0.4;
      c.fill();
      c.stroke();
    }
    this.drawTangent(tangent, region);
    for (const {points, colour, dash, kind} of runs) {
      const seen = points.filter(([x, y]) =>
        x >= region[0][0] && x <= region[0][1] && y >= region[1][0] && y <= region[1][1]);
      const places = seen.map(([x, y, v]) => this.project(x, y, v));
      c.beginPath();
      places.forEach(([x, y], k) => (k ? c.lineTo(x, y) : c.moveTo(x, y)));
      c.strokeStyle = colour;
      c.lineWidth = 2;
      c.setLineDash(dash);
      c.stroke();
      c.setLineDash([]);
      if (!places.length) continue;
      const [x, y] = places.at(-1);
      c.beginPath();
      shape(c, x, y, kind, 6);
      c.fillStyle = colour;
      c.strokeStyle = plot.colour("page");
      c.lineWidth = 1.5;
      c.fill();
      c.stroke();
    }
    c.fillStyle = plot.colour("ink");
    c.textAlign = "center";
    const [[a, b], [d, e]] = region;
    for (const [text, x, y] of [[labels[0], (a + b) / 2, d - 0.12 * (e - d)],
      [labels[1], b + 0.12 * (b - a), (d + e) / 2]]) {
      const [px, py] = this.project(x, y, low);
      c.fillText(text, px, py);
    }
  }

  drawTangent({x, value, gradient}, region) {
    const c = this.plot.context, half = region.map(([low, high]) => 0.09 * (high - low));
    c.beginPath();
    for (const [p, q] of [[-1, -1], [1, -1], [1, 1], [-1, 1]]) {
      const at = [x[0] + p * half[0], x[1] + q * half[1]];
      const [px, py] = this.project(...at,
        value + gradient[0] * p * half[0] + gradient[1] * q * half[1]);
      c.lineTo(px, py);
    }
    c.closePath();
    c.globalAlpha = 0.5;
    c.fillStyle = this.plot.colour("accent");
    c.fill();
    c.globalAlpha = 1;
    c.strokeStyle = this.plot.colour("accent");
    c.lineWidth = 1.5;
    c.stroke();
  }
}

// What a neuron or network answers, over the plane of its two features.
function drawBoundary(plot, objective, theta, region) {
  const c = plot.begin(region), count = 48;
  const xs = linspace(region[0], count + 1), ys = linspace(region[1], count + 1);
  const mix = (name) => plot.colour(name).match(/\w\w/g).map((h) => parseInt(h, 16));
  const zero = mix("zero"), one = mix("one"), page = mix("page");
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) {
      const p = objective.predict(theta, [(xs[j] + xs[j + 1]) / 2, (ys[i] + ys[i + 1]) / 2]);
      const strong = Math.abs(2 * p - 1) * 0.55, towards = p > 0.5 ? one : zero;
      c.fillStyle = `rgb(${page.map((v, k) => Math.round(v + strong * (towards[k] - v)))})`;
      const x = plot.x(xs[j]), y = plot.y(ys[i + 1]);
      c.fillRect(x, y, plot.x(xs[j + 1]) - x + 1, plot.y(ys[i]) - y + 1);
    }
  }
  c.strokeStyle = plot.colour("ink");
  c.lineWidth = 2;
  c.beginPath();
  const values = ys.map((y) => xs.map((x) => objective.predict(theta, [x, y])));
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) crossing(plot, {xs, ys, values}, i, j, 0.5);
  }
  c.stroke();
  objective.X.forEach((x, i) =>
    plot.marker(x, plot.colour(objective.y[i] ? "one" : "zero"), objective.y[i] ? 1 : 0, 4.5));
  plot.axes(["x₁", "x₂"]);
}
