"""Metrics that a command may be asked for."""

from __future__ import annotations


def metrics_of(profile: str, words: str | None, protocol: str, data: str) -> tuple[str, ...]:
    """Return the metrics that ``--metrics`` names, each once, or else those of a profile.

    Raises:
        AubenchError: One is unknown or does not apply to the protocol, or none is named.
    """
    from aubench.errors import AubenchError
    from aubench.metrics import registry
    from aubench.protocols.protocol import load_protocol

    asked_of = load_protocol(protocol, data)
    if words is None:
        found = registry.profile(profile, graded=asked_of.definition.graded)
        if profile == "quick":  # what says nothing on the protocol is left out
            found = tuple(n for n in found if registry.metric(n).applies(asked_of) is None)
        return found
    chosen = tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    if not chosen:
        raise AubenchError("--metrics names none", f"choose from {', '.join(registry.names())}")
    registry.check(chosen, asked_of)
    return chosen
