"""A plug-in whose dependency is not installed."""

import a_package_that_is_not_there  # noqa: F401


class Missing:
    pass
