"""The codes that a backend is called with; what it does not know it refuses."""

from schuss.constants import Activation, Hidden, Schedule
from schuss.losses import BY_CODE, LOSSES, Loss, Output, RowLoss
from schuss.methods import Solver


def unknown_code(name, code, known):
    """The error to raise for a code that is not among those known."""
    choices = ", ".join(f"{code.value} ({code.name})" for code in sorted(known))
    return ValueError(f"{name}={code!r} is unknown to this backend; expected one of {choices}.")


def check_code(name, code, known):
    if code not in known:
        raise unknown_code(name, code, known)


class Codes:
    """The codes that the kernels of one backend know, which so may rely on getting no others.

    Parameters
    ----------
    *without : codes, members of their enums
        What this backend does not implement.
    """

    def __init__(self, *without):
        def known(codes):
            # By identity: codes of different enums are equal, as integers.
            return frozenset(code for code in codes if not any(code is w for w in without))

        self._losses = known(Loss)
        self._uncoupled = known(code for code, loss in BY_CODE.items() if not loss.couples)
        self._newton = known(loss.code for loss in LOSSES.values())
        self._solvers = known(Solver)
        self._network = known((Solver.MOMENTUM, Solver.NESTEROV, Solver.ADAM))
        self._row_losses = known(RowLoss)
        self._activations = known(Activation)
        self._hidden, self._outputs = known(Hidden), known(Output)
        self._schedules = known(Schedule)

    def check_loss(self, loss):
        check_code("loss", loss, self._losses)

    def check_pointwise(self, loss):
        check_code("loss", loss, self._uncoupled)

    def check_newton(self, config):
        check_code("config.loss", config.loss, self._newton)

    def check_curved(self, loss):
        check_code("loss", loss, self._newton)

    def check_config(self, config):
        check_code("config.loss", config.loss, self._losses)
        check_code("config.solver", config.solver, self._solvers)

    def check_walk(self, config):
        check_code("config.solver", config.solver, self._solvers)

    def check_activation(self, activation):
        check_code("activation", activation, self._activations)

    def check_network(self, network):
        check_code("network.hidden", network.hidden, self._hidden)
        check_code("network.output", network.output, self._outputs)

    def check_network_config(self, config):
        check_code("config.solver", config.solver, self._network)

    def check_sgd_config(self, config):
        check_code("config.loss", config.loss, self._row_losses)
        check_code("config.schedule", config.schedule, self._schedules)
