"""Pulls an image, in a process of its own that may be ended at any time; what fails is its last line."""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Orders come on stdin: socket, image."""
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    orders = json.load(sys.stdin)
    try:
        docker.DockerClient(base_url=orders["socket"], timeout=600).images.pull(orders["image"])
    except (DockerException, RequestException, OSError) as error:
        reason = " ".join(str(getattr(error, "explanation", None) or error).split())
        sys.stdout.write(f"the image {orders['image']} cannot be had: {reason}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
