"""`python -m labml_sd`: the command line, as `labml-sd` runs it."""

import sys

from labml_sd.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
