"""Many models in one call: `fit_many`, and what it returns, `ManyResult`."""

from schuss.many.fit import fit_many
from schuss.many.result import ManyResult

__all__ = ["ManyResult", "fit_many"]
