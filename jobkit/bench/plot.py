"""Draw latency and bandwidth over size, one line per contender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobkit.bench.measure import Result
from jobkit.bench.units import size
from jobkit.errors import SpecError, complaint


def check(path: str) -> None:
    """Complain before anything is measured.

    Raises:
        SpecError: The name has no ending for a picture, the folder is not there, or matplotlib is missing.
    """
    if Path(path).suffix not in (".png", ".svg"):
        raise SpecError(
            complaint("--plot", "unknown kind of picture", got=path, expected="FILE.png or FILE.svg")
        )
    if not Path(path).absolute().parent.is_dir():
        raise SpecError(complaint("--plot", "no such folder", got=str(Path(path).parent)))
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        hint = "pip install 'jobkit[plot]'"
        raise SpecError(complaint("--plot", "matplotlib is not installed", hint=hint)) from None


def draw(results: Sequence[Sequence[Result]], path: str) -> None:
    """Write the picture: a row of two for each operation, number of ranks and type."""
    from matplotlib.figure import Figure

    groups = _groups(results)
    figure = Figure(figsize=(12, 4.5 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 2, squeeze=False)
    for (title, lines), (left, right) in zip(groups.items(), axes, strict=True):
        for name, points in lines.items():
            points = sorted(points, key=lambda result: result.case.n_bytes)
            sizes = [result.case.n_bytes for result in points]
            style = {"marker": "o", "markersize": 3, "label": name}
            left.plot(sizes, [result.time_s * 1e6 for result in points], **style)
            right.plot(sizes, [result.busbw / 1e9 for result in points], **style)
        _label(left, title, "µs a call", "log")
        _label(right, title, "busbw, GB/s", "linear")
    figure.savefig(path)


def _groups(results: Sequence[Sequence[Result]]) -> dict[str, dict[str, list[Result]]]:
    groups: dict[str, dict[str, list[Result]]] = {}
    for row in results:
        for result in row:
            case = result.case
            title = f"{case.op}, {case.dtype}, {case.size} ranks"
            name = result.contender if result.form == case.form else f"{result.contender} ({result.form})"
            groups.setdefault(title, {}).setdefault(name, []).append(result)
    return groups


def _label(axis: object, title: str, unit: str, scale: str) -> None:
    from matplotlib.axes import Axes
    from matplotlib.ticker import FuncFormatter

    assert isinstance(axis, Axes)
    axis.set(title=title, xlabel="bytes", ylabel=unit, yscale=scale)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda n, _: size(int(n))))
    axis.grid(alpha=0.3)
    axis.legend()
