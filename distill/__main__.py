"""``python -m distill``."""

import sys

# Python puts the working folder first on the path; modules and plug-ins of the same names in it must not be imported.
if sys.path and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

from distill.cli import main

if __name__ == "__main__":
    main()
