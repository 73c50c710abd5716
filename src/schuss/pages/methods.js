// The methods of schuss.minimize, step by step. Each makes a function that returns the next point.
const METHODS = {
  gd: ({rate}) => (x, {gradient}) => plus(x, times(-rate, gradient)),
  momentum: ({rate, momentum}) => {
    let velocity = null;
    return (x, {gradient}) => {
      velocity = plus(times(velocity ? momentum : 0, velocity ?? x), times(-rate, gradient));
      return plus(x, velocity);
    };
  },
  // FISTA's sequence (Beck and Teboulle, 2009) with restarts (O'Donoghue and Candes, 2012).
  nesterov: ({rate}) => {
    let previous = null, t = 1;
    return (x, {gradient}) => {
      const next = plus(x, times(-rate, gradient));
      const moved = plus(next, times(-1, previous ?? x));
      if (dot(gradient, moved) > 0) t = 1;
      const larger = (1 + Math.sqrt(1 + 4 * t * t)) / 2, factor = (t - 1) / larger;
      previous = next;
      t = larger;
      return plus(next, times(factor, moved));
    };
  },
  // Kingma and Ba, 2015.
  adam: ({rate}) => {
    let mean = null, square = null, step = 0;
    return (x, {gradient}) => {
      mean = gradient.map((g, j) => 0.9 * (mean?.[j] ?? 0) + 0.1 * g);
      square = gradient.map((g, j) => 0.999 * (square?.[j] ?? 0) + 0.001 * g * g);
      step += 1;
      const first = 1 - 0.9 ** step, second = 1 - 0.999 ** step;
      return x.map((value, j) =>
        value - (rate / first / (Math.sqrt(square[j] / second) + 1e-8)) * mean[j]);
    };
  },
  // Malitsky and Mishchenko, 2020, algorithm 1: step sizes from successive gradients.
  adaptive: ({rate}) => {
    let last = null, step = rate, ratio = Infinity;
    return (x, {gradient}) => {
      if (last) {
        const moved = norm(plus(x, times(-1, last.x)));
        const changed = norm(plus(gradient, times(-1, last.gradient)));
        let next = Math.sqrt(1 + ratio) * step;
        if (changed > 0 && moved > 0) next = Math.min(next, moved / (2 * changed));
        if (!Number.isFinite(next)) next = step;
        ratio = next / step;
        step = next;
      }
      last = {x, gradient};
      return plus(x, times(-step, gradient));
    };
  },
  // Newton's method with a backtracking line search; the Hessian is made positive definite.
  newton: (_, objective) => (x, {value, gradient, hessian}) => {
    const direction = newtonDirection(hessian, gradient);
    let step = 1;
    while (step > 1e-10) {
      const next = plus(x, times(-step, direction));
      const fall = value - objective.evaluate(next, 0).value;
      if (fall >= 1e-4 * step * dot(gradient, direction)) return next;
      step /= 2;
    }
    return plus(x, times(-step, direction));
  },
};
const USES_RATE = ["gd", "momentum", "nesterov", "adam", "adaptive"];

function newtonDirection(hessian, gradient) {
  const largest = Math.max(...hessian.flat().map(Math.abs), 1e-300);
  for (let shift = 0; ; shift = Math.max(10 * shift, 1e-3 * largest)) {
    const solution = solvePositive(
      hessian.map((row, i) => row.map((v, j) => v + (i === j ? shift : 0))), gradient);
    if (solution || !(shift < 1e6 * largest)) return solution ?? gradient;
  }
}

// By Cholesky's factor; null where the matrix is not positive definite.
function solvePositive(matrix, b) {
  const n = b.length, factor = matrix.map((row) => row.map(() => 0));
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i][j];
      for (let k = 0; k < j; k++) sum -= factor[i][k] * factor[j][k];
      if (i === j && !(sum > 1e-12 * Math.abs(matrix[i][i]))) return null;
      factor[i][j] = i === j ? Math.sqrt(sum) : sum / factor[j][j];
    }
  }
  const x = [...b];
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] -= factor[i][k] * x[k];
    x[i] /= factor[i][i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] -= factor[k][i] * x[k];
    x[i] /= factor[i][i];
  }
  return x;
}

// Largest curvature at a point: of the Hessian, or of differences of gradients.
function curvature(objective, x) {
  const {gradient, hessian} = objective.evaluate(x, 2);
  let direction = x.map((_, j) => 1 + 0.1 * j), size = 0;
  for (let k = 0; k < 30; k++) {
    const length = norm(direction);
    if (!(length > 0)) break;
    direction = times(1 / length, direction);
    const image = hessian
      ? hessian.map((row) => dot(row, direction))
      : times(1e4, plus(objective.evaluate(plus(x, times(1e-4, direction))).gradient,
        times(-1, gradient)));
    size = norm(image);
    direction = image;
  }
  return size;
}

const finite = (jet) => Number.isFinite(jet.value) && jet.gradient.every(Number.isFinite);

// A whole run: points, values, gradients, and why it stopped. A learning rate counts as too large
// by the rules of schuss.minimize: 20 growing reversals of the gradient, or 100 points above the
// first.
function descend(objective, {method, start, rate, momentum = 0.9, maxIter = 1000, tol = 1e-6}) {
  const next = METHODS[method]({rate, momentum}, objective);
  const order = method === "newton" ? 2 : 1;
  const run = {points: [], values: [], gradients: [], reason: "max_iter"};
  let x = start, reversals = 0, above = 0;
  for (let k = 0; ; k++) {
    const jet = objective.evaluate(x, order);
    if (!finite(jet) || !x.every(Number.isFinite)) {
      run.reason = objective.approximate ? "outside" : "diverged";
      break;
    }
    const last = run.gradients.at(-1);
    run.points.push(x);
    run.values.push(jet.value);
    run.gradients.push(jet.gradient);
    const largest = Math.max(...jet.gradient.map(Math.abs));
    if (largest <= tol) { run.reason = "converged"; break; }
    if (last) {
      const turns = dot(jet.gradient, last) < 0 && norm(jet.gradient) >= (1 - 1e-12) * norm(last);
      reversals = turns ? reversals + 1 : 0;
      const first = Math.max(...run.gradients[0].map(Math.abs));
      above = jet.value > run.values[0] && largest > first ? above + 1 : 0;
    }
    if (reversals >= 20 || above >= 100) { run.reason = "diverged"; break; }
    if (k >= maxIter) break;
    x = next(x, jet);
  }
  return run;
}
