"""`python -m labml_sd.cli`, the same as `python -m labml_sd`.

Maps       the process's arguments -> exit code
Tests      tests/cli/test_main.py
"""

import sys

from labml_sd.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
