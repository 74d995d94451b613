"""Builds the wheel and runs bindings/python/spark: a cluster of two workers, on loopback.

The packages of spark_environment.txt go into a virtual environment in the user's cache. Spark needs
Java 17 or later.
"""

import pathlib
import shutil
import sys

import cached_environment

REQUIREMENTS = pathlib.Path(__file__).resolve().with_name("spark_environment.txt")

if shutil.which("java") is None:
    print("spark: there is no java, so nothing was tested", file=sys.stderr)
    sys.exit()
cached_environment.enter("spark", REQUIREMENTS)

import wheel

with wheel.installed() as site:
    tests = [wheel.BINDINGS / "spark", *sys.argv[1:]]
    pytest = [*wheel.PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-v", *tests]
    wheel.run(*pytest, PYTHONPATH=str(site))
