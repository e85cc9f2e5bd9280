"""What a run cost, in one line."""

from __future__ import annotations

from aubench.records.record import Record
from aubench.report.tables.estimate import duration, size


def cost_line(record: Record) -> str:
    """Return wall and processor time by stage and peak memory; empty for a former record."""
    if not record.costs:
        return ""
    parts = [
        f"{name} {duration(cost.seconds)} ({duration(cost.processor_seconds)})"
        for name, cost in record.costs.items()
    ]
    calls = max(cost.calls for cost in record.costs.values())
    peak = max(cost.peak_memory_mib for cost in record.costs.values()) * (1 << 20)
    times = f" in {calls} calls" if calls > 1 else ""
    return f"wall (processor) {', '.join(parts)}{times}; peak {size(peak)}"
