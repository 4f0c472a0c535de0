"""The queries of the board, as Prometheus takes them."""

import re
from typing import Final

from tools.monitoring.call_rules import LATE, OURS, codes
from whaul.errors import AccessDeniedByMetaException, ApiError, DependencyException, ThrottledRequestException

HERE: Final = 'job=~"$job", instance=~"$instance"'
THERE: Final = f'{HERE}, destination=~"$destination"'
DELIVERED: Final = ', outcome="delivered"'
IN_TIME: Final = f', le="{LATE}.0"'
WINDOW: Final = "[$__rate_interval]"
QUANTILES: Final = {"median": 0.5, "95 %": 0.95, "99 %": 0.99}
OTHERS: Final = (AccessDeniedByMetaException, DependencyException, ThrottledRequestException, *OURS)
"""Errors that are not the caller's."""
CALLERS: Final = f', outcome!~"ok|{codes(OTHERS)}"'


def rate(metric: str, by: str = "", *, where: str = "", of: str = HERE) -> str:
    """Write a counter's rate."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({metric}{{{of}{where}}}{WINDOW}))"


def quantile(metric: str, share: float, by: str = "", *, of: str = HERE) -> str:
    """Write a quantile of a histogram."""
    labels = ", ".join(filter(None, (by, "le")))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{of}}}{WINDOW})))"


def quantiles(metric: str) -> dict[str, str]:
    """Write the usual quantiles, by their legends."""
    return {legend: quantile(metric, share) for legend, share in QUANTILES.items()}


def failing(*errors: type[ApiError]) -> str:
    """Write the rate of calls with one of these errors; a line at 0 when there are none."""
    which = f', outcome=~"{codes(errors)}"'
    return f"{rate('whaul_calls_total', where=which)} or vector(0)"


def total(metric: str, by: str = "", *, how: str = "sum", of: str = HERE) -> str:
    """Write a gauge of several servers as one; what all of them show alike is a `max`."""
    grouped = f"{how} by ({by})" if by else how
    return f"{grouped} ({metric}{{{of}}})"


def chosen(expr: str, window: str = "1m") -> str:
    """Write a query as Grafana asks it when everything is chosen."""
    return re.sub(r"\$(job|instance|destination)\b", ".*", expr.replace("$__rate_interval", window))
