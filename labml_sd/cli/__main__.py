"""`python -m labml_sd.cli`: the command line, as `labml-sd` starts it."""

import sys

from labml_sd.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
