// Functions to minimise. Each is {names, evaluate(x, order)}, which returns {value, gradient,
// hessian} up to the order that is asked of it; hessian is a list of rows.

// Value, first and second derivative, as in schuss.expressions.
const FUNCTIONS = {
  sin: [Math.sin, Math.cos, (u) => -Math.sin(u)],
  cos: [Math.cos, (u) => -Math.sin(u), (u) => -Math.cos(u)],
  tan: [Math.tan, (u) => 1 + Math.tan(u) ** 2, (u) => 2 * Math.tan(u) * (1 + Math.tan(u) ** 2)],
  atan: [Math.atan, (u) => 1 / (1 + u * u), (u) => (-2 * u) / (1 + u * u) ** 2],
  sinh: [Math.sinh, Math.cosh, Math.sinh],
  cosh: [Math.cosh, Math.sinh, Math.cosh],
  tanh: [Math.tanh, (u) => 1 - Math.tanh(u) ** 2, (u) => -2 * Math.tanh(u) * (1 - Math.tanh(u) ** 2)],
  exp: [Math.exp, Math.exp, Math.exp],
  log: [(u) => (u < 0 ? NaN : Math.log(u)), (u) => 1 / u, (u) => -1 / (u * u)],
  sqrt: [Math.sqrt, (u) => 0.5 / Math.sqrt(u), (u) => -0.25 / u ** 1.5],
  abs: [Math.abs, Math.sign, () => 0],
};

// Value and the partial derivatives a, b, aa, ab, bb.
const OPERATORS = {
  "+": (a, b) => [a + b, 1, 1, 0, 0, 0],
  "-": (a, b) => [a - b, 1, -1, 0, 0, 0],
  "*": (a, b) => [a * b, b, a, 0, 1, 0],
  "/": (a, b) => [a / b, 1 / b, -a / (b * b), 0, -1 / (b * b), (2 * a) / b ** 3],
  "**": (a, b) => {
    const value = a ** b, log = Math.log(a);
    const first = b === 0 ? 0 : b * a ** (b - 1);
    const second = b === 0 || b === 1 ? 0 : b * (b - 1) * a ** (b - 2);
    return [value, first, value * log, second, a ** (b - 1) * (1 + b * log), value * log * log];
  },
};

const outer = (a, b) => a.map((p) => b.map((q) => p * q));
const times = (factor, a) => a.map((row) => (Array.isArray(row) ? times(factor, row) : factor * row));
const plus = (a, b) => a.map((row, i) => (Array.isArray(row) ? plus(row, b[i]) : row + b[i]));
const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const norm = (a) => Math.sqrt(dot(a, a));

// A jet is {value, gradient, hessian}; those of a constant are missing, and count as 0.
function throughFunction([f, first, second], u, order) {
  const jet = {value: f(u.value)};
  if (!u.gradient || order === 0) return jet;
  const derivative = first(u.value);
  jet.gradient = times(derivative, u.gradient);
  if (order > 1) {
    const curved = times(second(u.value), outer(u.gradient, u.gradient));
    jet.hessian = plus(times(derivative, u.hessian), curved);
  }
  return jet;
}

function throughOperator(operator, a, b, order) {
  const [value, da, db, daa, dab, dbb] = operator(a.value, b.value);
  const jet = {value};
  const add = (name, term) => { jet[name] = jet[name] ? plus(jet[name], term) : term; };
  if (order === 0) return jet;
  for (const [part, first, second] of [[a, da, daa], [b, db, dbb]]) {
    if (!part.gradient) continue;
    add("gradient", times(first, part.gradient));
    if (order < 2) continue;
    add("hessian", plus(times(first, part.hessian),
      times(second, outer(part.gradient, part.gradient))));
  }
  if (order > 1 && a.gradient && b.gradient) {
    const mixed = outer(a.gradient, b.gradient);
    add("hessian", times(dab, mixed.map((row, i) => row.map((v, j) => v + mixed[j][i]))));
  }
  return jet;
}

// A closure of (jets of the variables, order) for a tree: a number, the name of a variable, or
// [operator or function, operand, ...].
function compile(tree, names) {
  if (typeof tree === "number") return () => ({value: tree});
  if (typeof tree === "string") {
    const place = names.indexOf(tree);
    return (jets) => jets[place];
  }
  const parts = tree.slice(1).map((part) => compile(part, names));
  const f = FUNCTIONS[tree[0]], operator = OPERATORS[tree[0]];
  if (f) return (jets, order) => throughFunction(f, parts[0](jets, order), order);
  return (jets, order) =>
    throughOperator(operator, parts[0](jets, order), parts[1](jets, order), order);
}

function expressionObjective({tree, names}) {
  const n = names.length, f = compile(tree, names);
  const zeros = names.map(() => names.map(() => 0));
  const unit = names.map((_, i) => names.map((_, j) => Number(i === j)));
  return {
    names,
    derivative: n === 1 ? derivativeText(tree) : null,
    evaluate(x, order = 1) {
      const jets = x.map((value, j) => ({value, gradient: unit[j], hessian: zeros}));
      // The sum with 0 of a variable has derivatives even where the expression has none.
      return throughOperator(OPERATORS["+"], f(jets, order),
        {value: 0, gradient: unit[0].map(() => 0), hessian: zeros}, order);
    },
  };
}

// Coefficients of a polynomial of one variable, from the constant on; null for others.
function coefficients(tree) {
  if (typeof tree === "number") return [tree];
  if (typeof tree === "string") return [0, 1];
  const [operator, left, right] = tree;
  if (!(operator in OPERATORS)) return null;
  const a = coefficients(left), b = coefficients(right);
  if (!a || !b) return null;
  const product = (p, q) => {
    const result = Array(p.length + q.length - 1).fill(0);
    p.forEach((u, i) => q.forEach((v, j) => { result[i + j] += u * v; }));
    return result;
  };
  if (operator === "*") return product(a, b);
  if (operator === "/") return b.length === 1 ? a.map((u) => u / b[0]) : null;
  if (operator === "**") {
    if (b.length > 1 || !Number.isInteger(b[0]) || b[0] < 0 || b[0] > 20) return null;
    return Array(b[0]).fill(a).reduce(product, [1]);
  }
  const sign = operator === "-" ? -1 : 1;
  return Array.from({length: Math.max(a.length, b.length)},
    (_, i) => (a[i] ?? 0) + sign * (b[i] ?? 0));
}

// The derivative of a polynomial as a function of the text of its argument: "2 · 8 − 4".
function derivativeText(tree) {
  const c = coefficients(tree);
  if (!c || c.length > 6) return null;
  const terms = c.slice(1).map((u, i) => [u * (i + 1), i]).filter(([u]) => u !== 0).reverse();
  return (x) => {
    const base = /^[\d.]+$|^\w$/.test(x) ? x : `(${x})`;
    let text = "";
    for (const [u, power] of terms) {
      const sign = u < 0 ? (text ? " − " : "−") : text ? " + " : "";
      const raised = power > 1 ? `${base}${superscript(power)}` : base;
      const size = format(Math.abs(u));
      text += sign + (power === 0 ? size : size === "1" ? raised : `${size} · ${raised}`);
    }
    return text || "0";
  };
}

// Cubic interpolation (Catmull and Rom) of values on a grid, for functions that are no formula.
function gridObjective({axes, values, names}) {
  const n = axes.length;
  const weights = (t) => [
    [t * (-0.5 + t * (1 - 0.5 * t)), 1 + t * t * (1.5 * t - 2.5),
      t * (0.5 + t * (2 - 1.5 * t)), t * t * (0.5 * t - 0.5)],
    [-0.5 + t * (2 - 1.5 * t), t * (4.5 * t - 5), 0.5 + t * (4 - 4.5 * t), t * (1.5 * t - 1)],
    [2 - 3 * t, 9 * t - 5, 4 - 9 * t, 3 * t - 1],
  ];
  const place = (axis, x) => {
    const [low, high, count] = axis, step = (high - low) / (count - 1);
    const at = (x - low) / step;
    if (!(at >= 0 && at <= count - 1)) return null;
    const i = Math.min(Math.floor(at), count - 2);
    return {i, step, count, w: weights(at - i)};
  };
  // Beyond the border, the values continue along a straight line.
  const sample = (places, offsets) => {
    let outside = null;
    const index = places.map(({i, count}, axis) => {
      const at = i + offsets[axis] - 1;
      if (at < 0) outside = [axis, 1, 2];
      else if (at >= count) outside = [axis, -1, -2];
      return at;
    });
    if (outside) {
      const [axis, one, two] = outside;
      const shifted = (by) => offsets.map((offset, j) => offset + (j === axis ? by : 0));
      return 2 * sample(places, shifted(one)) - sample(places, shifted(two));
    }
    const value = n === 1 ? values[index[0]] : values[index[1]][index[0]];
    return value ?? NaN;
  };
  const sum = (places, orders) => {
    let total = 0;
    for (let a = 0; a < 4; a++) {
      const wa = places[0].w[orders[0]][a] / places[0].step ** orders[0];
      if (n === 1) { total += wa * sample(places, [a]); continue; }
      for (let b = 0; b < 4; b++) {
        const wb = places[1].w[orders[1]][b] / places[1].step ** orders[1];
        total += wa * wb * sample(places, [a, b]);
      }
    }
    return total;
  };
  const unit = names.map((_, i) => names.map((_, j) => Number(i === j)));
  return {
    names,
    approximate: true,
    evaluate(x, order = 1) {
      const places = axes.map((axis, j) => place(axis, x[j]));
      if (places.includes(null)) {
        return {value: NaN, gradient: x.map(() => NaN), hessian: x.map(() => x.map(() => NaN))};
      }
      const jet = {value: sum(places, x.map(() => 0))};
      if (order > 0) jet.gradient = unit.map((orders) => sum(places, orders));
      if (order > 1) jet.hessian = unit.map((a) => unit.map((b) => sum(places, plus(a, b))));
      return jet;
    },
  };
}

const sigmoid = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));
const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

// Loss of one row, as a function of the score z, and its derivative by z.
const LOSSES = {
  squared_error: (z, y) => {
    const p = sigmoid(z);
    return [(p - y) ** 2 / 2, (p - y) * p * (1 - p)];
  },
  log_loss: (z, y) => [softplus(z) - y * z, sigmoid(z) - y],
};

// A network 2-h-1 of sigmoid neurons; h = 0 is one neuron. The parameters are, for each hidden
// neuron and then for the output, its weights and its bias.
function networkObjective({X, y, hidden = 0, loss = "squared_error"}) {
  const inputs = hidden || 2, names = [];
  for (let j = 1; j <= hidden; j++) names.push(`w${j}1`, `w${j}2`, `b${j}`);
  for (let j = 1; j <= inputs; j++) names.push(hidden ? `v${j}` : `w${j}`);
  names.push(hidden ? "c" : "b");
  const output = 3 * hidden;
  const forward = (theta, x) => {
    const a = [];
    for (let j = 0; j < hidden; j++) {
      a.push(sigmoid(theta[3 * j] * x[0] + theta[3 * j + 1] * x[1] + theta[3 * j + 2]));
    }
    const last = hidden ? a : x;
    let z = theta[output + inputs];
    for (let j = 0; j < inputs; j++) z += theta[output + j] * last[j];
    return {a, last, z};
  };
  return {
    names, X, y, hidden, loss,
    // No curvature of a neuron's loss is larger: schuss.losses has the factors.
    bound: hidden ? undefined
      : (loss === "log_loss" ? 0.25 : 0.0771) * X.reduce((sum, x) => sum + 1 + dot(x, x), 0) / X.length,
    predict: (theta, x) => sigmoid(forward(theta, x).z),
    evaluate(theta, order = 1) {
      let value = 0;
      const gradient = order > 0 ? theta.map(() => 0) : undefined;
      X.forEach((x, i) => {
        const {a, last, z} = forward(theta, x);
        const [term, delta] = LOSSES[loss](z, y[i]);
        value += term / X.length;
        if (order === 0) return;
        // Backpropagation: delta of the output, then of each hidden neuron.
        for (let j = 0; j < inputs; j++) gradient[output + j] += (delta * last[j]) / X.length;
        gradient[output + inputs] += delta / X.length;
        for (let j = 0; j < hidden; j++) {
          const back = (delta * theta[output + j] * a[j] * (1 - a[j])) / X.length;
          gradient[3 * j] += back * x[0];
          gradient[3 * j + 1] += back * x[1];
          gradient[3 * j + 2] += back;
        }
      });
      return {value, gradient};
    },
  };
}

const OBJECTIVES = {
  expression: expressionObjective, grid: gridObjective, network: networkObjective,
};
