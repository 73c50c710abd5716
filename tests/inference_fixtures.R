# Writes inference_fixtures.json: Rscript inference_fixtures.R
# Debian's r-base-core, r-cran-sandwich, r-cran-brglm2, r-cran-jsonlite.
suppressMessages({library(sandwich); library(brglm2); library(jsonlite)})
tight <- glm.control(epsilon = 1e-15, maxit = 100)

profile_end <- function(y, M, w, off, j, target, from, step) {
  # Where the deviance, minimised over the other coefficients, is the target.
  f <- function(b) {
    o <- off + b * M[, j]
    if (ncol(M) == 1) {
      p <- plogis(o)
      return(-2 * sum(w * (y * log(p) + (1 - y) * log(1 - p))) - target)
    }
    suppressWarnings(glm.fit(M[, -j, drop = FALSE], y, w, offset = o, family = binomial(),
                             control = tight, intercept = FALSE))$deviance - target
  }
  to <- from + step
  while (f(to) < 0) to <- to + step
  uniroot(f, sort(c(from, to)), tol = 1e-13)$root
}

problem <- function(seed, n, d, weighted, shifted, intercept) {
  set.seed(seed)
  X <- round(matrix(rnorm(n * d), n) + 0.3 * rnorm(n), 3)
  if (d > 2) X[, 2] <- as.numeric(X[, 2] > 0)
  colnames(X) <- paste0("x", seq_len(d) - 1)
  y <- as.numeric(runif(n) < plogis(X %*% seq(0.9, -0.7, length.out = d) - 0.2))
  w <- if (weighted) sample(1:3, n, TRUE) else rep(1, n)
  off <- if (shifted) round(rnorm(n) / 2, 3) else rep(0, n)
  g <- sample(0:11, n, TRUE)
  data <- data.frame(y = y, X, w = w, off = off)
  formula <- reformulate(colnames(X), "y", intercept = intercept)
  fit <- suppressWarnings(glm(formula, binomial(), data, weights = w, offset = off,
                              control = tight))
  null <- suppressWarnings(glm(if (intercept) y ~ 1 else y ~ 0, binomial(), data, weights = w,
                               offset = off, control = tight))
  M <- model.matrix(fit)
  target <- fit$deviance + qchisq(0.95, 1)
  se <- sqrt(diag(vcov(fit)))
  interval <- t(sapply(seq_len(ncol(M)), function(j) c(
    profile_end(y, M, w, off, j, target, coef(fit)[j], -2 * se[j]),
    profile_end(y, M, w, off, j, target, coef(fit)[j], 2 * se[j]))))
  robust <- lapply(c(HC0 = "HC0", HC1 = "HC1", HC2 = "HC2", HC3 = "HC3"),
                   function(type) vcovHC(fit, type = type))
  firth <- suppressWarnings(glm(formula, binomial(), data, weights = w, offset = off,
    method = "brglmFit", type = "AS_mean", control = list(epsilon = 1e-13, maxit = 1000)))
  # Firth's penalised likelihood, of which brglm2 tells the maximum only.
  value <- sum(w * (y * log(fitted(firth)) + (1 - y) * log(1 - fitted(firth)))) +
    determinant(crossprod(M * sqrt(w * fitted(firth) * (1 - fitted(firth)))))$modulus[1] / 2
  list(
    X = unname(X), y = y, weight = if (weighted) w, offset = if (shifted) off, groups = g,
    intercept = intercept, coef = unname(coef(fit)), cov = unname(vcov(fit)),
    robust = lapply(robust, unname),
    cluster = unname(vcovCL(fit, g, type = "HC1")),
    log_likelihood = as.numeric(logLik(fit)), aic = AIC(fit), bic = BIC(fit),
    lr = anova(null, fit, test = "LRT")$Deviance[2],
    score = anova(null, fit, test = "Rao")$Rao[2],
    profile = interval,
    firth = list(coef = unname(coef(firth)), cov = unname(vcov(firth)), value = value)
  )
}

settings <- list(
  list(1, 60, 2, FALSE, FALSE, TRUE), list(2, 80, 3, FALSE, FALSE, TRUE),
  list(3, 100, 4, TRUE, FALSE, TRUE), list(4, 70, 3, FALSE, TRUE, TRUE),
  list(5, 90, 2, TRUE, TRUE, TRUE), list(6, 60, 3, FALSE, FALSE, FALSE),
  list(7, 120, 5, TRUE, FALSE, FALSE), list(8, 150, 4, FALSE, TRUE, FALSE)
)
write_json(
  list(
    versions = list(R = as.character(getRversion()),
                    sandwich = as.character(packageVersion("sandwich")),
                    brglm2 = as.character(packageVersion("brglm2"))),
    problems = lapply(settings, function(s) do.call(problem, s))
  ),
  "inference_fixtures.json", digits = NA, auto_unbox = TRUE, null = "null"
)
