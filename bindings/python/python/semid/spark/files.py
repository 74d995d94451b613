"""Files that every executor has a copy of."""

import pathlib
import uuid
import zipfile
from collections.abc import Mapping

from pyspark import SparkFiles
from pyspark.sql import SparkSession

from .index import FilePath

__all__ = ["local", "ship"]


def ship(spark: SparkSession, files: Mapping[str, FilePath]) -> str:
    """Sends files of the driver to all executors, and gives the name of their archive, which each
    executor unpacks once."""
    name = f"semid-{uuid.uuid4().hex}"
    # Executors ask the driver for it as long as the session lasts, and so does this folder.
    archive = pathlib.Path(SparkFiles.getRootDirectory(), f"sent-{name}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for place, path in files.items():
            packed.write(path, place)
    spark.sparkContext.addArchive(f"{archive}#{name}")
    return name


def local(archive: str, place: str) -> str:
    """Where a file of an archive is on this executor."""
    return str(pathlib.Path(SparkFiles.get(archive), place))
