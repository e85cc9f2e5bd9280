"""A server beside other code in one process."""

import logging

from starlette.applications import Starlette

from aubench.study.server.local import running


class Handler(logging.Handler):
    closed = False

    def emit(self, record):
        pass

    def close(self):
        self.closed = True
        super().close()


def test_a_server_leaves_the_logging_of_its_process_alone():
    """That of absl, say, which closes its stream with itself: pytest's, where it captures."""
    handler = Handler()
    logger = logging.getLogger("of.somebody.else")
    logger.addHandler(handler)
    try:
        with running(Starlette()):
            pass
        assert not handler.closed and not logger.disabled
    finally:
        logger.removeHandler(handler)
