"""Builds the wheel and runs bindings/python/spark: a cluster of two workers, on loopback.

The packages of spark_environment.txt go into a virtual environment in the user's cache. Spark needs
Java 17 or later.
"""

import shutil
import sys

import spark_environment

if shutil.which("java") is None:
    print("spark: there is no java, so nothing was tested", file=sys.stderr)
    sys.exit()
spark_environment.enter()

import wheel

with spark_environment.wheel_installed():
    tests = [wheel.BINDINGS / "spark", *sys.argv[1:]]
    pytest = [*wheel.PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-v", *tests]
    wheel.run(*pytest)
