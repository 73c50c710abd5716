"""The commands of the console script ``schuss``, a module each.

Results go to stdout; notes, progress and errors to stderr. With ``--json`` stdout always holds one
JSON document: the results or ``{"error": ...}``, which stderr also reports as text. Slow imports
are inside the functions that need them, so that ``schuss --help`` is quick.
"""

from schuss._commands import bench, demo, info, learn, minimize, predict, train
from schuss._commands.app import app, report_error

__all__ = ["app", "report_error"]

for command in (
    train.train, predict.predict, predict.evaluate, minimize.minimize, learn.learn,
    demo.demo, bench.bench, info.info,
):  # fmt: skip
    app.command()(command)
