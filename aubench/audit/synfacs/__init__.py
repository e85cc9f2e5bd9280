"""Does synfacs grade moving faces, or drawing on them? Measures of the bed itself."""

from aubench.audit.synfacs.audit import Row, audit_synfacs

__all__ = ["Row", "audit_synfacs"]
