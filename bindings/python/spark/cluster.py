"""A standalone Spark cluster of this machine: a master and two workers, on loopback."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pyspark
from pyspark.sql import SparkSession

HOME = pathlib.Path(pyspark.__file__).parent
JAVA = ["-Djava.net.preferIPv4Stack=true"]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def cluster(folder, *, workers=2, memory="1g"):
    """The address of the master."""
    ports = [free_port() for _ in range(2 + workers)]
    environment = os.environ | {
        "SPARK_HOME": str(HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
        "PYSPARK_PYTHON": sys.executable,
        "JAVA_TOOL_OPTIONS": " ".join(JAVA),
    }
    address = f"spark://127.0.0.1:{ports[0]}"
    started = []

    def start(kind, *arguments):
        log = open(folder / f"{kind}-{len(started)}.log", "wb")
        command = [HOME / "bin" / "spark-class", f"org.apache.spark.deploy.{kind.lower()}.{kind}"]
        command += ["--host", "127.0.0.1", *arguments]
        command = [str(part) for part in command]
        # A group of its own: a worker's executors go with it.
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        started.append(process)

    try:
        start("Master", "--port", ports[0], "--webui-port", ports[1])
        for number in range(workers):
            scratch = folder / f"work-{number}"
            start(
                "Worker", "--cores", 1, "--memory", memory, "--webui-port", ports[2 + number],
                "--work-dir", scratch, address,
            )
        wait_for_workers(ports[1], workers, folder)
        yield address
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


def wait_for_workers(port, workers, folder, seconds=120):
    import json

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/") as page:
                if json.load(page)["aliveworkers"] == workers:
                    return
        time.sleep(0.2)
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    raise RuntimeError(f"no {workers} workers after {seconds} s:\n{logs}")


@contextlib.contextmanager
def session(address, folder, *, memory="600m", **more):
    """A driver of this process, whose executors find the wheel where it does."""
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": JAVA[0],
        "spark.executor.memory": memory,
        "spark.executor.cores": "1",
        "spark.cores.max": "2",
        "spark.executorEnv.RAYON_NUM_THREADS": "1",
        "spark.executorEnv.PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "spark.sql.shuffle.partitions": "4",
        "spark.ui.enabled": "false",
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
    } | {name.replace("_", "."): value for name, value in more.items()}
    os.environ.update(SPARK_HOME=str(HOME), SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    builder = SparkSession.builder.master(address).appName("semid")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    try:
        yield spark
    finally:
        spark.stop()


def executors(spark):
    """Processes of a session's executors."""
    of_session = f"CoarseGrainedExecutorBackend.* {spark.sparkContext.applicationId} "
    found = subprocess.run(["pgrep", "-f", of_session], capture_output=True)
    return [int(pid) for pid in found.stdout.split()]


def has_java():
    return shutil.which("java") is not None
