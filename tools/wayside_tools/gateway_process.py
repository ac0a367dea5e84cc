"""The process that `wayside gateway run` becomes: the gateway without the command line.

The command line's libraries would take some 15 MB of a Raspberry Pi for as long as the gateway runs.
"""

import sys
from pathlib import Path


def main(path: Path) -> None:
    """Run the gateway with these settings until it is told to stop. Exits with 1 if it cannot run."""
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # structlog would load it for tracebacks
    from wayside_gateway import app
    from wayside_gateway.settings import load
    from wayside_protocol.errors import WaysideError

    try:
        app.main(load(path))
    except (WaysideError, OSError) as error:
        print(f"wayside: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
