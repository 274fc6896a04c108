"""The web app: python app.py, then open the address that it prints.

Environment: LIPREAD_USER and LIPREAD_PASSWORD, both, ask visitors for them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from lipread.errors import LipreadError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page -> exit code; what a user can cause becomes one line on stderr."""
    parser = argparse.ArgumentParser(description="Read lips in videos, in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is every one (127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one (7860)")
    parser.add_argument("--root-path", default="", help="path under which a proxy shows the app, such as /lipread")
    parser.add_argument("--model", default="small", help="bundled name, or path of a .safetensors file (small)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (auto)")
    parser.add_argument("--max-mb", type=int, default=200, help="largest upload that is taken, megabytes (200)")
    parser.add_argument("--max-seconds", type=float, default=300, help="longest video that is read (300)")
    parser.add_argument("--no-examples", action="store_true", help="draw no example clips")
    given = parser.parse_args(arguments)
    try:
        from lipread.web.limits import make_limits
        from lipread.web.server import serve

        serve(
            given.host, given.port, root_path=given.root_path, model=given.model, device=given.device,
            user=os.environ.get("LIPREAD_USER"), password=os.environ.get("LIPREAD_PASSWORD"),
            limits=make_limits(given.max_mb, given.max_seconds), examples=0 if given.no_examples else 3,
        )
    except LipreadError as error:
        print(f"lipread: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
