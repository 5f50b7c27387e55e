"""`python -m wanvideo`: the command line."""

import sys

from wanvideo.cli import main

if __name__ == "__main__":
    sys.exit(main())
